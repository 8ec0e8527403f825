"""A suite as one JSON file that travels without the tables: what is in it, its checksums, and how it is read back.

Judging with one is in portable.py; the suite of the tables is on_lake.py. The file holds data and never code, and its
checksums find damage and edits by hand; they are no signature.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

import polars as pl
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from evalpipe import __version__
from evalpipe.errors import ArtifactError, InputError
from evalpipe.evaluators import artifact as artifacts
from evalpipe.evaluators.artifact import Artifact, Correlation, Count, Name, Sha256
from evalpipe.gate.baseline import baseline_run
from evalpipe.gate.decide import EvaluatorRun
from evalpipe.gate.judge import History
from evalpipe.gate.members import Member
from evalpipe.ids import canonical_json, content_hash
from evalpipe.settings import GateSettings, QualitySettings, Settings
from evalpipe.tables import GATE_RESULTS, GATE_RUNS

SCHEMA_VERSION = "evalpipe.suite/1"
FILE_NAME = "suite.json"

_NUMBER = 1  # of the schema version
_ELSEWHERE = {"otlp_endpoint"}  # where the exporter sends events is not part of its suite
_AGAIN = "Export it again where it was made: evalpipe evaluators export DIR"


class Bundle(NamedTuple):
    """A suite that was exported: its members, what its last releases counted, and the thresholds it was judged by."""

    members: tuple[Member, ...]
    history: History  # without cases: so a later release is compared by its shares
    thresholds: "Thresholds"
    sha256: str  # of all of it but the time of the export: equal suites have equal ones


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Thresholds(_Part):
    """The settings of the gate and of quality that were not the defaults where the suite was exported."""

    gate: dict[str, Any] = {}
    quality: dict[str, Any] = {}


class Evaluator(_Part):
    """One evaluator: how far it is trusted, and its artifact."""

    evaluator_id: Name
    version: int = Field(ge=1)
    issue_id: Name
    failure_mode: str
    kind: Literal["rule", "learned", "judge"]
    issue_state: str
    has_returned: bool = Field(description="its issue was solved and is open again")
    mcc: Correlation | None = Field(description="agreement with people on traces it was not made from")
    mcc_lower: Correlation | None = Field(description="lower bound of its interval")
    n_positives: Count = Field(description="failures that it was measured on")
    demotion: str | None = Field(description="why it does not block whatever its MCC")
    artifact_sha256: Sha256 = Field(description="of the artifact as JSON with sorted keys and without white space")
    artifact: dict[str, Any]


class Counted(_Part):
    """What an evaluator counted when an earlier release was gated."""

    evaluator_id: Name
    version: int = Field(ge=1)
    outcome: Literal["passed", "failed", "abstained", "skipped"]
    n_pass: Count
    n_fail: Count
    n_fault: Count
    n_own: Count | None = Field(description="cases that name its issue, where these alone were counted")
    n_effective: float | None = Field(ge=0, allow_inf_nan=False, description="independent cases that they are worth")


class Release(_Part):
    """A gate of an earlier release."""

    gate_id: Name
    release: str | None
    decision: Literal["pass", "block", "abstain"]
    decided_at: AwareDatetime
    results: list[Counted]


class Suite(_Part):
    """The whole file."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="evalpipe suite")

    schema_version: Literal["evalpipe.suite/1"] = SCHEMA_VERSION
    made_with: str = Field(description="version of evalpipe")
    created_at: AwareDatetime = Field(description="when it was exported; in no checksum")
    sha256: Sha256 = Field(
        description="of the file as JSON with sorted keys and without white space, less created_at, sha256, and the "
        "artifacts, for which their own sha256 stand"
    )
    thresholds: Thresholds
    evaluators: list[Evaluator] = Field(min_length=1)
    releases: list[Release] = Field(
        max_length=2, description="the last release, and the one before for when that is gated again"
    )


def json_schema() -> dict[str, Any]:
    """The JSON Schema that is published in suite.schema.json, for tools in other languages."""
    schema = Suite.model_json_schema()
    # A schema of its own, whose $id is read from beside this one's.
    schema["$defs"]["Evaluator"]["properties"]["artifact"] = {"$ref": f"../{artifacts.SCHEMA_VERSION}"}
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["$id"] = SCHEMA_VERSION
    return schema


