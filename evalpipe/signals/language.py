"""Which language a text is in, and how much of an answer is in another one than its request.

A text is known by its telling words: function words of languages that share a script (phrases/function_words.yaml), any
word of a script that one language is known by. Without enough of them, or where two languages are close, it has none:
a language that is guessed from names and headings would accuse answers that are right.
"""

from functools import cache

import polars as pl

from evalpipe.signals.phrases import comparable, holds_phrase, phrase_data

_MAX_CHARS = 500  # of each end of a text: its language shows in a few sentences, and may change towards the end
_MIN_LEAD = 2  # telling words that a language must be ahead of the next,
_MIN_LEAD_RATIO = 1.25  # and by this factor: close languages share many
_MIN_FOREIGN = 3  # different telling words: names and terms have one or two
_MIN_SHARE = 0.1  # below it the other language is names and terms

_MARKED_WORDS = {  # words that tell by their letters, and the languages they may belong to
    # Scripts. Two signs are about a word of Chinese or Japanese, four of Thai. A script of several languages stands
    # for the one most written in it.
    r"\p{Han}{1,2}": ("zh",),
    r"[\p{Hiragana}\p{Katakana}]{1,2}": ("ja",),
    r"\p{Hangul}+": ("ko",),
    r"\p{Thai}{1,4}": ("th",),
    r"\p{Devanagari}[\p{Devanagari}\pM]*": ("hi",),
    r"\p{Bengali}[\p{Bengali}\pM]*": ("bn",),
    r"\p{Tamil}[\p{Tamil}\pM]*": ("ta",),
    r"\p{Telugu}[\p{Telugu}\pM]*": ("te",),
    r"\p{Greek}+": ("el",),
    r"\p{Hebrew}+": ("he",),
    r"\p{Georgian}+": ("ka",),
    r"\p{Armenian}+": ("hy",),
    # Letters of one alphabet, or of few.
    r"\pL*ß\pL*": ("de",),
    r"\pL*[äöü]\pL*": ("de", "fi", "hu", "sv", "tr"),
    r"\pL*ñ\pL*|¿": ("es",),
    r"\pL*[ãõ]\pL*": ("pt", "vi"),
    r"\pL*[àèç]\pL*": ("fr", "it", "pt", "vi"),
    r"\pL*å\pL*": ("da", "no", "sv"),
    r"\pL*[øæ]\pL*": ("da", "no"),
    r"\pL*[ąęłńśźż]\pL*": ("pl",),
    r"\pL*[ěřůťň]\pL*": ("cs",),
    r"\pL*[őű]\pL*": ("hu",),
    r"\pL*[țșăţ]\pL*": ("ro",),
    r"\pL*[ğış]\pL*": ("tr",),
    r"\pL*[đơưạ-ỹ]\pL*": ("vi",),
    r"\pL*[ыэё]\pL*": ("ru",),
    r"\pL*[іїєґ]\pL*": ("uk",),
    r"\pL*[پچژگ]\pL*": ("fa",),
}
_WITH_MARK = r"¿|[a-z]*[[\pL\pM]&&[^a-z]][\pL\pM]*"  # what is not plain a to z
_HAN, _KANA = r"\p{Han}{1,2}", r"[\p{Hiragana}\p{Katakana}]{1,2}"
_HAN_WITH_KANA = "han with kana"  # Chinese signs in a text that has Japanese ones

# Code, quoted text, markup, links and addresses are in no language; neither are words with a digit or an underscore,
# codes of states and units, and names: words with capitals in a row. The boundaries are those of ASCII: with Unicode's
# the regex engine leaves its fast path on any text that is not ASCII.
_NO_PROSE = (
    r"(?s)```.*?(?:```|$)|`[^`\n]*`|\"[^\"\n]{0,200}\"|“[^”\n]{0,200}”|„[^“\n]{0,200}“|«[^»\n]{0,200}»|「[^」\n]{0,200}」"
    r"|<[^<>\n]{1,200}>|\S*(?:://|@)\S*|\{\{.*?\}\}|[A-Za-z]*[\d_][A-Za-z\d_.-]*|(?-u:\b)[A-Z]{2}(?-u:\b)"
    r"|\p{Lu}\p{Ll}+(?:\s+\p{Lu}\p{Ll}+)+"
)
_IS_JSON = r"^\s*(?:[\[{]\s*[\"\[{]|[\[{]\s*[\]}])"


def language_mismatch(pairs: pl.DataFrame) -> pl.DataFrame:
    """Languages of `request` and `answer` (texts or null) of each trace_id, in the order given.

    request_language and answer_language are ISO 639-1 codes, null where the text is too short or not clear; of an
    answer in two, the one that is not the request's. language_mismatch is the share in [0, 1] of the answer's telling
    words that are of that other language alone, 0 without an opinion and where the request asks for another language.
    """
    texts = pl.concat([pairs.select(text=_prose("request")), pairs.select(text=_prose("answer"))]).with_row_index("row")
    words = _telling_words(texts)
    counts = words.join(_languages_of_words(), on="word").group_by("row", "language").agg(pl.col("n").sum())
    known = texts.select("row").join(_languages(counts), on="row", how="left", maintain_order="left")["language"]
    request_language, answer_language = known.head(pairs.height), known.tail(pairs.height)
    answers = texts.tail(pairs.height).select("row", asked=request_language)
    foreign = answers.join(_foreign(words, counts, answers), on="row", how="left", maintain_order="left")
    is_wanted = texts.head(pairs.height).select(holds_phrase(comparable(pl.col("text")), "translation")).to_series()
    return pairs.select(
        "trace_id",
        request_language=request_language,
        answer_language=pl.coalesce(foreign["language"], answer_language),
        language_mismatch=pl.when(is_wanted).then(0.0).otherwise(foreign["share"].fill_null(0.0)),
    )


