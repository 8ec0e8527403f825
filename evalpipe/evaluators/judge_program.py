"""A judge as it is stored: what to look for, cases that show it, what to answer, and how it is run; checked data.

Judging with one is in judge.py, finding one in generation/judging.py.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from evalpipe.errors import ArtifactError
from evalpipe.evaluators.rule_syntax import validate_rule

MAX_INSTRUCTION_CHARS = 20_000  # longer than any instruction that a reader would check
MAX_CASES = 16
MAX_CASE_CHARS = 8_000
MAX_CRITIQUE_CHARS = 2_000
MIN_TRACE_CHARS = 1_000


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("it is blank")
    return text


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Case(_Strict):
    """A trace that people have judged, as the model reads it, and why."""

    trace: str = Field(min_length=1, max_length=MAX_CASE_CHARS)
    failed: bool
    critique: str = Field(max_length=MAX_CRITIQUE_CHARS)


class Output(_Strict):
    """What the two fields of an answer shall say."""

    critique: str = Field(
        default="in at most three sentences, which steps show the failure, or why it is absent", max_length=500
    )
    failed: str = Field(default="True when the failure is present, False when it is absent", max_length=500)


class Prefilter(_Strict):
    """A rule that finds much of the failure, for choosing what a judge reads where the failure is rare."""

    rule: Annotated[dict[str, Any], AfterValidator(validate_rule)]
    recall: float = Field(ge=0, le=1)  # share of the failures that it flags, of those it was not made from


class JudgeProgram(_Strict):
    """A judge. `model` is the one it was measured with, null the configured one; most of the samples decide."""

    instruction: Annotated[str, Field(max_length=MAX_INSTRUCTION_CHARS), AfterValidator(_not_blank)]
    cases: list[Case] = Field(default_factory=list, max_length=MAX_CASES)
    output: Output = Output()
    model: Annotated[str, Field(min_length=1, max_length=200)] | None
    max_chars: int = Field(ge=MIN_TRACE_CHARS, le=10_000_000)  # of a trace
    n_samples: int = Field(default=1, ge=1, le=25)
    prefilter: Prefilter | None = None

    @classmethod
    def from_program(cls, program: Mapping[str, Any]) -> "JudgeProgram":
        """The judge that `to_program` gave. Raises ArtifactError, saying where it is not one."""
        try:
            return cls.model_validate(dict(program))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
            reason = first["msg"].removeprefix("Value error, ")
            raise ArtifactError(f"program{where}: {reason}. Generate the evaluator again.") from error

    def to_program(self) -> dict[str, Any]:
        """The judge as JSON data, every key filled in but that of a pre-filter which there is not."""
        return self.model_dump(mode="json", exclude={"prefilter"} if self.prefilter is None else None)

    @property
    def size(self) -> tuple[int, int, int]:
        """Order of simplicity among judges that agree equally well: few cases before many, short before long."""
        return len(self.cases), self.n_samples, len(self.instruction)
