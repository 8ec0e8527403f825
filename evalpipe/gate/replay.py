"""What CI replays against a new release: inputs that showed an issue, near misses and healthy controls, as cases
without an output.

The forms in which other tools read them are exchange.py; reading the answered cases back is cases.py.
"""

from collections.abc import Collection
from typing import Any

import polars as pl

from evalpipe.ids import content_hash
from evalpipe.review.annotations import effective_annotations
from evalpipe.tables import SETTLED, TRACKED, VERDICTS
from evalpipe.traces.view import CALL_SEPARATOR, view_frame

_WORD = r"[\p{L}\p{N}]+"


def cases_of(
    traces: pl.DataFrame,
    labels: pl.DataFrame,
    issues: pl.DataFrame,
    annotations: pl.DataFrame,
    verdicts: pl.DataFrame | None = None,
    *,
    issue_ids: Collection[str] = (),
    limit: int | None = None,
) -> list[dict[str, Any]]:
    """Regression cases, one dict per JSON line, by id.

    For each of the issues `issue_ids` (without any: of the tracked and, so that a return is caught, the resolved ones)
    these are its annotated failures; as many near misses, traces called free of it that look most like the failures;
    and as many controls, drawn from the others called free of it. `limit` bounds each of the three. Failures with a
    correction come first, then the latest; near misses come by the score that the issue's newest evaluator gave them,
    then by how much they have of the words and tool calls that tell the failures from the rest; controls by a hash, so
    that they are an even draw and the same ones every time. Disputed labels are no evidence.

    The same input, which is the conversation of a service up to the user's last turn, is one case, whatever was
    answered: it is a failure of each issue that any of its answers showed.

    `id` is the trace; `input` is the user's last turn and `messages` the conversation up to and with it. To gate a
    release, answer each case with it and add `output` (and `tool_calls`). `expected_output` is the reviewers' latest
    correction and `original_output` what was answered then; `issues` says for which issues the case is there and as
    what: kind failure, near_miss or control. TRACES, LABELS, ISSUES, ANNOTATIONS and VERDICTS go in; a label whose
    trace is not in `traces`, or in which no user speaks, is left out.
    """
    is_asked = pl.col("issue_id").is_in(list(issue_ids)) if issue_ids else pl.col("state").is_in([*TRACKED, "resolved"])
    asked = issues.filter(is_asked).select("issue_id", "name")
    known = labels.filter(SETTLED).join(asked, on="issue_id")
    labelled = traces.join(known, on="trace_id", how="semi").sort("trace_id")
    case_of = {row["trace_id"]: case for row in labelled.iter_rows(named=True) if (case := _case(row)) is not None}
    inputs = pl.DataFrame(
        [(trace_id, _input_key(case)) for trace_id, case in case_of.items()],
        schema={"trace_id": pl.String, "input": pl.String},
        orient="row",
    )
    corrections = _corrections(annotations)
    known = (
        known.join(inputs, on="trace_id")
        .join(corrections, on="trace_id", how="left")
        .join(_scores(verdicts), on=["trace_id", "issue_id"], how="left")
    )
    known = known.join(_likeness(known, labelled), on=["trace_id", "issue_id"], how="left")
    chosen = _chosen(_one_an_input(known), limit)
    rows = (
        chosen.sort("trace_id", "issue_id")
        .group_by("trace_id", maintain_order=True)
        .agg(issues=pl.struct("issue_id", failure_mode="name", is_failure="is_failure", kind="kind"))
        .join(corrections, on="trace_id", how="left", maintain_order="left")
    )
    cases = [
        case_of[trace_id] | {"issues": told, "expected_output": expected}
        for trace_id, told, expected in rows.iter_rows()
    ]
    return [{key: case[key] for key in _ORDER if case.get(key) is not None} for case in cases]


_ORDER = ("id", "input", "messages", "expected_output", "original_output", "issues", "metadata")


def _case(row: dict[str, Any]) -> dict[str, Any] | None:
    """A trace as a case; None for one in which no user said anything, which cannot be replayed."""
    transcript = row["transcript"] or []
    turns = [index for index, message in enumerate(transcript) if message["role"] == "user"]
    last_input = transcript[turns[-1]]["content"] if turns else row["request"]
    if not last_input:
        return None
    conversation = [
        {key: value for key, value in message.items() if value is not None}
        for message in transcript[: turns[-1] + 1 if turns else 0]
    ]
    return {
        "id": row["trace_id"],
        "input": last_input,
        "messages": conversation if len(conversation) > 1 else None,
        "original_output": row["response"],
        "metadata": {
            "service": row["service_name"],
            "session_id": row["session_id"],
            "original_version": row["service_version"],
        },
    }


def _input_key(case: dict[str, Any]) -> str:
    # System messages are the release's, not the user's.
    said = [[m["role"], m.get("content")] for m in case["messages"] or () if m["role"] != "system"]
    return content_hash([case["metadata"]["service"], case["input"], said if len(said) > 1 else []])


