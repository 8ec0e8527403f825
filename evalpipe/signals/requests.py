"""What users say: how much, how often the same again, how dissatisfied, and whether anybody answered.

Answers are measured in answers.py. A request is a user message that was not said before: an application may send the
conversation so far with every trace.
"""

import polars as pl

from evalpipe.signals.phrases import (
    TOKEN,
    UNSPACED,
    begins_with_phrase,
    comparable,
    evidence_lists,
    passage,
    phrase_frame,
)
from evalpipe.signals.tools import only_looks
from evalpipe.tables import EVIDENCE

NEARLY_SAME = 0.6
"""Similarity from which two requests ask the same thing."""

_MIN_WORDS = 3  # "yes please" twice is no resubmission
_MAX_EARLIER = 20  # requests looked back: keeps the cost of an endless session linear
_MAX_A_DAY = 200  # requests of one user without a session: more come from a program, whose requests are no attempts
_USER_WINDOW_NS = 86_400 * 10**9  # a day: what a user without a session asked before it is another matter
_MAX_CONTENT = 2_000  # characters compared of one request: what it asks is at its start
_STEM = 5  # letters that stand for a word: delivery, delivered and delivers are one (McNamee and Mayfield 2004)
_COMMON_ENOUGH = 1 / 50  # a word rarer than this weighs no more: rarity among few requests is chance
_NUMBER_WEIGHT = 2.0  # of an order number against a word as rare: it says which thing is meant
_SIGN_WEIGHT = 0.5  # of a sign of an unspaced script: two of them make a word
_OTHER_NUMBERS = 0.5  # requests with numbers of which none is shared ask about different things

_NUMBER = r"\d"
_MIN_SHOUTED = 12  # letters
_SHOUTED_SHARE = 0.8  # of the letters: names and abbreviations stay below
_INSISTENT = r"(\S{0,60}\s?\S{0,60}[!?！？]{3,9})"  # with the words before it


def request_features(messages: pl.DataFrame, requests: pl.DataFrame | None = None) -> pl.DataFrame:
    """What users say in the traces of today among `messages` (messages.py), one row each, sorted by trace_id.

    n_user_messages; n_new_requests; n_user_words; similarity in [0, 1] to the nearest earlier request of the session,
    or for a trace without one to those of the same user and service within a day (null without one), and
    n_times_asked; n_complaints (phrases, shouting, insistent punctuation) and complaints; is_left_unanswered (nothing
    was answered to the last user message, nor done about it); evidence of resubmission and frustration.
    `requests` are what `request_frame` found, where that is known.
    """
    requests = request_frame(messages) if requests is None else requests
    asked = requests.filter("is_today", "is_new")
    repeats = _repeats(requests)
    complaints = _complaints(asked)
    empty_list = pl.lit([], dtype=pl.List(pl.String))
    return (
        messages.filter("is_today")
        .select(pl.col("trace_id").unique())
        .join(_sizes(requests), on="trace_id", how="left")
        .join(_nearest(repeats), on="trace_id", how="left")
        .join(_complaint_counts(complaints), on="trace_id", how="left")
        .join(_unanswered(messages), on="trace_id", how="left")
        .join(_evidence(asked, repeats, complaints), on="trace_id", how="left")
        .with_columns(
            pl.col("n_user_messages", "n_new_requests", "n_user_words", "n_complaints").fill_null(0),
            pl.col("n_times_asked").fill_null(1),
            pl.col("complaints").fill_null(empty_list),
            pl.col("is_left_unanswered").fill_null(False),
            pl.col("evidence").fill_null(pl.lit([], dtype=pl.List(EVIDENCE))),
        )
        .sort("trace_id")
    )


def request_frame(messages: pl.DataFrame) -> pl.DataFrame:
    """The user messages in order, with `asker`, `has_session` and `is_new`.

    The asker is who may say the same again: the session; without one the user of a service; else the trace. A trace
    repeats what was said when its user messages begin with all of the asker's previous trace, or, where only a window
    of the conversation is sent, when its last but one is the last of that trace.
    """
    user = pl.format("{}\x1f{}", "service_name", "user_id")
    is_person = pl.col("user_id").is_not_null() & (pl.len().over("service_name", "user_id") <= _MAX_A_DAY)
    said = (
        messages.filter(pl.col("role") == "user")
        .select(
            *("trace_id", "session_key", "service_name", "is_today", "start_unix_ns", "position", "step", "content"),
            has_session=pl.col("session_key") != pl.col("trace_id"),
            asker=pl.when((pl.col("session_key") == pl.col("trace_id")) & is_person)
            .then(user)
            .otherwise("session_key"),
        )
        .sort("asker", "start_unix_ns", "position")
    )
    asked = said.group_by("trace_id", "asker", maintain_order=True).agg(
        n=pl.len(),
        text=pl.col("content").str.join("\x1e") + "\x1e",
        last=pl.col("content").last(),
        last_but_one=pl.when(pl.len() > 1).then(pl.col("content").slice(-2, 1).first()),
    )
    n_before, text_before, last_before = (pl.col(c).shift(1).over("asker") for c in ("n", "text", "last"))
    n_new = (
        pl.when((pl.col("n") > n_before) & pl.col("text").str.starts_with(text_before))
        .then(pl.col("n") - n_before)
        .when(pl.col("last_but_one") == last_before)
        .then(1)
        .otherwise(pl.col("n"))
    )
    return (
        said.join(asked.select("trace_id", "n", n_new=n_new), on="trace_id", maintain_order="left")
        .with_columns(is_new=pl.int_range(pl.len()).over("trace_id") >= pl.col("n") - pl.col("n_new"))
        .drop("n", "n_new")
    )


