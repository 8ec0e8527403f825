"""What a trace does with its tools: the order of its calls, calls and cycles that repeat, errors it lets be.

How usual an order is for the service is usual.py's.
"""

import polars as pl

_MAX_CYCLE = 4  # calls in a cycle that is looked for: longer ones are the rhythm of a task, not a loop
_MAX_CALLS = 1_000  # calls of a trace that teach and are judged: one runaway must not fill the table
_NAME_CHARS = 80  # a tool's name is trace text: as long as it likes
_PASSAGE_CHARS = 200
# What a tool that changes nothing is called. Names of tools are code, and code is English.
# fmt: off
_LOOKING = (
    "browse", "calculate", "check", "compute", "count", "describe", "fetch", "find", "get", "inspect", "list", "load",
    "lookup", "query", "read", "retrieve", "retriever", "retrieval", "search", "select", "show", "think", "validate",
    "verify", "view",
)
# fmt: on


def tool_features(messages: pl.DataFrame) -> pl.DataFrame:
    """One row a trace of today that calls tools; messages as of messages.py.

    calls; n_repeats and repeated (times the most repeated call or cycle of calls was made in a row with the same
    arguments, and its tools); n_ignored_errors and ignored_tool; evidence.
    """
    ours = messages.filter("is_today").with_columns(pl.col("tool").str.slice(0, _NAME_CHARS))
    calls = ours.filter(pl.col("role") == "tool_call")
    in_order = calls.group_by("trace_id", maintain_order=True).agg(calls=pl.struct("tool", "step").head(_MAX_CALLS))
    return (
        in_order.join(_repeats(calls), on="trace_id", how="left")
        .join(_ignored_errors(ours, calls), on="trace_id", how="full", coalesce=True)
        .with_columns(
            pl.col("n_repeats").fill_null(pl.col("calls").is_not_null().cast(pl.Int64)),
            pl.col("n_ignored_errors").fill_null(0),
            pl.col("calls", "repeated").fill_null([]),
            evidence=pl.concat_list(pl.col("repeat_evidence", "error_evidence").fill_null([])),
        )
        .drop("repeat_evidence", "error_evidence")
    )


def only_looks(tool: pl.Expr) -> pl.Expr:
    """Whether a tool of that name changes nothing in the world; any other may have done what an answer speaks of."""
    words = tool.str.replace_all(r"([a-z0-9])([A-Z])", "${1}_${2}").str.to_lowercase()
    return words.str.contains(rf"(?:^|[^a-z])(?:{'|'.join(_LOOKING)})(?:$|[^a-z])")


def _repeats(calls: pl.DataFrame) -> pl.DataFrame:
    """Per trace the longest stretch that repeats itself, the shortest cycle first; what came back does not matter."""
    hashed = calls.select("trace_id", "tool", "step", call=pl.struct("tool", "content").hash())
    return (
        pl.concat([_stretches(hashed, n_calls) for n_calls in range(1, _MAX_CYCLE + 1)])
        .sort("trace_id", "n_repeats", "n_calls", "first", descending=[False, True, False, False])
        .unique("trace_id", keep="first", maintain_order=True)
        .select(
            "trace_id",
            "n_repeats",
            "repeated",
            repeat_evidence=pl.concat_list(_evidence("repetition", "first"), _evidence("repetition", "last")),
        )
    )


def _stretches(calls: pl.DataFrame, n_calls: int) -> pl.DataFrame:
    """The stretches in which each call equals the one `n_calls` before it, where the cycle is made at least twice."""
    before = pl.col("trace_id", "call", "step").shift(n_calls).name.suffix("_before")
    is_same = (pl.col("trace_id") == pl.col("trace_id_before")) & (pl.col("call") == pl.col("call_before"))
    return (
        calls.with_columns(before)
        .with_columns(is_same=is_same.fill_null(False))
        .with_columns(stretch=(~pl.col("is_same")).cum_sum())
        .filter("is_same")
        .group_by("trace_id", "stretch")
        .agg(
            n_repeats=(pl.len().cast(pl.Int64) + n_calls) // n_calls,
            n_calls=pl.lit(n_calls),
            repeated=pl.col("tool").head(n_calls),
            first=pl.col("step_before").first(),
            last=pl.col("step").last(),
        )
        .filter(pl.col("n_repeats") > 1)
        .drop("stretch")
    )


def _ignored_errors(messages: pl.DataFrame, calls: pl.DataFrame) -> pl.DataFrame:
    """Failed calls that nothing was done about: no retry ever, and no turn to a new tool right after."""
    made = calls.select(
        "trace_id", "tool", "position", is_workaround=pl.int_range(pl.len()).over("trace_id", "tool") == 0
    )
    last_calls = made.group_by("trace_id", "tool").agg(last_call=pl.col("position").max())
    next_calls = made.select("trace_id", "position", "is_workaround")
    is_retried = pl.col("last_call") > pl.col("position")
    return (
        messages.filter((pl.col("role") == "tool_result") & pl.col("is_error"))
        .select("trace_id", "tool", "position", "step", text=pl.col("content").str.slice(0, _PASSAGE_CHARS))
        .join(last_calls, on=["trace_id", "tool"], how="left", maintain_order="left")
        .join_asof(next_calls, on="position", by="trace_id", strategy="forward", check_sortedness=False)
        .filter(~is_retried.fill_null(False), ~pl.col("is_workaround").fill_null(False))
        .group_by("trace_id", maintain_order=True)
        .agg(
            n_ignored_errors=pl.len().cast(pl.Int64),
            ignored_tool=pl.col("tool").first(),
            error_evidence=_evidence("ignored_error", "step", pl.col("text").replace("", None)).head(_MAX_CALLS),
        )
    )


def _evidence(signal: str, step: str, text: pl.Expr | None = None) -> pl.Expr:
    nothing = pl.lit(None, pl.String)
    return pl.struct(signal=pl.lit(signal), step=pl.col(step).cast(pl.Int32), text=nothing if text is None else text)
