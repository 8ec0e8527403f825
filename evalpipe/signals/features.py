"""What can be counted in a trace and its session: turns, tokens, repeated requests, tool steps, hedging phrases.

Nothing here knows what is usual (usual.py) or gives a score (anomaly.py).
"""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import polars as pl

NEARLY_SAME = 0.6  # token Jaccard from which a second request asks the same thing; paraphrases of one task lie below
START, END = "\x02", "\x03"  # before the first and after the last tool call; no tool can be named so
_MIN_TOKENS = 3  # "yes please" twice is no resubmission
_MAX_EARLIER = 40  # messages looked back: keeps the cost of an endless session linear
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}"  # scripts in which a space does not end a word
_BREAK = r"[^\w'%]+"
_GAP = "  "  # between words when phrases are looked for: two spaces, so that neighbouring phrases each have one
_TOKEN = rf"[{_UNSPACED}]|[\w&&[^{_UNSPACED}]]+"


class TraceFeatures(NamedTuple):
    """`traces`: one row a trace. `steps`: one row per step between tools (trace_id, service_name, before, after)."""

    traces: pl.DataFrame
    steps: pl.DataFrame


def trace_features(traces: pl.DataFrame) -> TraceFeatures:
    """The features of TRACES rows, sorted by trace_id. Traces of one session see those that started earlier.

    Columns: trace_id, day, session_id, session_key, service_name; n_turns (user turns of the session so far); n_tokens
    (null when none reported); n_user_words, n_user_messages, n_tool_calls; duration_s; similarity (to the nearest
    earlier request of the session, null without one) and n_times_asked; longest_run of identical calls and run_tool;
    n_ignored_errors (failed calls that nothing was done about) and ignored_tool; n_answer_words (null without an
    answer), hedges_per_100_words and hedges (the phrases).
    """
    messages = _messages(traces)
    requests = _requests(messages)
    features = (
        traces.select(
            "trace_id",
            "day",
            "session_id",
            "service_name",
            "start_unix_ns",
            pl.col("turn_index").fill_null(0),
            "n_tool_calls",
            session_key=_session_key(),
            n_tokens=pl.when(pl.any_horizontal(pl.col("n_input_tokens", "n_output_tokens").is_not_null())).then(
                pl.sum_horizontal("n_input_tokens", "n_output_tokens")
            ),
            duration_s=pl.col("duration_ns") / 1e9,
        )
        .join(_request_sizes(requests), on="trace_id", how="left")
        .join(_repeats(requests), on="trace_id", how="left")
        .join(_longest_runs(messages), on="trace_id", how="left")
        .join(_ignored_errors(messages), on="trace_id", how="left")
        .join(_hedging(messages), on="trace_id", how="left")
        .with_columns(pl.col("n_user_messages", "n_new_requests", "n_user_words", "longest_run").fill_null(0))
        .with_columns(pl.col("n_ignored_errors").fill_null(0), pl.col("n_times_asked").fill_null(1))
        .sort("session_key", "start_unix_ns", "trace_id")
        .with_columns(
            n_turns=pl.max_horizontal(
                pl.col("turn_index") + 1, pl.col("n_new_requests").clip(lower_bound=1).cum_sum().over("session_key")
            )
        )
        .drop("start_unix_ns", "turn_index", "n_new_requests")
        .sort("trace_id")
    )
    return TraceFeatures(features, _steps(traces, messages))


@cache
def hedging_phrases() -> tuple[str, ...]:
    """The phrases of hedging.yaml, longest first; those of spaced scripts stand between spaces: whole words match."""
    import yaml

    text = Path(__file__).with_name("hedging.yaml").read_text(encoding="utf-8")
    phrases = pl.Series([phrase for language in yaml.safe_load(text).values() for phrase in language]).unique()
    is_unspaced = phrases.str.contains(f"[{_UNSPACED}]")
    words = phrases.str.replace_all(_BREAK, _GAP)
    matched = pl.select(pl.when(is_unspaced).then(words).otherwise(pl.format(" {} ", words))).to_series()
    return tuple(sorted(matched, key=lambda phrase: (-len(phrase), phrase)))


