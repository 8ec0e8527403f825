"""What the recipes of docs/ci run: each job as the shell steps that its CI system would start, in order.

YAML is read by a YAML parser. Groovy has none in Python: of a Jenkinsfile the strings after `sh` are taken, stage by
stage, by a small reader that refuses what it does not know.
Sources, of how each starts a step: docs.github.com, "Workflow syntax", `jobs.<job_id>.steps[*].shell`;
docs.gitlab.com/runner, "The Shells"; Jenkins, "Pipeline: Nodes and Processes", `sh`; circleci.com/docs,
"Configuration reference", "Default shell options".
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

import evalpipe

FOLDER = Path(evalpipe.__file__).parent.parent / "docs/ci"


class Step(NamedTuple):
    """One shell that is started. `kept` are files that the CI system takes afterwards."""

    shell: tuple[str, ...]  # the script's file is its last argument
    script: str
    environ: Mapping[str, str] = {}


class Job(NamedTuple):
    """`junit` are the files that the CI system reads as test results, `kept` those that it keeps."""

    steps: tuple[Step, ...]
    junit: tuple[str, ...]
    kept: tuple[str, ...]


def github_job(name: str, known: Mapping[str, str]) -> Job:
    """`known` is what each ${{ expression }} is."""
    job = _yaml("github-actions.yml")["jobs"][name]
    steps = [step for step in job["steps"] if "run" in step]
    uploads = [step for step in job["steps"] if step.get("uses", "").startswith("actions/upload-artifact@")]
    kept = tuple(path for step in uploads for path in step["with"]["path"].split())
    return Job(
        tuple(Step(("bash", "-e"), step["run"], _expanded(step.get("env", {}), known)) for step in steps),
        tuple(path for path in kept if path.endswith(".xml")),
        kept,
    )


def gitlab_job(name: str, known: Mapping[str, str]) -> Job:
    """One shell runs all lines. `known` are the variables that GitLab sets."""
    content = _yaml("gitlab-ci.yml")
    job = content[content[name]["extends"]] | content[name]
    variables = {key: known[value.removeprefix("$")] for key, value in job.get("variables", {}).items()}
    script = "\n".join(("set -eo pipefail", *job["script"]))
    artifacts = job["artifacts"]
    junit = artifacts.get("reports", {}).get("junit")
    return Job((Step(("bash",), script, variables),), (junit,) if junit else (), tuple(artifacts["paths"]))


def circleci_job(name: str) -> Job:
    job = _yaml("circleci.yml")["jobs"][name]
    steps = [step["run"] for step in job["steps"] if "run" in step]
    stored = [step for step in job["steps"] if isinstance(step, dict)]
    environ = job.get("environment", {})
    return Job(
        tuple(Step(("/bin/bash", "-eo", "pipefail"), step["command"], environ) for step in steps),
        tuple(step["store_test_results"]["path"] for step in stored if "store_test_results" in step),
        tuple(step["store_artifacts"]["path"] for step in stored if "store_artifacts" in step),
    )


def jenkins_stages() -> Mapping[str, tuple[Step, ...]]:
    """The `sh` steps of each stage."""
    text = (FOLDER / "Jenkinsfile").read_text(encoding="utf-8")
    return {name: tuple(Step(("sh", "-xe"), script) for script in scripts) for name, scripts in _groovy_stages(text)}


def _groovy_stages(text: str) -> Iterator[tuple[str, list[str]]]:
    tokens = [token for token in _groovy_tokens(text) if not token.isspace() and not token.startswith("//")]
    found: dict[str, list[str]] = {}
    stage = None
    for n, token in enumerate(tokens):
        after = tokens[n + 1 : n + 10]
        if token == "stage":
            assert (after[0], after[2], after[3]) == ("(", ")", "{"), f"not a stage as they are written here: {after}"
            stage = _groovy_text(after[1])
            found[stage] = []
        elif token == "sh":
            assert stage is not None
            if after[0] == "(":
                assert after[1:6] == ["returnStatus", ":", "true", ",", "script"], f"not a step as known here: {after}"
                after = after[7:]
            found[stage].append(_groovy_text(after[0]))
    yield from found.items()


_GROOVY = re.compile(r"""//[^\n]*|'''(?:[^'\\]|'(?!''))*'''|'(?!'')[^'\\\n]*'|"[^"\\\n]*"|\w+|\s+|[^\w\s'"\\]""")


def _groovy_tokens(text: str) -> Iterator[str]:
    """Refuses escapes in strings, and anything else that is not read as it stands."""
    at = 0
    while at < len(text):
        token = _GROOVY.match(text, at)
        assert token is not None, f"Groovy that is not read here: {text[at : at + 40]!r}"
        yield token.group()
        at = token.end()


def _groovy_text(token: str) -> str:
    for quote in ("'''", "'"):
        if token.startswith(quote) and token.endswith(quote):
            return token.removeprefix(quote).removesuffix(quote)
    raise AssertionError(f"{token} is no plain Groovy string")


def _yaml(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))


def _expanded(environ: Mapping[str, str], known: Mapping[str, str]) -> dict[str, str]:
    return {
        name: re.sub(r"\$\{\{ (.*?) \}\}", lambda found: known[found.group(1)], value)
        for name, value in environ.items()
    }
