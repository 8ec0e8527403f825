"""What an application answers: how surely, whether it refuses, whether the text is whole, and in which language.

Users are measured in requests.py; whether an answer rests on its sources in sources.py; what a service usually does,
such as answering in JSON, is known in anomaly.py.
"""

from collections.abc import Collection

import polars as pl

from evalpipe.signals.language import language_mismatch
from evalpipe.signals.phrases import MAX_PASSAGE, TOKEN, comparable, evidence_lists, passage, phrase_frame, sentences
from evalpipe.signals.requests import request_frame
from evalpipe.tables import EVIDENCE

_MAX_REQUEST = 2_000  # characters of what the user said last
_TELLING_MISMATCH = 0.5  # share of the answer from which its language is another one

_EMPTY, _CUT_OFF, _REPEATING = 1.0, 0.8, 0.6  # the unit of broken_output; a template that was not filled in is 0.6 too
_MIN_REPEATS = 3  # of one sentence
_MIN_REPEATED_WORDS = 4  # lists and tables repeat shorter lines
_CODE = r"(?s)```.*?(?:```|$)|`[^`\n]*`"
_FENCE = r"(?m)^\s*```"
_FENCED_JSON = r"(?s)^\s*```(?:json)?\s*(.*?)\s*```\s*$"
_JSON_START = r"^\s*(?:\{\s*[\"}]|\[\s*[\[{\"\d\]-])"
_LEFTOVER = (  # what a program leaves where a value should be; ASCII boundaries are quick on any text
    r"(\{\{[^{}\n]{1,60}\}\}|\$\{[^{}\n]{1,60}\}|\[object Object\]|<(?:insert|your)[ _][^<>\n]{1,40}>"
    r"|(?i:(?-u:\b)(?:hello|hi|dear|hallo|bonjour|hola|ciao),?\s+(?:undefined|null|none|nan)(?-u:\b))"
    r"|[$€£¥]\s?(?:undefined|null|None|NaN)(?-u:\b)|(?-u:\b)(?:undefined|NaN)\s?[%€£¥$])"
)


def answer_features(
    messages: pl.DataFrame, answers: pl.DataFrame | None = None, *, numbers: Collection[str] | None = None
) -> pl.DataFrame:
    """What is answered in the traces of today among `messages` (messages.py), one row each, sorted by trace_id.

    n_answer_words (null without an answer); hedges_per_100_words and hedges; n_refusals (sentences that refuse or
    deflect) and refusals; broken_output of the final answer, in the unit of tables.SIGNALS without its JSON case;
    is_json (an object or array) and is_cut_off; language_mismatch, request_language, answer_language; evidence. What
    is null without an answer: n_answer_words, hedges_per_100_words, n_refusals, broken_output, is_json, is_cut_off.
    Answers to what an earlier trace said already are not counted again. `answers` are what `new_answers` found, where
    that is known. With `numbers` only these columns are sure to be right: what languages and the form of the answer
    cost is saved where they are not asked for.
    """
    answers = new_answers(messages) if answers is None else answers
    final = _final_answers(answers)
    found = phrase_frame(answers, "hedging", "refusal")
    has_language = numbers is None or "language_mismatch" in numbers
    has_form = numbers is None or not {"broken_output", "is_cut_off"}.isdisjoint(numbers)
    whole = _wholeness(final if has_form else final.clear())
    pairs = _last_pairs(messages, final if has_language else final.clear())
    languages = language_mismatch(pairs)
    empty_list = pl.lit([], dtype=pl.List(pl.String))
    return (
        messages.filter("is_today")
        .select(pl.col("trace_id").unique())
        .join(_counts(answers, found), on="trace_id", how="left")
        .join(whole.drop("step", "leftover", "repeated"), on="trace_id", how="left")
        .join(languages, on="trace_id", how="left")
        .join(_evidence(found, whole, final, languages), on="trace_id", how="left")
        .with_columns(
            pl.col("hedges", "refusals").fill_null(empty_list),
            pl.col("language_mismatch").fill_null(0.0),
            pl.col("evidence").fill_null(pl.lit([], dtype=pl.List(EVIDENCE))),
        )
        .sort("trace_id")
    )


def new_answers(messages: pl.DataFrame, requests: pl.DataFrame | None = None) -> pl.DataFrame:
    """trace_id, step, content: the assistant messages of today from the first new request of their trace on.

    All of a trace where none of its requests is new. `requests` are what `request_frame` found, where that is known.
    """
    requests = request_frame(messages) if requests is None else requests
    since = requests.filter("is_today", "is_new").group_by("trace_id").agg(since=pl.col("step").min())
    return (
        messages.filter("is_today", pl.col("role") == "assistant")
        .join(since, on="trace_id", how="left")
        .filter(pl.col("step") >= pl.col("since").fill_null(0))
        .sort("position")
        .select("trace_id", "step", "content")
    )


def _final_answers(answers: pl.DataFrame) -> pl.DataFrame:
    return answers.group_by("trace_id", maintain_order=True).last()