def _prose(column: str) -> pl.Expr:
    """Both ends of a text, without what is in no language; '' where there is none."""
    text = pl.col(column).fill_null("")
    is_long = text.str.len_chars() > 2 * _MAX_CHARS
    ends = (
        pl.when(is_long)
        .then(pl.format("{} \n {}", text.str.head(_MAX_CHARS), text.str.tail(_MAX_CHARS)))
        .otherwise(text)
    )
    return pl.when(text.str.contains(_IS_JSON)).then(pl.lit("")).otherwise(ends.str.replace_all(_NO_PROSE, " "))


def _telling_words(texts: pl.DataFrame) -> pl.DataFrame:
    """row, word, n: the function words of each text (n = 1), and how many different words of it a mark tells."""
    listed = (
        texts.select("row", word=comparable(pl.col("text")).str.extract_many(_function_words()["word"].to_list()))
        .with_columns(pl.col("word").list.unique(), n=pl.lit(1, dtype=pl.UInt32))
        .explode("word", empty_as_null=False, keep_nulls=False)
    )
    spoken = texts.select(
        "row", spoken=pl.col("text").str.to_lowercase().str.extract_all(_WITH_MARK).list.unique()
    ).explode("spoken", empty_as_null=False, keep_nulls=False)
    marked = spoken.join(_marks(spoken["spoken"].unique()), on="spoken").group_by("row", "word").agg(pl.col("n").sum())
    has_kana = (pl.col("word") == _KANA).any().over("row")
    han = pl.when((pl.col("word") == _HAN) & has_kana).then(pl.lit(_HAN_WITH_KANA)).otherwise("word")
    return pl.concat([listed, marked.with_columns(word=han)], how="vertical_relaxed")


def _marks(spoken: pl.Series) -> pl.DataFrame:
    """spoken, word, n: how many words each mark tells in what stands between spaces. A day's words are few."""
    return (
        spoken.to_frame("spoken")
        .with_columns(pl.col("spoken").str.count_matches(mark).alias(mark) for mark in _MARKED_WORDS)
        .unpivot(index="spoken", variable_name="word", value_name="n")
        .filter(pl.col("n") > 0)
    )


def _languages(counts: pl.DataFrame) -> pl.DataFrame:
    """row, language: the one with the most telling words, where it is clearly ahead."""
    best = pl.col("n").max()
    second = pl.col("n").top_k(2).sum() - best
    return (
        counts.group_by("row")
        .agg(language=pl.col("language").get(pl.col("n").arg_max()), best=best, second=second)
        .filter(pl.col("best") >= pl.col("second") + _MIN_LEAD, pl.col("best") >= _MIN_LEAD_RATIO * pl.col("second"))
        .select("row", "language")
    )


def _foreign(words: pl.DataFrame, counts: pl.DataFrame, answers: pl.DataFrame) -> pl.DataFrame:
    """row, language, share: the strongest language but `asked`, its own words against those and `asked`'s."""
    native = counts.rename({"n": "n_native", "language": "asked"})
    others = (
        answers.filter(pl.col("asked").is_not_null())
        .join(words.group_by("row").agg(pl.col("n").sum()), on="row")
        .join(native, on=["row", "asked"], how="left")
        .with_columns(pl.col("n_native").fill_null(0))
        .filter(pl.col("n") >= pl.col("n_native") + _MIN_FOREIGN)
        .select("row", "asked", "n_native")
    )
    is_asked = (pl.col("language") == pl.col("asked")).any().over("row", "word")
    return (
        words.join(others, on="row")
        .join(_languages_of_words(), on="word")
        .filter(~is_asked)
        .group_by("row", "language", "n_native")
        .agg(pl.col("n").sum())
        .sort("row", "n", "language", descending=[False, True, False])
        .unique("row", keep="first", maintain_order=True)
        .with_columns(share=pl.col("n") / (pl.col("n") + pl.col("n_native")))
        .filter(pl.col("n") >= _MIN_FOREIGN, pl.col("share") >= _MIN_SHARE)
        .select("row", "language", "share")
    )


@cache
def _languages_of_words() -> pl.DataFrame:
    """word, language: one row for each language that a telling word may belong to."""
    marked = {**_MARKED_WORDS, _HAN_WITH_KANA: ("ja", "zh")}
    return pl.concat(
        [_function_words(), pl.DataFrame({"word": marked.keys(), "language": [list(x) for x in marked.values()]})]
    ).explode("language", empty_as_null=False, keep_nulls=False)


@cache
def _function_words() -> pl.DataFrame:
    """word, as it stands in a comparable text, and language: all that it belongs to."""
    words = [(word, language) for language, text in phrase_data("function_words").items() for word in str(text).split()]
    return (
        pl.DataFrame(words, schema=["word", "language"], orient="row")
        .filter(pl.col("word").str.len_chars() > 1)  # a single letter is an initial or a variable
        .select(pl.format(" {} ", pl.col("word")).alias("word"), "language")
        .unique()
        .group_by("word")
        .agg(pl.col("language").sort())
        .sort("word")
    )