def _sizes(requests: pl.DataFrame) -> pl.DataFrame:
    return (
        requests.filter("is_today")
        .group_by("trace_id")
        .agg(
            n_user_messages=pl.len(),
            n_new_requests=(pl.col("is_new") | ~pl.col("has_session")).sum(),
            n_user_words=pl.col("content").str.count_matches(TOKEN).sum(),
        )
    )


def _repeats(requests: pl.DataFrame) -> pl.DataFrame:
    """Today's requests that have an earlier one: trace_id, position, similarity to the nearest, n_times_asked.

    The similarity is a cosine in which each word shared counts with its weight: rare words more than common ones,
    numbers most. Wordings of one request share what it is about; other requests of its topic do not.
    """
    compared = _compared(requests)
    words = _weighted_words(compared)
    # Each request meets its own block and the one before: fewer than 2 * _MAX_EARLIER, never the whole session.
    block = pl.col("request") // _MAX_EARLIER
    earlier = words.select("asker_id", "word_id", "request", "asked_ns", block=block)
    earlier = pl.concat([earlier, earlier.with_columns(pl.col("block") + 1)])
    is_recent = pl.col("is_lasting") | (pl.col("asked_ns") - pl.col("asked_ns_earlier") <= _USER_WINDOW_NS)
    totals = words.group_by("request").agg(total=pl.col("weight").sum(), has_number=pl.col("is_number").any())
    pairs = (
        words.filter("is_today")
        .with_columns(block=block)
        .join(earlier, on=["asker_id", "block", "word_id"], suffix="_earlier")
        .filter(pl.col("request") > pl.col("request_earlier"), is_recent)
        .filter(pl.col("request") - pl.col("request_earlier") <= _MAX_EARLIER)
        .group_by("request", "request_earlier")
        .agg(shared=pl.col("weight").sum(), shares_number=pl.col("is_number").any())
        .join(totals, on="request")
        .join(totals, left_on="request_earlier", right_on="request", suffix="_earlier")
    )
    is_other = pl.col("has_number") & pl.col("has_number_earlier") & ~pl.col("shares_number")
    # Rounded: a sum in another order differs in its last bits, and equal input must give equal rows.
    cosine = (pl.col("shared") / (pl.col("total") * pl.col("total_earlier")).sqrt()).round(6)
    nearest = (
        pairs.with_columns(similarity=cosine * pl.when(is_other).then(_OTHER_NUMBERS).otherwise(1.0))
        .group_by("request")
        .agg(pl.col("similarity").max(), n_times_asked=1 + (pl.col("similarity") >= NEARLY_SAME).sum())
    )
    return (
        compared.filter("is_today", "has_earlier")
        .join(nearest, on="request", how="left")
        .select("trace_id", "position", pl.col("similarity").fill_null(0.0), pl.col("n_times_asked").fill_null(1))
    )


def _compared(requests: pl.DataFrame) -> pl.DataFrame:
    """What may be asked again, each asker's in order: of enough words, and no answer to a question of the application.

    Those of an `is_lasting` asker are compared however long ago they were.
    """
    words = pl.col("content").str.head(_MAX_CONTENT).str.to_lowercase().str.extract_all(TOKEN)
    stem = pl.when(pl.element().str.contains(_NUMBER)).then(pl.element()).otherwise(pl.element().str.head(_STEM))
    is_question = pl.col("content").str.contains("[?？]")
    is_answer = begins_with_phrase(comparable(pl.col("content").str.head(_MAX_CONTENT)), "assent") & ~is_question
    since = pl.col("asked_ns") - pl.col("asked_ns").shift(1).over("asker_id")
    return (
        requests.filter(pl.col("is_new"), ~is_answer)
        .select(
            *("trace_id", "service_name", "is_today", "position"),
            asker_id=pl.col("asker").rle_id(),
            is_lasting=pl.col("has_session") | (pl.col("asker") == pl.col("trace_id")),
            asked_ns="start_unix_ns",
            words=words.list.eval(stem).list.unique(),
        )
        .filter(pl.col("words").list.len() >= _MIN_WORDS)
        .with_columns(
            has_earlier=pl.when("is_lasting")
            .then(since.is_not_null())
            .otherwise(since <= _USER_WINDOW_NS)
            .fill_null(False)
        )
        .with_row_index("request")
    )