def _counts(answers: pl.DataFrame, found: pl.DataFrame) -> pl.DataFrame:
    n_words = answers.group_by("trace_id").agg(n_answer_words=pl.col("content").str.count_matches(TOKEN).sum())
    by_kind = found.group_by("trace_id", "kind", maintain_order=True).agg(
        n_sentences=pl.len(),
        n_phrases=pl.col("phrases").list.len().sum(),
        phrases=pl.col("phrases").list.explode().unique(maintain_order=True),
    )
    hedging = by_kind.filter(pl.col("kind") == "hedging").select("trace_id", "n_phrases", hedges="phrases")
    refusal = by_kind.filter(pl.col("kind") == "refusal").select(
        "trace_id", n_refusals="n_sentences", refusals="phrases"
    )
    return (
        n_words.filter(pl.col("n_answer_words") > 0)
        .join(hedging, on="trace_id", how="left")
        .join(refusal, on="trace_id", how="left")
        .with_columns(
            pl.col("n_refusals").fill_null(0),
            hedges_per_100_words=100 * pl.col("n_phrases").fill_null(0) / pl.col("n_answer_words"),
        )
        .drop("n_phrases")
    )


def _wholeness(final: pl.DataFrame) -> pl.DataFrame:
    """Of each final answer: broken_output, is_json, is_cut_off; leftover and repeated, the passages that break it."""
    content = pl.col("content")
    json_text = pl.coalesce(content.str.extract(_FENCED_JSON), content)
    is_json_like = json_text.str.contains(_JSON_START)
    parsed = pl.when(is_json_like).then(json_text).str.json_path_match("$")
    n_open, n_closed = json_text.str.count_matches(r"[\[{]"), json_text.str.count_matches(r"[\]}]")
    is_open = is_json_like & parsed.is_null() & (n_open > n_closed)
    is_fence_open = content.str.count_matches(_FENCE) % 2 == 1
    prose = content.str.replace_all(_CODE, " ")
    broken = (
        pl.when(~content.str.contains(r"\S"))
        .then(_EMPTY)
        .when("is_cut_off")
        .then(_CUT_OFF)
        .when(pl.any_horizontal(pl.col("leftover", "repeated").is_not_null()))
        .then(_REPEATING)
        .otherwise(0.0)
    )
    return (
        final.with_columns(is_json=parsed.is_not_null(), is_cut_off=is_open | is_fence_open, prose=prose)
        .with_columns(leftover=pl.col("prose").str.extract(_LEFTOVER))
        .join(_repeated_sentences(final.select("trace_id", content=prose)), on="trace_id", how="left")
        .select("trace_id", "step", "is_json", "is_cut_off", "leftover", "repeated", broken_output=broken)
    )


def _repeated_sentences(answers: pl.DataFrame) -> pl.DataFrame:
    """trace_id, repeated: the first sentence of enough words that an answer says at least three times."""
    pieces = answers.select("trace_id", sentence=sentences(pl.col("content")))
    n_extra = pl.col("sentence").list.len() - pl.col("sentence").list.n_unique()
    return (
        pieces.filter(n_extra >= _MIN_REPEATS - 1)
        .explode("sentence", empty_as_null=False, keep_nulls=False)
        .filter(pl.col("sentence").str.count_matches(TOKEN) >= _MIN_REPEATED_WORDS)
        .with_columns(key=comparable(pl.col("sentence")))
        .group_by("trace_id", "key", maintain_order=True)
        .agg(pl.len(), repeated=pl.col("sentence").first())
        .filter(pl.col("len") >= _MIN_REPEATS)
        .group_by("trace_id", maintain_order=True)
        .agg(pl.col("repeated").first())
    )


def _last_pairs(messages: pl.DataFrame, final: pl.DataFrame) -> pl.DataFrame:
    """What the user said before the final answer, latest first, and that answer."""
    said = (
        messages.filter("is_today", pl.col("role") == "user")
        .join(final.select("trace_id", until="step"), on="trace_id")
        .filter(pl.col("step") < pl.col("until"))
        .sort("position", descending=True)
        .group_by("trace_id", maintain_order=True)
        .agg(request=pl.col("content").str.head(_MAX_REQUEST).head(3).str.join("\n"))
    )
    return final.join(said, on="trace_id", how="left").select("trace_id", "request", answer="content")


def _evidence(found: pl.DataFrame, whole: pl.DataFrame, final: pl.DataFrame, languages: pl.DataFrame) -> pl.DataFrame:
    spoken = found.select("trace_id", "step", "text", signal="kind")
    shown = pl.coalesce("leftover", "repeated").str.head(MAX_PASSAGE)
    broken = whole.filter(pl.col("broken_output") > 0).select(
        "trace_id",
        "step",
        signal=pl.lit("broken_output"),
        # What is cut off or empty shows nowhere but in the whole answer.
        text=pl.when(pl.col("broken_output") == _REPEATING).then(shown),
    )
    foreign = languages.filter(pl.col("language_mismatch") >= _TELLING_MISMATCH).select("trace_id")
    mismatch = final.join(foreign, on="trace_id", how="semi").select(
        "trace_id", "step", signal=pl.lit("language_mismatch"), text=passage(pl.col("content"))
    )
    return evidence_lists(pl.concat([spoken, broken, mismatch], how="diagonal"))