def bundle_json(
    members: Sequence[Member], runs: pl.DataFrame, results: pl.DataFrame, settings: Settings, now: datetime
) -> str:
    """The file: equal suites give equal bytes but for `created_at`.

    GATE_RUNS and GATE_RESULTS of all gates go in; of these the last release is kept. Raises InputError without members.
    """
    if not members:
        raise InputError("the suite is empty, so there is nothing to export. Run: evalpipe generate")
    of_members = results.filter(pl.col("evaluator_id").is_in([member.run.evaluator_id for member in members]))
    content: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "made_with": __version__,
        "thresholds": {
            "gate": settings.gate.model_dump(mode="json", exclude_defaults=True, exclude=_ELSEWHERE),
            "quality": settings.quality.model_dump(mode="json", exclude_defaults=True),
        },
        "evaluators": [_evaluator(member) for member in sorted(members, key=lambda member: member.run.evaluator_id)],
        "releases": [_release(run, of_members) for run in _last_runs(runs)],
    }
    checked = {"sha256": _sha256(content), "created_at": now.isoformat().replace("+00:00", "Z")}
    suite = Suite.model_validate({**content, **checked})
    return (
        json.dumps(suite.model_dump(mode="json"), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    )


def read_bundle(path: Path) -> Bundle:
    """The suite in a file, or in suite.json of a folder.

    Raises InputError for what is no suite, was changed after it was exported, or was made by a newer version, and
    ArtifactError for an evaluator that is not sound; the message says which, and nothing of it is run.
    """
    path = path / FILE_NAME if path.is_dir() else path
    content = _json_of(path)
    _require_known(path, content)
    try:
        suite = Suite.model_validate(content)
        thresholds = Thresholds(
            gate=GateSettings.model_validate(suite.thresholds.gate).model_dump(exclude_unset=True),
            quality=QualitySettings.model_validate(suite.thresholds.quality).model_dump(exclude_unset=True),
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path}: {where or 'the suite'}: {first['msg']}. {_AGAIN}") from error
    members = tuple(_member(path, evaluator) for evaluator in suite.evaluators)
    if len({member.run.evaluator_id for member in members}) < len(members):
        raise InputError(f"{path}: an evaluator is in it twice. {_AGAIN}")
    if _sha256(content) != suite.sha256:
        raise InputError(f"{path}: its checksum does not match: it was changed after it was exported. {_AGAIN}")
    return Bundle(members, _history(suite), thresholds, suite.sha256)


def thresholds_with(bundle: Bundle, settings: Settings) -> Settings:
    """The settings to judge by: those that were set here, else those of the suite, else the defaults."""
    gate, quality = (stage.model_dump(exclude_unset=True) for stage in (settings.gate, settings.quality))
    pass_rates = {**bundle.thresholds.gate.get("pass_rates", {}), **gate.get("pass_rates", {})}
    return settings.model_copy(
        update={
            "gate": GateSettings(**{**bundle.thresholds.gate, **gate, "pass_rates": pass_rates}),
            "quality": QualitySettings(**{**bundle.thresholds.quality, **quality}),
        }
    )


def _sha256(content: dict[str, Any]) -> str:
    evaluators = [{k: v for k, v in one.items() if k != "artifact"} for one in content["evaluators"]]
    kept = {key: value for key, value in content.items() if key not in ("created_at", "sha256")}
    return content_hash({**kept, "evaluators": evaluators}, 64)


def _evaluator(member: Member) -> dict[str, Any]:
    run = member.run
    names = [name for name in Evaluator.model_fields if name not in ("artifact", "artifact_sha256")]
    return {
        **{name: getattr(run, name) for name in names},
        "artifact_sha256": member.artifact_sha256,
        "artifact": json.loads(member.artifact),
    }


def _last_runs(runs: pl.DataFrame) -> list[dict[str, Any]]:
    """The GATE_RUNS rows that a later gate can be compared with, whatever release that is of."""
    last = baseline_run(runs, "", None)
    if last is None:
        return []
    before = None if last["release"] is None else baseline_run(runs, "", last["release"])
    return [dict(run) for run in (last, before) if run is not None]


def _release(run: dict[str, Any], results: pl.DataFrame) -> dict[str, Any]:
    counted = results.filter(pl.col("gate_id") == run["gate_id"]).sort("evaluator_id").select(*Counted.model_fields)
    return {
        "gate_id": run["gate_id"],
        "release": run["release"],
        "decision": run["decision"],
        "decided_at": run["decided_at"].isoformat().replace("+00:00", "Z"),
        "results": counted.to_dicts(),
    }


def _json_of(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file. Write a suite with: evalpipe evaluators export DIR") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}. Give a suite that can be read.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is no suite: it is not JSON ({error}). {_AGAIN}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: is no suite: it is not a JSON object. {_AGAIN}")
    return content


def _require_known(path: Path, content: dict[str, Any]) -> None:
    """Before anything else is looked at: what a newer version wrote need not even look like a suite of today."""
    from packaging.version import InvalidVersion, Version

    name, _, number = str(content.get("schema_version")).partition("/")
    if name != "evalpipe.suite" or not number.isdecimal():
        raise InputError(f"{path}: is no suite: its schema_version is not {SCHEMA_VERSION}. {_AGAIN}")
    made_with = str(content.get("made_with"))
    try:
        is_newer = int(number) > _NUMBER or Version(made_with) > Version(__version__)
    except InvalidVersion as error:
        raise InputError(f"{path}: made_with is {made_with!r}, which is no version. {_AGAIN}") from error
    if is_newer:
        raise InputError(
            f"{path}: was made by a newer version of evalpipe ({made_with}, schema {number}) than this one "
            f"({__version__}, schema {_NUMBER}). Upgrade: pip install --upgrade evalpipe"
        )


def _member(path: Path, evaluator: Evaluator) -> Member:
    text = canonical_json(evaluator.artifact)
    who = f"{path}: evaluator {evaluator.evaluator_id}"
    if content_hash(text.encode("utf-8", "surrogatepass"), 64) != evaluator.artifact_sha256:
        raise ArtifactError(f"{who}: its checksum does not match: it was changed after it was made. {_AGAIN}")
    try:
        artifact = Artifact.from_json(text)
    except ArtifactError as error:
        raise ArtifactError(f"{who}: {error}") from error
    for name in ("evaluator_id", "version", "issue_id", "kind"):
        if getattr(artifact, name) != getattr(evaluator, name):
            raise ArtifactError(f"{who}: its artifact says another {name}: {getattr(artifact, name)}. {_AGAIN}")
    standing = {name: getattr(evaluator, name) for name in Evaluator.model_fields if not name.startswith("artifact")}
    return Member(EvaluatorRun(**standing), text, evaluator.artifact_sha256)


def _history(suite: Suite) -> History:
    """The releases as rows of the tables; columns that the file has not are null."""
    runs = [release.model_dump(exclude={"results"}) for release in suite.releases]
    results = [
        {**counted.model_dump(), "gate_id": release.gate_id}
        for release in suite.releases
        for counted in release.results
    ]
    return History(pl.DataFrame(runs, schema=GATE_RUNS.schema), pl.DataFrame(results, schema=GATE_RESULTS.schema))
