"""SPANS -> TRACES -> SESSIONS: counts, tokens, defects, turns. What was said is transcript.py's.

A trace belongs to the UTC day of its earliest span, whatever day its other spans are on.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import polars as pl

from evalpipe.tables import MESSAGE, SESSIONS, SPANS, TRACES
from evalpipe.traces.fields import figure_in
from evalpipe.traces.outline import ROOT_FIRST
from evalpipe.traces.transcript import ModelCall, ToolCall, TraceParts, transcript_of

RESUBMISSION_SIMILARITY = 0.8  # token Jaccard: one changed word in ten, which is how people repeat a question
_MAX_EARLIER_TURNS = 100  # looked back at: a session id that all traffic shares must not cost its square
_CUT_OFF = ("length", "max_tokens", "max_output_tokens")  # finish reasons, in lower case
_WORD = r"[\p{L}\p{N}]+"
_MODEL_CALL = ("start_unix_ns", "end_unix_ns", "input", "output", "instructions")
_TOOL_CALL = (
    "start_unix_ns",
    "end_unix_ns",
    "tool_name",
    "tool_call_id",
    "tool_input",
    "tool_output",
    "is_tool_success",
    "status_message",
)


def trace_frame(spans: pl.DataFrame, outlines: pl.DataFrame) -> pl.DataFrame:
    """TRACES rows of the traces in `outlines` (outline.py), in order of trace id.

    `spans` are all SPANS rows of these traces, in any order; those of other traces are passed over.
    """
    spans = (
        SPANS.conform(spans)
        .sort("trace_id", "start_unix_ns", "span_id", "segment_id")
        .unique(SPANS.key, keep="first", maintain_order=True)
    )
    wanted = _summaries(spans).join(outlines.select("trace_id", "turn_index", "is_open"), on="trace_id")
    inside = spans.join(wanted.select("trace_id"), on="trace_id", how="semi", maintain_order="left")
    rows = (
        wanted.join(_usage(inside), on="trace_id", how="left")
        .join(_defects(inside), on="trace_id", how="left")
        .sort("trace_id")
        .with_columns(
            defects=pl.concat_list(
                "defects", pl.when(pl.col("session_id").is_null()).then(pl.lit("missing_session"))
            ).list.drop_nulls()
        )
        .with_columns(is_complete=pl.col("defects").list.len() == 0)
        .hstack(_transcripts(inside))
        .with_columns(
            _n_steps("user").alias("n_user_messages"),
            # An application without tool spans still shows its calls in the messages.
            n_tool_calls=pl.when(pl.col("n_tool_spans") > 0).then("n_tool_calls").otherwise(_n_steps("tool_call")),
            n_tool_errors=pl.when(pl.col("n_tool_spans") > 0)
            .then("n_tool_errors")
            .otherwise(pl.col("transcript").list.eval(pl.element().struct.field("is_error")).list.sum()),
        )
    )
    return TRACES.conform(rows)


def session_frame(traces: pl.DataFrame) -> pl.DataFrame:
    """SESSIONS rows of TRACES rows, in order of session id; traces without a session are in none."""
    in_order = traces.filter(pl.col("session_id").is_not_null()).sort("session_id", "start_unix_ns", "trace_id")
    sessions = in_order.group_by("session_id", maintain_order=True).agg(
        pl.col("service_name").first(),
        pl.col("user_id").drop_nulls().first(),
        pl.col("trace_id").alias("trace_ids"),
        pl.len().alias("n_turns"),
        _sum_or_null("n_input_tokens"),
        _sum_or_null("n_output_tokens"),
        _sum_or_null("cost_usd"),
        pl.col("start_unix_ns").min(),
        pl.col("end_unix_ns").max(),
        pl.col("day").min().alias("first_day"),
        pl.col("day").max().alias("last_day"),
        pl.col("request").str.to_lowercase().str.extract_all(_WORD).alias("words"),
    )
    n_resubmissions = [_n_resubmissions(words) for words in sessions["words"].to_list()]
    return SESSIONS.conform(
        sessions.drop("words").with_columns(pl.Series("n_resubmissions", n_resubmissions, dtype=pl.Int32))
    )


def _summaries(spans: pl.DataFrame) -> pl.DataFrame:
    """What one pass over the spans says of each trace, root first and then by start."""
    is_tool = pl.col("operation") == "tool"
    is_llm = pl.col("operation") == "llm"
    by_root = [pl.col(name).sort_by(ROOT_FIRST).first().alias(name) for name in ("service_name", "name", "status")]
    known = [
        pl.col(name).sort_by(ROOT_FIRST).drop_nulls().first().alias(name)
        for name in ("session_id", "user_id", "service_version", "environment", "gate_ref")
    ]
    return (
        spans.group_by("trace_id", maintain_order=True)
        .agg(
            *by_root,
            *known,
            pl.col("day").min(),
            pl.col("model").filter(is_llm).drop_nulls().last(),
            pl.len().alias("n_spans"),
            is_llm.sum().alias("n_llm_calls"),
            is_tool.sum().alias("n_tool_calls"),
            is_tool.sum().alias("n_tool_spans"),
            (is_tool & ~pl.col("is_tool_success")).sum().alias("n_tool_errors"),
            pl.col("start_unix_ns").min(),
            pl.col("end_unix_ns").max(),
        )
        .with_columns(duration_ns=pl.col("end_unix_ns") - pl.col("start_unix_ns"))
    )


def _usage(spans: pl.DataFrame) -> pl.DataFrame:
    """Tokens and cost of each trace, every call counted once.

    Two instrumentations may wrap one call in two spans, so a span whose own child reports usage is left out. Where
    no model call reports any, the largest figure of its agents and chains stands: it contains the others.
    """
    names = ["n_input_tokens", "n_output_tokens", "cost_usd"]
    sums = []
    for name in names:
        reporting = spans.filter(pl.col(name).is_not_null())
        inner = reporting.select("trace_id", span_id="parent_span_id").drop_nulls().unique()
        leaves = reporting.join(inner, on=["trace_id", "span_id"], how="anti")
        is_estimated = [pl.col("is_cost_estimated").any()] if name == "cost_usd" else []
        sums.append(leaves.group_by("trace_id").agg(pl.col(name).sum(), *is_estimated))
    usage = spans.select("trace_id").unique()
    for frame in sums:
        usage = usage.join(frame, on="trace_id", how="left")
    bare = usage.filter(pl.all_horizontal(pl.col(names).is_null())).select("trace_id")
    aggregates = spans.join(bare, on="trace_id", how="semi").filter(
        pl.col("operation").is_in(["agent", "chain"]) & pl.col("attributes").is_not_null()
    )
    said = [orjson.loads(text) for text in aggregates["attributes"]]
    repeated = aggregates.select(
        "trace_id",
        *(pl.Series(name, [figure_in(attributes, name) for attributes in said], dtype=pl.Float64) for name in names),
    )
    largest = repeated.group_by("trace_id").agg(pl.col(names).max())
    return usage.join(largest, on="trace_id", how="left", suffix="_aggregate").select(
        "trace_id",
        # What an agent repeats of its calls was reported.
        pl.coalesce("is_cost_estimated", pl.when(pl.col("cost_usd_aggregate").is_not_null()).then(False)),
        *(
            pl.coalesce(name, pl.col(f"{name}_aggregate").cast(spans.schema[name], strict=False)).alias(name)
            for name in names
        ),
    )


def _defects(spans: pl.DataFrame) -> pl.DataFrame:
    """Per trace, what is wrong with it as far as its spans say, in a fixed order."""
    ids = spans.select("trace_id", parent_span_id="span_id", has_parent=pl.lit(True))
    reason = pl.col("finish_reason").str.to_lowercase()
    is_cut_off = pl.any_horizontal(reason.str.contains(word, literal=True) for word in _CUT_OFF)
    # An attribute limit cuts JSON within: it opens and never closes.
    text = pl.col("output").str.strip_chars()
    is_cut_json = text.str.contains(r'^[\[{]\s*[{"]') & ~text.str.contains(r"[\]}]$")
    conditions = {
        "missing_root": pl.col("parent_span_id").is_not_null().all(),
        "orphan_span": (pl.col("parent_span_id").is_not_null() & pl.col("has_parent").is_null()).any(),
        "truncated_output": ((is_cut_off | is_cut_json) & (pl.col("operation").is_in(["llm", "agent"]))).any(),
        "unfinished": (~pl.col("is_finished")).any(),
    }
    return (
        spans.join(ids, on=["trace_id", "parent_span_id"], how="left")
        .group_by("trace_id")
        .agg(**conditions)
        .select(
            "trace_id",
            defects=pl.concat_list(pl.when(name).then(pl.lit(name)) for name in conditions).list.drop_nulls(),
        )
    )


def _transcripts(spans: pl.DataFrame) -> pl.DataFrame:
    """request, response and transcript of each trace, in order of trace id."""
    found = [transcript_of(parts) for parts in _parts(spans)]
    steps = [(i, s.role, s.content, s.tool, s.is_error) for i, t in enumerate(found) for s in t.steps]
    flat = pl.DataFrame(steps, schema={"trace": pl.UInt32, **{f.name: f.dtype for f in MESSAGE.fields}}, orient="row")
    listed = flat.group_by("trace", maintain_order=True).agg(
        transcript=pl.struct("role", "content", "tool", "is_error")
    )
    return (
        pl.DataFrame(
            {"request": [t.request for t in found], "response": [t.response for t in found]},
            schema={"request": pl.String, "response": pl.String},
        )
        .with_row_index("trace")
        .join(listed, on="trace", how="left", maintain_order="left")
        .select("request", "response", pl.col("transcript").fill_null(pl.lit([], pl.List(MESSAGE))))
    )


def _parts(spans: pl.DataFrame) -> Iterator[TraceParts]:
    """What the transcript of each trace is made from. `spans` are sorted by trace, start and span id."""
    is_llm, is_tool = pl.col("operation") == "llm", pl.col("operation") == "tool"
    traces = spans.select("trace_id").unique().sort("trace_id")
    # The application's own input and output: those of its root; without a root, of whatever is no model or tool.
    above = spans.filter(~is_llm & ~is_tool).with_columns(
        is_root=pl.col("parent_span_id").is_null(),
        has_root=pl.col("parent_span_id").is_null().any().over("trace_id"),
    )
    outer = (
        above.filter(pl.col("is_root") | ~pl.col("has_root"))
        .group_by("trace_id")
        .agg(pl.col("input").drop_nulls().first(), pl.col("output").drop_nulls().last())
    )
    texts = traces.join(outer, on="trace_id", how="left").sort("trace_id")
    model_calls = _by_trace(spans.filter(is_llm), ModelCall, _MODEL_CALL)
    tool_calls = _by_trace(spans.filter(is_tool), ToolCall, _TOOL_CALL)
    for trace_id, first, last in texts.select("trace_id", "input", "output").iter_rows():
        yield TraceParts(first, last, model_calls.get(trace_id, []), tool_calls.get(trace_id, []))


def _by_trace(spans: pl.DataFrame, build: Callable[..., Any], columns: tuple[str, ...]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = defaultdict(list)
    for trace_id, *values in spans.select("trace_id", *columns).iter_rows():
        found[trace_id].append(build(*values))
    return found


def _n_steps(role: str) -> pl.Expr:
    return pl.col("transcript").list.eval(pl.element().struct.field("role") == role).list.sum()


def _sum_or_null(name: str) -> pl.Expr:
    return pl.when(pl.col(name).is_not_null().any()).then(pl.col(name).sum()).alias(name)


def _n_resubmissions(requests: list[list[str] | None]) -> int:
    """Requests, as words, that nearly repeat an earlier one of the session."""
    earlier: list[set[str]] = []
    n_found = 0
    for words in requests:
        tokens = set(words or [])
        if not tokens:
            continue
        n_found += any(
            len(tokens & other) >= RESUBMISSION_SIMILARITY * len(tokens | other)
            for other in earlier[-_MAX_EARLIER_TURNS:]
        )
        earlier.append(tokens)
    return n_found