def _corrections(annotations: pl.DataFrame) -> pl.DataFrame:
    return (
        effective_annotations(annotations)
        .filter(pl.col("correction").str.contains(r"\S"))
        .group_by("trace_id", maintain_order=True)
        .agg(expected_output=pl.col("correction").last())
    )


def _scores(verdicts: pl.DataFrame | None) -> pl.DataFrame:
    """What the newest version that judged a trace gave it."""
    said = VERDICTS.empty() if verdicts is None else verdicts
    return (
        said.filter(pl.col("score").is_not_null())
        .sort("version", "evaluator_id")
        .group_by("trace_id", "issue_id")
        .agg(pl.col("score").last())
    )


def _likeness(known: pl.DataFrame, traces: pl.DataFrame) -> pl.DataFrame:
    """For each trace and issue, how much it has of what tells the issue's failures from the rest, in [0, 1].

    A term is a word that the user or the final answer uses, or a tool call with its outcome. It tells as much as it
    is more frequent in failures than in the others; a trace has the sum over its terms, as a share of all.
    """
    view = view_frame(traces, fields={"user", "final", "tool_sequence"})
    words = pl.concat_str("user", "final", separator=" ").str.to_lowercase().str.extract_all(_WORD)
    calls = (
        pl.col("tool_sequence")
        .str.split(CALL_SEPARATOR)
        .list.eval(pl.concat_str(pl.lit("call "), pl.element().filter(pl.element() != "")))
    )
    terms = view.select("trace_id", term=pl.concat_list(words, calls).list.unique()).explode("term").drop_nulls()
    pairs = known.select("trace_id", "issue_id", "is_failure").join(terms, on="trace_id")
    sizes = known.group_by("issue_id").agg(
        n_failures=pl.col("is_failure").sum(), n_others=(~pl.col("is_failure")).sum()
    )
    telling = (
        pairs.group_by("issue_id", "term")
        .agg(in_failures=pl.col("is_failure").sum(), in_others=(~pl.col("is_failure")).sum())
        .join(sizes, on="issue_id")
        .filter(pl.col("n_failures") > 0)
        .select(
            "issue_id",
            "term",
            weight=pl.col("in_failures") / pl.col("n_failures")
            - pl.col("in_others") / pl.max_horizontal("n_others", pl.lit(1)),
        )
        .filter(pl.col("weight") > 0)
        .with_columns(share=pl.col("weight") / pl.col("weight").sum().over("issue_id"))
    )
    # Rounded, because a sum in another order must not change the choice.
    return (
        pairs.join(telling, on=["issue_id", "term"])
        .group_by("trace_id", "issue_id")
        .agg(likeness=pl.col("share").sum().round(9))
    )


def _one_an_input(known: pl.DataFrame) -> pl.DataFrame:
    """One row an issue and input; the trace that stands for an input is the same for all issues."""
    has_correction = pl.col("expected_output").is_not_null()
    stands = (
        known.with_columns(has_correction=has_correction)
        .sort("has_correction", "is_failure", "trace_id", descending=[True, True, False])
        .group_by("input", maintain_order=True)
        .agg(pl.col("trace_id", "has_correction").first())
    )
    merged = known.group_by("issue_id", "name", "input").agg(
        pl.col("is_failure").any(),
        pl.col("labelled_at", "score", "likeness").max(),
    )
    return merged.join(stands, on="input").with_columns(pl.col("score", "likeness").fill_null(0.0))


def _chosen(known: pl.DataFrame, limit: int | None) -> pl.DataFrame:
    """trace_id, issue_id, name, is_failure and kind of the cases."""
    bound = pl.lit(2**31 if limit is None else limit)
    failures = _first(
        known.filter("is_failure"), ["has_correction", "labelled_at", "trace_id"], [True, True, False], bound
    )
    sizes = failures.group_by("issue_id").agg(n=pl.len())
    others = known.filter(~pl.col("is_failure")).join(sizes, on="issue_id")
    alike = others.filter((pl.col("score") > 0) | (pl.col("likeness") > 0))
    near = _first(alike, ["score", "likeness", "trace_id"], [True, True, False], pl.col("n"))
    rest = others.join(near, on=["issue_id", "trace_id"], how="anti").with_columns(
        draw=pl.col("trace_id").map_elements(content_hash, return_dtype=pl.String)
    )
    controls = _first(rest, ["draw"], [False], pl.col("n"))
    columns = ["trace_id", "issue_id", "name", "is_failure"]
    return pl.concat(
        frame.select(*columns, kind=pl.lit(kind))
        for kind, frame in (("failure", failures), ("near_miss", near), ("control", controls))
    )


def _first(rows: pl.DataFrame, by: list[str], descending: list[bool], n: pl.Expr) -> pl.DataFrame:
    """The first `n` rows of each issue in this order."""
    place = pl.int_range(pl.len()).over("issue_id")
    return rows.sort(by, descending=descending).filter(place < n)
