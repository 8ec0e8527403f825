"""What an answer says it has done, and whether any tool call of its trace could have done it.

Whether the answers of a service usually have such a call is known in scores.py: where no tools are traced, every claim
is without one.
"""

import re
from functools import cache
from typing import NamedTuple

import polars as pl

from evalpipe.signals.answers import new_answers
from evalpipe.signals.phrases import MAX_CONTENT, comparable, evidence_lists, phrase_data, sentences
from evalpipe.signals.tools import only_looks

_MAX_BETWEEN = 6  # words between a condition and what it is a condition of


def claim_features(messages: pl.DataFrame, answers: pl.DataFrame | None = None) -> pl.DataFrame:
    """What the answers of today among `messages` (messages.py) claim to have done; one row a trace that claims.

    n_claims: sentences that do; n_unbacked_claims: those before which no tool that does more than look had worked in
    their trace, and which, where they only tell what became of the thing, no result of a tool tells either;
    unbacked_claims, in their words; evidence. `answers` are what `new_answers` found, where that is known.
    """
    claims = _claims(new_answers(messages) if answers is None else answers)
    ours = messages.filter("is_today").join(claims.select("trace_id").unique(), on="trace_id", how="semi")
    judged = (
        claims.join(_first_deeds(ours), on="trace_id", how="left", maintain_order="left")
        .join(_reported(claims, ours), on="claim", how="left", maintain_order="left")
        .with_columns(is_unbacked=~((pl.col("acted") < pl.col("step")) | pl.col("is_reported")).fill_null(False))
    )
    unbacked = judged.filter("is_unbacked").select("trace_id", "step", "text", signal=pl.lit("unbacked_claim"))
    return (
        judged.group_by("trace_id", maintain_order=True)
        .agg(
            n_claims=pl.len().cast(pl.Int64),
            n_unbacked_claims=pl.col("is_unbacked").sum().cast(pl.Int64),
            unbacked_claims=pl.col("words").filter("is_unbacked").unique(maintain_order=True),
        )
        .join(evidence_lists(unbacked), on="trace_id", how="left", maintain_order="left")
        .with_columns(pl.col("evidence").fill_null([]))
    )


class _Wording(NamedTuple):
    """How one language claims: words of which every claim has one, and the pattern; both for `comparable` text."""

    verbs: tuple[str, ...]
    pattern: str
    denied: tuple[str, ...]


def _claims(answers: pl.DataFrame) -> pl.DataFrame:
    """claim (a number), trace_id, step, text (the sentence), words (of the claim), done (its verb), is_told."""
    wordings = _wordings()
    verbs = [verb for wording in wordings for verb in wording.verbs]
    said = (
        answers.select("trace_id", "step", pl.col("content").str.head(MAX_CONTENT))
        .filter(comparable(pl.col("content")).str.contains_any(verbs))
        .select("trace_id", "step", text=sentences(pl.col("content")))
        .explode("text", empty_as_null=False, keep_nulls=False)
        .filter(~pl.col("text").str.contains(r"[?？]"))
        .with_columns(said=comparable(pl.col("text")))
        .filter(pl.col("said").str.contains_any(verbs))
    )
    return (
        pl.concat([_claims_in(said, wording) for wording in wordings])
        .unique(["trace_id", "step", "text"], keep="first", maintain_order=True)
        .sort("trace_id", "step", maintain_order=True)
        .with_row_index("claim")
    )


def _claims_in(said: pl.DataFrame, wording: _Wording) -> pl.DataFrame:
    found = (
        said.filter(pl.col("said").str.contains_any(list(wording.verbs)))
        .with_columns(pl.col("said").str.extract_groups(wording.pattern))
        .unnest("said")
    )
    is_denied = pl.col("claim").str.contains_any(list(wording.denied))
    return found.filter(pl.col("claim").is_not_null(), pl.col("unless").is_null(), ~is_denied).select(
        *("trace_id", "step", "text", "done"),
        words=pl.col("claim").str.strip_chars().str.replace_all("  ", " ", literal=True),
        is_told=pl.col("told").is_not_null(),
    )


def _first_deeds(messages: pl.DataFrame) -> pl.DataFrame:
    """trace_id, acted: when a tool that does more than look first worked, or was called with no result on record."""
    is_result = pl.col("role") == "tool_result"
    return (
        messages.filter(pl.col("role").is_in(["tool_call", "tool_result"]))
        .filter(~only_looks(pl.col("tool")))
        .group_by("trace_id", "tool")
        .agg(
            worked=pl.col("step").filter(is_result & ~pl.col("is_error")).min(),
            called=pl.col("step").min(),
            is_heard_of=is_result.any(),
        )
        .group_by("trace_id")
        .agg(acted=pl.coalesce("worked", pl.when(~pl.col("is_heard_of")).then("called")).min())
    )


def _reported(claims: pl.DataFrame, messages: pl.DataFrame) -> pl.DataFrame:
    """claim, is_reported, of claims that tell what became of a thing: whether a result before it has the same verb."""
    results = messages.filter(pl.col("role") == "tool_result", ~pl.col("is_error")).select(
        "trace_id", "content", result_step="step"
    )
    return (
        claims.filter("is_told")
        .join(results, on="trace_id")
        .filter(pl.col("result_step") < pl.col("step"))
        .group_by("claim")
        .agg(is_reported=pl.col("content").str.to_lowercase().str.contains(pl.col("done"), literal=True).any())
    )


@cache
def _wordings() -> tuple[_Wording, ...]:
    return tuple(_wording(data) for data in phrase_data("claims").values())


def _wording(data: dict[str, list[str]]) -> _Wording:
    # In comparable text a word has a space on either side, so that words of a phrase stand two spaces apart.
    def one_of(name: str) -> str:
        spaced = sorted((word.replace(" ", "  ") for word in data.get(name, [])), key=len, reverse=True)
        return f"(?:{'|'.join(re.escape(word) for word in spaced)})" if spaced else r"[^\s\S]"

    word = "(?: [^ ]+ )"
    opened = (
        rf"(?:(?P<told> {one_of('told')} )|(?: {one_of('said')} )){word}{{0,{data['gap']}}}|(?: {one_of('next_to')} )"
    )
    verb = rf"(?:{opened}) (?P<done>{one_of('done')})[^ ]{{0,2}} | {one_of('alone')} "
    pattern = rf"(?P<unless> {one_of('unless')} {word}{{0,{_MAX_BETWEEN}}})?(?P<claim>{verb})"
    verbs = [f" {verb.replace(' ', '  ')}" for verb in [*data["done"], *data.get("alone", [])]]
    denied = [f" {word.replace(' ', '  ')} " for word in data["denied"]]
    return _Wording(tuple(verbs), pattern, tuple(denied))
