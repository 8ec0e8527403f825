"""The documented launch of the gate through Dagster's GraphQL: what it sends is what Dagster takes."""

import json
import re
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_graphql.schema import create_schema
from graphql import parse, validate
from graphql.execution.values import get_variable_values
from graphql.language import OperationDefinitionNode

import evalpipe
from evalpipe.definitions import defs

DOCUMENT = Path(evalpipe.__file__).parent.parent / "docs/gate-webhook.md"


def documented() -> tuple[dict[str, Any], dict[str, Any]]:
    """The bodies of the two requests: the launch, and the look at its status."""
    launch, look = re.findall(
        r"/graphql -H 'content-type: application/json' -d '(\{.*?\})'\n", DOCUMENT.read_text(), re.S
    )
    return json.loads(launch), json.loads(look)


def test_dagsters_schema_takes_the_documented_requests():
    schema = create_schema().graphql_schema
    for request in documented():
        query = parse(request["query"])
        assert validate(schema, query) == []
        (operation,) = query.definitions
        assert isinstance(operation, OperationDefinitionNode)
        assert isinstance(get_variable_values(schema, operation.variable_definitions or [], request["variables"]), dict)


def test_the_gate_job_takes_the_documented_configuration():
    launch, _ = documented()
    asked = launch["variables"]["p"]
    job = defs.resolve_job_def(asked["selector"]["jobName"])
    config = dg.validate_run_config(job, asked["runConfigData"])["ops"]["gate_runs"]["config"]
    assert config == config | {"cases": "/srv/cases.jsonl", "release": "1.4.0", "commit": "abc123"}
