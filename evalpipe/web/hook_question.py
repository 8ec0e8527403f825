"""What the body of a webhook asks. Who may ask is hook_signatures.py's question, what becomes of it hook_desk.py's."""

from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from evalpipe.errors import InputError
from evalpipe.gate.github import GithubContext

_MAX_WAIT_S = 3600.0  # a replay that takes longer belongs into the pipeline, before the question

_Name = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]+$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class GithubTarget(_Part):
    """Where the decision is told on GitHub."""

    repository: str
    sha: str
    pull_request: int | None = None

    @model_validator(mode="after")
    def _can_be_told(self) -> "GithubTarget":
        try:
            GithubContext(self.repository, self.sha, self.pull_request)
        except InputError as error:
            raise ValueError(str(error)) from error
        return self


class Question(_Part):
    """May this release ship? `cases` is what the lines of a case file are."""

    sent_at: float | None = None  # Unix seconds
    cases: list[Any] | None = Field(default=None, min_length=1)
    release: _Name | None = None  # beside cases: what they were answered by
    gate_ref: _Name | None = None
    expected: int | None = Field(default=None, ge=1)  # traces
    wait_s: float = Field(default=0.0, ge=0, le=_MAX_WAIT_S)
    policy: Literal["default", "article"] | None = None
    on_abstain: Literal["block", "warn"] | None = None
    strict: bool = False
    commit: str | None = Field(default=None, min_length=1, max_length=100, pattern=r"^[A-Za-z0-9_./-]+$")
    github: GithubTarget | None = None

    @model_validator(mode="after")
    def _is_one_question(self) -> "Question":
        if self.cases is not None and (self.expected or self.wait_s):
            raise ValueError("cases are judged as they are: expected and wait_s go with a release or a gate_ref")
        if self.cases is None and self.release is None and self.gate_ref is None:
            raise ValueError("nothing is asked: give cases, or release or gate_ref or both")
        if self.cases is not None and self.gate_ref is not None:
            raise ValueError("gate_ref names traces: give it or cases, not both")
        return self

    def canonical(self) -> bytes:
        """What is asked, without when: the same bytes for the same question."""
        return orjson.dumps(self.model_dump(exclude={"sent_at"}), option=orjson.OPT_SORT_KEYS)


def question_of(body: bytes) -> Question:
    """Raises InputError that says, key by key, what cannot be used."""
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InputError(f"the body is not JSON: {error}. Send an object such as {{'release': '1.4.0'}}") from error
    if not isinstance(content, dict):
        raise InputError("the body is no JSON object. Send one such as {'release': '1.4.0'}")
    try:
        return Question.model_validate(content)
    except ValidationError as error:
        unknown = [_place(one["loc"]) for one in error.errors() if one["type"] == "extra_forbidden"]
        wrong = [_in_words(one) for one in error.errors() if one["type"] != "extra_forbidden"]
        if unknown:
            known = ", ".join(Question.model_fields)
            wrong.insert(0, f"{', '.join(unknown)}: not known; what may be said is {known}")
        raise InputError("; ".join(wrong)) from error


def _in_words(error: Any) -> str:
    said = error["msg"].removeprefix("Value error, ")
    return f"{_place(error['loc'])}: {said}" if error["loc"] else said


def _place(parts: tuple[int | str, ...]) -> str:
    return ".".join(str(part)[:100] for part in parts)
