import json
from importlib import resources
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

from evalpipe.errors import ArtifactError
from evalpipe.evaluators.artifact import Artifact, json_schema, program_sha256
from evalpipe_tests.evaluators.made import artifact, rule_artifact, trace_id

SORRY = {"op": "contains", "field": "final", "any": ["sorry"]}


def changed(**changes: Any) -> str:
    """The JSON of a sound artifact with some fields replaced."""
    return json.dumps({**json.loads(rule_artifact(SORRY, held_out={trace_id(1): True}).to_json()), **changes})


def test_an_artifact_survives_its_json():
    made = rule_artifact(SORRY, held_out={trace_id(1): True, trace_id(0): False})
    read = Artifact.from_json(made.to_json())
    assert read == made
    assert read.sha256 == made.sha256


def test_equal_artifacts_have_equal_bytes_whatever_the_order_of_their_keys():
    one = rule_artifact(SORRY, provenance={"a": 1, "b": 2})
    other = rule_artifact(dict(reversed(SORRY.items())), provenance={"b": 2, "a": 1})
    assert one.to_json() == other.to_json()
    assert one.sha256 != rule_artifact(SORRY, provenance={"a": 1, "b": 3}).sha256


def test_quality_that_was_measured_on_another_program_is_refused():
    other = {"rule": {**SORRY, "any": ["sorry", "apologise"]}}
    with pytest.raises(ArtifactError, match="measured on another program"):
        Artifact.from_json(changed(program=other))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": "evalpipe.evaluator/2"}, "schema_version"),
        ({"version": 0}, "version"),
        ({"version": "1"}, "version"),
        ({"issue_id": "../../etc"}, "issue_id"),
        ({"evaluator_id": ""}, "evaluator_id"),
        ({"kind": "python"}, "kind"),
        ({"code": "import os"}, "code"),
        ({"held_out": {"not a trace id": True}}, "held_out"),
        ({"held_out": {trace_id(1): 1}}, "held_out"),
        ({"created_at": "yesterday"}, "created_at"),
        ({"created_at": "2026-03-02T00:00:00"}, "created_at"),
        ({"created_at": "2026-03-02T00:00:00+01:00"}, "created_at"),
        ({"quality": {}}, "quality"),
        ({"patterns": [{"predicate": "x"}]}, "patterns"),
        ({"failure_mode": "\ud800"}, "what JSON has not"),
        ({"program": {"rule": {"op": "eval"}}}, "rule.op"),
        ({"program": {"rule": SORRY, "code": "1"}}, "keys"),
        ({"program": {"instruction": "x", "model": None, "max_chars": 2000}}, "keys"),
        ({"kind": "learned"}, "learned"),
        ({"kind": "judge", "program": {"instruction": " ", "model": None, "max_chars": 2000}}, "instruction"),
        ({"kind": "judge", "program": {"instruction": "x", "model": 1, "max_chars": 2000}}, "model"),
        ({"kind": "judge", "program": {"instruction": "x", "model": None, "max_chars": 10}}, "max_chars"),
    ],
)
def test_what_breaks_the_schema_is_refused_with_its_place(changes: dict[str, Any], message: str):
    with pytest.raises(ArtifactError, match=message):
        Artifact.from_json(changed(**changes))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"version": NaN}', "[" * 100_000, '"\\ud800"'])
def test_what_is_no_artifact_at_all_is_refused(text: str):
    with pytest.raises(ArtifactError):
        Artifact.from_json(text)


def test_figures_must_be_finite():
    with pytest.raises((ArtifactError, ValidationError)):
        rule_artifact(SORRY, provenance={"settings": float("inf")})
    with pytest.raises((ArtifactError, ValidationError)):
        rule_artifact(SORRY, quality={**rule_artifact(SORRY).quality, "mcc": float("nan")})


def test_an_artifact_cannot_be_changed():
    made = rule_artifact(SORRY)
    with pytest.raises(ValidationError):
        made.version = 2  # type: ignore[misc]


def test_a_judge_is_an_instruction_and_no_code():
    made = artifact({"instruction": "It apologises.", "model": None, "max_chars": 24_000}, kind="judge")
    assert Artifact.from_json(made.to_json()) == made
    assert made.quality["program_sha256"] == program_sha256(made.program)


def test_the_published_schema_is_that_of_the_model_and_accepts_what_the_model_accepts():
    published = json.loads(resources.files("evalpipe.evaluators").joinpath("evaluator.schema.json").read_text())
    # To publish a changed model, write json.dumps(json_schema(), indent=2) to that file.
    assert published == json_schema()
    jsonschema.Draft202012Validator.check_schema(published)
    jsonschema.validate(json.loads(rule_artifact(SORRY).to_json()), published)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(json.loads(changed(version=0)), published)