def _weighted_words(compared: pl.DataFrame) -> pl.DataFrame:
    """One row a different word of a request, with its weight: its rarity among the service's requests, by its kind.

    Short words are the common ones in every language (Zipf's law of abbreviation), so that a first day with few
    requests tells `where is my` from `order` too. Requests of an asker who asked but once have no rows.
    """
    n_requests = compared.group_by("service_name").agg(n_requests=pl.len())
    word = pl.col("word")
    kind = (
        pl.when("is_number")
        .then(_NUMBER_WEIGHT)
        .when(word.str.contains(f"^[{UNSPACED}]$"))
        .then(_SIGN_WEIGHT)
        .otherwise(word.str.len_chars() / _STEM)
    )
    share = pl.max_horizontal((1 + pl.col("n_with")) / (1 + pl.col("n_requests")), _COMMON_ENOUGH)
    said = compared.select("service_name", "request", word="words").explode(
        "word", empty_as_null=False, keep_nulls=False
    )
    weights = (
        said.group_by("service_name", "word")
        .agg(n_with=pl.len())
        .join(n_requests, on="service_name")
        .with_columns(is_number=word.str.contains(_NUMBER))
        .select("service_name", "word", "is_number", weight=(1 - share.log()) * kind)
        .with_row_index("word_id")
    )
    repeating = compared.filter(pl.len().over("asker_id") > 1)
    return (
        said.join(repeating.select("request", "asker_id", "is_today", "is_lasting", "asked_ns"), on="request")
        .join(weights, on=["service_name", "word"])
        .drop("service_name", "word")
    )


def _nearest(repeats: pl.DataFrame) -> pl.DataFrame:
    return repeats.group_by("trace_id").agg(pl.col("similarity", "n_times_asked").max())


def _complaints(asked: pl.DataFrame) -> pl.DataFrame:
    """One row a sign of dissatisfaction: trace_id, step, text (the passage), sign (in words)."""
    phrases = (
        phrase_frame(asked, "complaint")
        .explode("phrases", empty_as_null=False, keep_nulls=False)
        .select("trace_id", "step", "text", sign="phrases")
    )
    letters = pl.col("content").str.count_matches(r"[\p{Lu}\p{Ll}]")
    capitals = pl.col("content").str.count_matches(r"\p{Lu}")
    is_shouted = (letters >= _MIN_SHOUTED) & (capitals >= _SHOUTED_SHARE * letters)
    return pl.concat(
        [
            phrases,
            asked.filter(is_shouted).select(
                "trace_id", "step", text=passage(pl.col("content")), sign=pl.lit("capitals")
            ),
            asked.select("trace_id", "step", text=pl.col("content").str.extract(_INSISTENT), sign=pl.lit("???")).filter(
                pl.col("text").is_not_null()
            ),
        ]
    )


def _complaint_counts(complaints: pl.DataFrame) -> pl.DataFrame:
    return complaints.group_by("trace_id", maintain_order=True).agg(
        n_complaints=pl.len(), complaints=pl.col("sign").unique(maintain_order=True)
    )


def _unanswered(messages: pl.DataFrame) -> pl.DataFrame:
    step = pl.col("step")
    is_said = (pl.col("role") == "assistant") & pl.col("content").str.contains(r"\S")
    # Handing over to a person, for example, is an answer without words.
    is_done = (pl.col("role") == "tool_result") & ~pl.col("is_error") & ~only_looks(pl.col("tool"))
    return (
        messages.filter("is_today")
        .group_by("trace_id")
        .agg(
            asked=step.filter(pl.col("role") == "user").max(),
            answered=step.filter(is_said | is_done).max(),
        )
        .select(
            "trace_id",
            is_left_unanswered=pl.col("asked").is_not_null() & (pl.col("answered").fill_null(-1) < pl.col("asked")),
        )
    )


def _evidence(asked: pl.DataFrame, repeats: pl.DataFrame, complaints: pl.DataFrame) -> pl.DataFrame:
    same = repeats.filter(pl.col("similarity") >= NEARLY_SAME).select("position")
    again = asked.join(same, on="position", how="semi").select(
        "trace_id", "step", signal=pl.lit("resubmission"), text=passage(pl.col("content"))
    )
    upset = complaints.select("trace_id", "step", "text", signal=pl.lit("frustration"))
    return evidence_lists(pl.concat([again, upset], how="diagonal"))
