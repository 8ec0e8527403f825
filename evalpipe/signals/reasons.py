"""Why a signal is told, in words for a reader who is no engineer. When it is told is anomaly.py's.

Names and phrases in them are trace text: they are cut, and whoever shows them escapes them.
"""

import polars as pl

from evalpipe.signals.usual import END, START

_N_PHRASES = 3
_PHRASE_CHARS = 60
_DEFECTS = {
    "missing_root": "its beginning is missing",
    "orphan_span": "some of its steps are missing",
    "truncated_output": "an answer was cut off",
    "missing_session": "its conversation is unknown",
    "unfinished": "it never finished",
}
# fmt: off
_LANGUAGES = {  # ISO 639-1; one that is not here is told by its code
    "ar": "Arabic", "bg": "Bulgarian", "bn": "Bengali", "cs": "Czech", "da": "Danish", "de": "German", "el": "Greek",
    "en": "English", "es": "Spanish", "fa": "Persian", "fi": "Finnish", "fr": "French", "he": "Hebrew", "hi": "Hindi",
    "hu": "Hungarian", "hy": "Armenian", "id": "Indonesian", "it": "Italian", "ja": "Japanese", "ka": "Georgian",
    "ko": "Korean", "nl": "Dutch", "no": "Norwegian", "pl": "Polish", "pt": "Portuguese", "ro": "Romanian",
    "ru": "Russian", "sv": "Swedish", "ta": "Tamil", "te": "Telugu", "th": "Thai", "tr": "Turkish", "uk": "Ukrainian",
    "vi": "Vietnamese", "zh": "Chinese",
}
# fmt: on


def reason_expressions() -> dict[str, pl.Expr]:
    """For each signal an expression over rows of scores.py; null where there is nothing to say."""
    return {
        "session_length": _session_length(),
        "token_excess": pl.format(
            "{} tokens where such a request usually takes about {}",
            _grouped(pl.col("n_tokens")),
            _grouped(_expected("n_tokens").round(0)),
        ),
        "latency": pl.format(
            "took {} where such a request usually takes about {}",
            _duration(pl.col("duration_s")),
            _duration(_expected("duration_s")),
        ),
        "cost": pl.format(
            "cost ${} where such a request usually costs about ${}",
            pl.col("cost_usd").round_sig_figs(2),
            _expected("cost_usd").round_sig_figs(2),
        ),
        "resubmission": pl.format(
            "asked nearly the same thing {}",
            pl.when(pl.col("n_times_asked") > 2)
            .then(pl.format("{} times", "n_times_asked"))
            .otherwise(pl.lit("twice")),
        ),
        "tool_deviation": pl.format(
            "unusual tool steps, such as {} ({} bits a step where {} is usual)",
            step_in_words(pl.col("before"), pl.col("after")),
            pl.col("bits").round(1),
            pl.col("usual_bits").round(1),
        ),
        "repetition": _repetition(),
        "ignored_error": pl.when(pl.col("n_ignored_errors") == 1)
        .then(pl.format("a failed call of {} was left at that", _cut("ignored_tool")))
        .otherwise(pl.format("{} failed calls (of {}) were left at that", "n_ignored_errors", _cut("ignored_tool"))),
        "hedging": pl.format(
            "hedges: {} ({} per 100 words where {} is usual)",
            _quoted("hedges"),
            pl.col("hedges_per_100_words").round(1),
            pl.col("usual_hedges").round(1),
        ),
        "refusal": pl.format("refuses or deflects: {}", _quoted("refusals")),
        "unbacked_claim": pl.format(
            "says {}, and no call did it ({} % of such answers have one)",
            _quoted("unbacked_claims"),
            (100 * pl.col("usual_backed")).round(0).cast(pl.Int64),
        ),
        "asked_again": pl.format("asks for what the user had given: {}", _quoted("asked_again")),
        "unsupported": _unsupported(),
        "broken_output": _broken_output(),
        "frustration": _frustration(),
        "language_mismatch": pl.format(
            "answered in {} to a request in {}",
            pl.col("answer_language").replace(_LANGUAGES),
            pl.col("request_language").replace(_LANGUAGES),
        ),
        "incomplete": pl.format(
            "the record is incomplete: {}",
            pl.col("defects").list.eval(pl.element().replace(_DEFECTS)).list.join(", "),
        ),
    }


def step_in_words(before: pl.Expr, after: pl.Expr) -> pl.Expr:
    """A tool step as a reader says it."""
    earlier, later = (tool.str.slice(0, _PHRASE_CHARS) for tool in (before, after))
    return (
        pl.when((before == START) & (after == END))
        .then(pl.lit("no tool call at all"))
        .when(before == START)
        .then(pl.format("{} first", later))
        .when(after == END)
        .then(pl.format("nothing after {}", earlier))
        .otherwise(pl.format("{} after {}", later, earlier))
    )


