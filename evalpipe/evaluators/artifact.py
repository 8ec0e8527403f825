"""The evaluator artifact: what a generated evaluator is, as data. Validation, canonical bytes, hashes, JSON Schema.

An artifact is JSON and never code. Running one is in run.py, keeping it in catalog.py, making it in generation/.
"""

import json
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, NotRequired

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, JsonValue, ValidationError, model_validator
from typing_extensions import TypedDict

from evalpipe.errors import ArtifactError
from evalpipe.evaluators.judge_program import JudgeProgram
from evalpipe.evaluators.rules import validate_rule
from evalpipe.ids import canonical_json, content_hash

if TYPE_CHECKING:
    from evalpipe.evaluators.learned import LearnedModel

SCHEMA_VERSION = "evalpipe.evaluator/1"

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
TraceKey = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Correlation = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]


class Pattern(TypedDict):
    """Something that separates the failures from the other examples. Further keys may stand beside these."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    predicate: str
    support: Count
    tpr: Share
    fpr: Share
    log_odds: FiniteFloat


class Figures(TypedDict):
    """Agreement with people on some examples."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    tp: Count
    fp: Count
    tn: Count
    fn: Count
    mcc: Correlation | None
    mcc_lower: Correlation | None
    mcc_upper: Correlation | None


class Baseline(TypedDict):
    """What a simpler way reaches on the same held-out examples."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    name: str
    mcc: Correlation | None
    mcc_lower: Correlation | None
    mcc_upper: Correlation | None


class AtProduction(TypedDict):
    """The held-out figure as it would be where failures are as frequent as in all traffic."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    prevalence: Share
    mcc: Correlation | None
    mcc_lower: Correlation | None
    mcc_upper: Correlation | None


class Mistakes(TypedDict):
    """Held-out examples that it gets wrong: failures it misses, and others that it calls failures."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    missed: list[TraceKey]
    false_alarms: list[TraceKey]


class Quality(TypedDict):
    """Held-out agreement with people, and the program it was measured on. What is in-sample shows the optimism."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    tp: Count
    fp: Count
    tn: Count
    fn: Count
    n_faults: NotRequired[Count]
    mcc: Correlation | None
    mcc_lower: Correlation | None
    mcc_upper: Correlation | None
    confidence: Share
    in_sample_mcc: Correlation | None
    n_sessions: Count
    program_sha256: Sha256
    in_sample: NotRequired[Figures]
    baselines: NotRequired[list[Baseline]]
    at_production: NotRequired[AtProduction | None]
    cost_usd_per_verdict: NotRequired[Annotated[float, Field(ge=0, allow_inf_nan=False)] | None]


class Artifact(BaseModel):
    """One version of one evaluator. Every instance is valid: a wrong one cannot be built."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="evalpipe evaluator")

    schema_version: Literal["evalpipe.evaluator/1"] = SCHEMA_VERSION
    evaluator_id: Name
    version: int = Field(ge=1)
    issue_id: Name
    failure_mode: str = Field(description="the failure it looks for, in the expert's words")
    kind: Literal["rule", "learned", "judge"]
    services: list[str] = Field(description="services it was made for; it judges only those; empty: all")
    program: dict[str, JsonValue] = Field(
        description="rule: {rule}; learned: vocabulary and weights; "
        "judge: {instruction, cases, output, model, max_chars, n_samples}, and {prefilter: {rule, recall}} where "
        "a rule tells what is worth reading"
    )
    explanation: str = Field(description="the program in words")
    patterns: list[Pattern] = Field(description="what separates failures from the other examples")
    provenance: dict[str, JsonValue] = Field(description="labels, source table versions, engines, settings, lineage")
    held_out: dict[TraceKey, bool | None] = Field(
        description="for each trace it was made from: was it flagged by a program that had not seen it? null: none had"
    )
    quality: Quality
    mistakes: Mistakes = Field(
        default_factory=lambda: Mistakes(missed=[], false_alarms=[]), description="what it still gets wrong, held out"
    )
    created_at: str = Field(description="ISO 8601, UTC")

    @cached_property
    def learned(self) -> "LearnedModel":
        """The program as a model that judges, of a learned evaluator. Raises ArtifactError for any other."""
        # Imported here: who has rules alone does not pay for it.
        from evalpipe.evaluators.learned import LearnedModel

        return LearnedModel.from_program(self.program)

    @property
    def sha256(self) -> str:
        """Of the canonical JSON: 64 hex digits."""
        return content_hash(self.to_json().encode(), 64)

    def to_json(self) -> str:
        """Canonical JSON: equal artifacts have equal bytes."""
        return canonical_json(self.model_dump(mode="json"))

    @classmethod
    def from_json(cls, text: str) -> "Artifact":
        """The artifact in `text`. Raises ArtifactError when it breaks its schema, its program or its hashes."""
        try:
            return cls.model_validate(json.loads(text, parse_constant=_refuse), strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ArtifactError(
                f"the evaluator's {where or 'artifact'}: {first['msg']}. "
                "It is never run; generate it again with: evalpipe generate"
            ) from error
        except (ValueError, RecursionError) as error:
            raise ArtifactError(f"the evaluator is no JSON: {error}") from error

    @model_validator(mode="after")
    def _is_sound(self) -> "Artifact":
        _check_program(self)
        try:
            # What is hashed was encoded, so that the program, which may be large, is not encoded once more.
            program_hash = program_sha256(self.program)
            canonical_json(self.model_dump(mode="json", exclude={"program"})).encode()
        except ValueError as error:
            raise ArtifactError(f"evaluator {self.evaluator_id}: it holds what JSON has not: {error}") from error
        if self.quality["program_sha256"] != program_hash:
            raise ArtifactError(
                f"evaluator {self.evaluator_id} version {self.version}: its quality was measured on another program "
                "than the one it carries. It is never run; generate it again with: evalpipe generate"
            )
        if not _is_utc(self.created_at):
            raise ArtifactError(f"evaluator {self.evaluator_id}: created_at {self.created_at!r} is no UTC time")
        return self


def program_sha256(program: dict[str, Any]) -> str:
    """The hash that binds quality figures to the program they were measured on: 64 hex digits."""
    return content_hash(program, 64)


def json_schema() -> dict[str, Any]:
    """The JSON Schema that is published in evaluator.schema.json, for tools in other languages."""
    schema = Artifact.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["$id"] = SCHEMA_VERSION
    return schema


def _check_program(artifact: Artifact) -> None:
    kind, program = artifact.kind, artifact.program
    if kind == "rule":
        _check_keys(kind, program, {"rule"})
        validate_rule(program["rule"])
    elif kind == "judge":
        JudgeProgram.from_program(program)
    else:
        _ = artifact.learned


def _check_keys(kind: str, program: dict[str, Any], keys: set[str]) -> None:
    if program.keys() != keys:
        raise ArtifactError(f"program: a {kind} has the keys {sorted(keys)}, not {sorted(program)}")


def _is_utc(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).utcoffset() == timedelta(0)
    except ValueError:
        return False


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number of JSON")