def _session_key() -> pl.Expr:
    # A trace without a session is a session of its own.
    return pl.coalesce("session_id", "trace_id")


def _messages(traces: pl.DataFrame) -> pl.DataFrame:
    return (
        traces.sort("start_unix_ns", "trace_id")
        .select("trace_id", pl.col("transcript"), session_key=_session_key())
        .explode("transcript", empty_as_null=False, keep_nulls=False)
        .unnest("transcript")
        .with_columns(pl.col("content").fill_null(""), pl.col("tool").fill_null("(unnamed)"))
        .with_row_index("position")
    )


def _requests(messages: pl.DataFrame) -> pl.DataFrame:
    """User messages in order, with `is_new`: an application may send the conversation so far with each request.

    A trace repeats them when its messages begin with all of the session's previous trace, or, where only a window of
    the conversation is sent, when its last message but one is the last of that trace.
    """
    requests = messages.filter(pl.col("role") == "user").select("trace_id", "session_key", "position", "content")
    asked = requests.group_by("trace_id", "session_key", maintain_order=True).agg(
        n=pl.len(),
        text=pl.col("content").str.join("\x1e") + "\x1e",
        last=pl.col("content").last(),
        last_but_one=pl.when(pl.len() > 1).then(pl.col("content").slice(-2, 1).first()),
    )
    n_before, text_before, last_before = (pl.col(c).shift(1).over("session_key") for c in ("n", "text", "last"))
    n_new = (
        pl.when((pl.col("n") > n_before) & pl.col("text").str.starts_with(text_before))
        .then(pl.col("n") - n_before)
        .when(pl.col("last_but_one") == last_before)
        .then(1)
        .otherwise(pl.col("n"))
    )
    return (
        requests.join(asked.select("trace_id", "n", n_new=n_new), on="trace_id", maintain_order="left")
        .with_columns(is_new=pl.int_range(pl.len()).over("trace_id") >= pl.col("n") - pl.col("n_new"))
        .drop("n", "n_new")
    )


def _request_sizes(requests: pl.DataFrame) -> pl.DataFrame:
    return requests.group_by("trace_id").agg(
        n_user_messages=pl.len(),
        n_new_requests=pl.col("is_new").sum(),
        n_user_words=pl.col("content").str.count_matches(_TOKEN).sum(),
    )