def _session_length() -> pl.Expr:
    turns = pl.format(
        "{} turns in the session where about {} are usual", "n_turns", pl.col("usual_turns").round(0).cast(pl.Int64)
    )
    calls = pl.format(
        "{} tool calls where about {} are usual", "n_tool_calls", pl.col("usual_calls").round(0).cast(pl.Int64)
    )
    time = pl.format(
        "a session of {} where about {} is usual", _duration(pl.col("session_s")), _duration(pl.col("usual_session_s"))
    )
    growth = pl.format("each step reads {} times as much as at first", pl.col("context_growth").round(1))
    told = {"turns": turns, "calls": calls, "session": time, "growth": growth}
    most = pl.max_horizontal(f"sigmas_log2_{name}" for name in told)
    return pl.coalesce(pl.when(pl.col(f"sigmas_log2_{name}") == most).then(words) for name, words in told.items())


def _repetition() -> pl.Expr:
    once = pl.format(
        "called {} {} times in a row with the same arguments",
        pl.col("repeated").list.first().str.slice(0, _PHRASE_CHARS),
        "n_repeats",
    )
    cycle = pl.format(
        "went {} times through the same calls of {}",
        "n_repeats",
        pl.col("repeated").list.eval(pl.element().str.slice(0, _PHRASE_CHARS)).list.join(", "),
    )
    return pl.when(pl.col("repeated").list.len() == 1).then(once).otherwise(cycle)


def _unsupported() -> pl.Expr:
    share = pl.format(
        "{} % of the answer is in no source where {} % is usual",
        (100 * pl.col("unsupported")).round(0).cast(pl.Int64),
        (100 * pl.col("usual_unsupported")).round(0).cast(pl.Int64),
    )
    n_numbers = pl.col("n_unsupported_numbers")
    numbers = (
        pl.when(n_numbers == 1)
        .then(pl.lit(", a number among it"))
        .when(n_numbers > 1)
        .then(pl.format(", {} numbers among it", n_numbers))
        .otherwise(pl.lit(""))
    )
    return pl.concat_str(share, numbers)


def _broken_output() -> pl.Expr:
    is_bad_json = pl.col("is_json_usual") & ~pl.col("is_json").fill_null(True)
    return (
        pl.when(pl.col("broken_output") == 1)
        .then(pl.lit("the answer is empty"))
        .when("is_error")
        .then(pl.lit("the application reported an error"))
        .when(is_bad_json)
        .then(pl.lit("the answer is not the JSON that this service usually answers with"))
        .when("is_cut_off")
        .then(pl.lit("the answer is cut off"))
        .otherwise(pl.lit("the answer repeats itself, or a blank in it was not filled in"))
    )


def _frustration() -> pl.Expr:
    complained = pl.when(pl.col("n_complaints") > 0).then(pl.format("the user complains: {}", _quoted("complaints")))
    left = pl.when("is_left_unanswered").then(pl.lit("the last message of the user got no answer"))
    return pl.concat_str(complained, left, separator="; ", ignore_nulls=True)


def _expected(column: str) -> pl.Expr:
    return pl.lit(2.0) ** pl.col(f"expected_{column}")


def _cut(column: str) -> pl.Expr:
    return pl.col(column).str.slice(0, _PHRASE_CHARS)


def _quoted(column: str) -> pl.Expr:
    """The first phrases of a list, each in quotation marks."""
    phrase = pl.format("'{}'", pl.element().str.slice(0, _PHRASE_CHARS))
    return pl.col(column).list.head(_N_PHRASES).list.eval(phrase).list.join(", ")


def _duration(seconds: pl.Expr) -> pl.Expr:
    """41.2 -> '41 s', 300 -> '5 min', 7300 -> '2 h'."""
    return (
        pl.when(seconds < 10)
        .then(pl.format("{} s", seconds.round(1)))
        .when(seconds < 120)
        .then(pl.format("{} s", seconds.round(0).cast(pl.Int64, strict=False)))
        .when(seconds < 7_200)
        .then(pl.format("{} min", (seconds / 60).round(0).cast(pl.Int64, strict=False)))
        .otherwise(pl.format("{} h", (seconds / 3_600).round(0).cast(pl.Int64, strict=False)))
    )


def _grouped(number: pl.Expr) -> pl.Expr:
    """1930 -> '1,930'."""
    backwards = number.cast(pl.Int64, strict=False).cast(pl.String).str.reverse()
    return backwards.str.replace_all(r"(\d{3})", "${1},").str.reverse().str.strip_chars_start(",")