def _repeats(requests: pl.DataFrame) -> pl.DataFrame:
    """`similarity` of a trace's requests to earlier ones of the session, and how often the most repeated was asked."""
    asked = (
        requests.filter("is_new")
        .with_columns(tokens=pl.col("content").str.to_lowercase().str.extract_all(_TOKEN))
        .with_columns(tokens=pl.col("tokens").list.eval(pl.element().hash()).list.unique())
        .with_columns(n_tokens=pl.col("tokens").list.len())
        .filter(pl.col("n_tokens") >= _MIN_TOKENS)
        .select("trace_id", "session_key", "tokens", "n_tokens", place=pl.int_range(pl.len()).over("session_key"))
        .with_columns(block=pl.col("place") // _MAX_EARLIER)
    )
    # Each message meets its own block and the one before: fewer than 2 * _MAX_EARLIER, never the whole session.
    earlier = pl.concat([asked, asked.with_columns(pl.col("block") + 1)])
    pairs = asked.join(earlier, on=["session_key", "block"], suffix="_earlier").filter(
        (pl.col("place") - pl.col("place_earlier")).is_between(1, _MAX_EARLIER)
    )
    n_shared = pl.col("tokens").list.set_intersection("tokens_earlier").list.len()
    return (
        pairs.with_columns(n_shared=n_shared)
        .with_columns(
            similarity=pl.col("n_shared") / (pl.col("n_tokens") + pl.col("n_tokens_earlier") - pl.col("n_shared"))
        )
        .group_by("trace_id", "place")
        .agg(pl.col("similarity").max(), n_times_asked=1 + (pl.col("similarity") >= NEARLY_SAME).sum())
        .group_by("trace_id")
        .agg(pl.col("similarity", "n_times_asked").max())
    )


def _longest_runs(messages: pl.DataFrame) -> pl.DataFrame:
    """The longest run of calls of one tool with the same arguments, whatever came back in between."""
    calls = messages.filter(pl.col("role") == "tool_call").with_columns(call=pl.struct("tool", "content"))
    is_other = (pl.col("call") != pl.col("call").shift(1).over("trace_id")).fill_null(True)
    return (
        calls.with_columns(run=is_other.cum_sum().over("trace_id"))
        .group_by("trace_id", "run", maintain_order=True)
        .agg(pl.col("tool").first(), longest_run=pl.len())
        .group_by("trace_id", maintain_order=True)
        .agg(
            pl.col("longest_run").max(),
            run_tool=pl.col("tool").get(pl.col("longest_run").arg_max()),
        )
    )


def _ignored_errors(messages: pl.DataFrame) -> pl.DataFrame:
    """Failed calls that nothing was done about: no retry ever, and no turn to a new tool right after."""
    calls = messages.filter(pl.col("role") == "tool_call").select(
        "trace_id", "tool", "position", is_first=pl.int_range(pl.len()).over("trace_id", "tool") == 0
    )
    last_calls = calls.group_by("trace_id", "tool").agg(last_call=pl.col("position").max())
    next_calls = calls.select("trace_id", "position", is_workaround="is_first")
    is_retried = pl.col("last_call") > pl.col("position")
    return (
        messages.filter((pl.col("role") == "tool_result") & pl.col("is_error"))
        .select("trace_id", "tool", "position")
        .join(last_calls, on=["trace_id", "tool"], how="left", maintain_order="left")
        .join_asof(next_calls, on="position", by="trace_id", strategy="forward", check_sortedness=False)
        .filter(~is_retried.fill_null(False), ~pl.col("is_workaround").fill_null(False))
        .group_by("trace_id", maintain_order=True)
        .agg(n_ignored_errors=pl.len(), ignored_tool=pl.col("tool").first())
    )


def _hedging(messages: pl.DataFrame) -> pl.DataFrame:
    answers = (
        messages.filter(pl.col("role") == "assistant")
        .group_by("trace_id", maintain_order=True)
        .agg(pl.col("content").str.join("\n"))
        .with_columns(text=pl.col("content").str.to_lowercase().str.replace_all("’", "'", literal=True))
        .with_columns(text=pl.format(" {} ", pl.col("text").str.replace_all(_BREAK, _GAP)))
    )
    found = pl.col("text").str.extract_many(list(hedging_phrases()), leftmost=True)
    return (
        answers.select("trace_id", n_answer_words=pl.col("text").str.count_matches(_TOKEN), found=found)
        .filter(pl.col("n_answer_words") > 0)
        .select(
            "trace_id",
            "n_answer_words",
            hedges_per_100_words=100 * pl.col("found").list.len() / pl.col("n_answer_words"),
            hedges=pl.col("found")
            .list.eval(pl.element().str.strip_chars().str.replace_all(_GAP, " ", literal=True))
            .list.unique(maintain_order=True),
        )
    )


def _steps(traces: pl.DataFrame, messages: pl.DataFrame) -> pl.DataFrame:
    tools = messages.filter(pl.col("role") == "tool_call").group_by("trace_id", maintain_order=True).agg("tool")
    return (
        traces.select("trace_id", "service_name")
        .join(tools, on="trace_id", how="left")
        .with_columns(places=pl.concat_list(pl.lit(START), pl.col("tool").fill_null([]), pl.lit(END)))
        .select(
            "trace_id",
            "service_name",
            before=pl.col("places").list.head(pl.col("places").list.len() - 1),
            after=pl.col("places").list.slice(1),
        )
        .explode("before", "after", empty_as_null=False, keep_nulls=False)
    )
