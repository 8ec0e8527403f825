"""The words of a trace's messages: how alike what users say is, and how much of an answer has a source in the trace.

The view that these figures end in is view.py. Words are compared in lower case; content words are those left after a
short list of English function words.
"""

import polars as pl

ROW = "_row"
"""Column that says which trace a message or a word belongs to."""

_NEIGHBOURS = 6  # a user who repeats himself does so soon; all pairs of a long conversation would be quadratic

# A word of a script without spaces is a single character; a number keeps its inner points and commas.
_TOKEN = r"\d+(?:[.,]\d+)*|[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]|\pL[\pL\pM\pN']*"

_BREAK = "\x1e"  # between the messages of a text
_PAIRING = 0x9E3779B97F4A7C15  # an odd number with its bits well mixed: the order of a pair counts

# fmt: off
_STOP_WORDS = (
    "a", "about", "all", "also", "am", "an", "and", "any", "are", "as", "at", "be", "been", "being", "but", "by", "can",
    "could", "did", "do", "does", "for", "from", "had", "has", "have", "he", "her", "here", "him", "his", "how", "i",
    "i'm", "i've", "if", "in", "into", "is", "it", "it's", "its", "just", "let", "like", "may", "me", "my", "no", "not",
    "of", "on", "or", "our", "out", "please", "she", "so", "some", "such", "sure", "than", "thank", "thanks", "that",
    "the", "their", "them", "then", "there", "these", "they", "this", "those", "to", "too", "up", "us", "was", "we",
    "were", "what", "when", "where", "which", "who", "will", "with", "would", "yes", "you", "you're", "your",
)
# fmt: on


def tokens_of(messages: pl.DataFrame) -> pl.DataFrame:
    """The messages whose words are compared, each with its words in lower case."""
    return messages.filter(pl.col("role") != "tool_call").select(
        ROW,
        "_message",
        "role",
        words=_lower(pl.col("content")).str.extract_all(_TOKEN),
        is_last=pl.col("_message") == pl.col("_message").max().over(ROW, "role"),
        is_first=pl.col("_message") == pl.col("_message").min().over(ROW, "role"),
    )


def content_words(text: str) -> list[str]:
    """The different content words of one text, sorted."""
    return sorted(pl.select(word_lists(pl.lit(text), "words")).item())


def word_lists(text: pl.Expr, unit: str) -> pl.Expr:
    """The different content words of each text, or its pairs of neighbouring words, or its numbers, as a list.

    Pairs are hashes, for lists of one process alone: only whether two are equal can be asked.
    """
    lists = all_words(text, unit)
    if unit == "words":
        return lists.list.set_difference(pl.lit(list(_STOP_WORDS)))
    return lists.list.drop_nulls().list.unique()


def all_words(text: pl.Expr, unit: str) -> pl.Expr:
    """What `word_lists` chooses from: function words and nulls are among them, and what occurs twice stands twice."""
    words = _lower(text).str.extract_all(f"{_TOKEN}|{_BREAK}" if unit == "pairs" else _TOKEN)
    word = pl.element()
    match unit:
        case "words":
            return words
        case "numbers":
            number = word.str.replace_all(",", "", literal=True).cast(pl.Float64, strict=False)
            return words.list.eval(pl.when(word.str.contains(r"^\d")).then(number))
        case _:
            # No pair goes from one message to the next.
            codes = words.list.eval(pl.when(word != _BREAK).then(word.hash()))
            n_pairs = codes.list.len().cast(pl.Int64) - 1
            return codes.list.head(n_pairs.clip(lower_bound=0)) * _PAIRING + codes.list.slice(1)


def user_similarity(tokens: pl.DataFrame) -> pl.DataFrame:
    """The Jaccard similarity of the two most alike user messages that stand near each other."""
    said = (
        tokens.filter(pl.col("role") == "user")
        .select(ROW, "words", turn=pl.col("_message").rank("ordinal").over(ROW), n_turns=pl.len().over(ROW))
        .filter(pl.col("n_turns") > 1)
    )
    words = (
        said.explode("words")
        .filter(pl.col("words").is_not_null())
        .select(ROW, "turn", "n_turns", word=_word_key(pl.col("words").hash()))
        # Another seed than that of the row: else the second turn of row 1 would be the first turn of row 2.
        .filter((pl.col("word") ^ pl.col("turn").hash(1)).is_first_distinct())
        .with_columns(n_words=pl.len().over(ROW, "turn"))
    )
    distances = pl.DataFrame({"distance": range(1, _NEIGHBOURS + 1)}, schema={"distance": words.schema["turn"]})
    later = words.join(distances, how="cross").select(
        ROW, "n_turns", "word", "n_words", "distance", turn=pl.col("turn") + pl.col("distance")
    )
    similarity = pl.len() / (pl.col("n_words").first() + pl.col("n_words_later").first() - pl.len())
    nearest = (
        later.filter(pl.col("turn") <= pl.col("n_turns"))
        .join(words.select("turn", "word", n_words_later="n_words"), on=["turn", "word"])
        .group_by(ROW, "turn", "distance")
        .agg(similarity=similarity)
        .group_by(ROW)
        .agg(pl.col("similarity").max())
    )
    return (
        said.select(pl.col(ROW).unique())
        .join(nearest, on=ROW, how="left")
        .select(ROW, max_user_similarity=pl.col("similarity").fill_null(0.0))
    )


def grounding(tokens: pl.DataFrame) -> pl.DataFrame:
    """How much of the final answer comes from nowhere, and how much of the request it takes up.

    Each different word of a message counts once. Words are compared by hash: only equality is asked, and hashes are
    quicker to look up than texts.
    """
    words = _words(tokens)
    final = words.filter("is_final")
    source = words.filter(~pl.col("is_final"))
    answer_words = (
        _different_words(final, source)
        .group_by(ROW)
        .agg(
            answer_novelty=pl.col("is_novel").filter("is_content").mean(),
            n_novel_numbers=(pl.col("is_novel") & pl.col("is_number")).sum(),
        )
    )
    answer_pairs = (
        final.filter(pl.col("pair").is_not_null() & pl.col("pair").is_first_distinct())
        .with_columns(is_novel=~pl.col("pair").is_in(source["pair"].implode()))
        .group_by(ROW)
        .agg(answer_pair_novelty=pl.col("is_novel").mean())
    )
    taken_up = (
        source.filter("is_request", "is_content", pl.col(ROW).is_in(final[ROW].implode()))
        .filter(pl.col("key").is_first_distinct())
        .with_columns(is_taken_up=pl.col("key").is_in(final["key"].implode()))
        .group_by(ROW)
        .agg(final_request_overlap=pl.col("is_taken_up").mean())
    )
    has_output = pl.col(ROW).is_in(source.filter("is_output")[ROW].implode())
    return (
        answer_words.join(answer_pairs, on=ROW, how="left")
        .with_columns(pl.when(has_output).then(pl.col("answer_novelty", "answer_pair_novelty")))
        .join(taken_up, on=ROW, how="full", coalesce=True)
    )


def answer_words(tokens: pl.DataFrame) -> pl.DataFrame:
    """Each different word of the final answer once: ROW, _message, is_content, is_number, is_novel (in no source)."""
    words = _words(tokens)
    found = _different_words(words.filter("is_final"), words.filter(~pl.col("is_final")))
    return found.select(ROW, "_message", "is_content", "is_number", "is_novel")


def _lower(text: pl.Expr) -> pl.Expr:
    return text.str.to_lowercase().str.replace_all("’", "'", literal=True)


def _different_words(final: pl.DataFrame, source: pl.DataFrame) -> pl.DataFrame:
    return final.filter(pl.col("key").is_first_distinct()).with_columns(
        is_novel=~pl.col("key").is_in(source["key"].implode())
    )


def _words(tokens: pl.DataFrame) -> pl.DataFrame:
    """One row a word of user messages, tool outputs and the final answer.

    `key` says which word in which trace, `pair` which two neighbours (null at the end of a message).
    """
    is_final = (pl.col("role") == "assistant") & pl.col("is_last")
    is_number = pl.col("as_number").is_not_null()
    any_hash = pl.when(is_number).then(pl.col("as_number").hash()).otherwise(pl.col("word").hash())
    return (
        tokens.filter(is_final | (pl.col("role") != "assistant"))
        .select(
            ROW,
            "_message",
            word="words",
            is_final=is_final,
            is_request=(pl.col("role") == "user") & pl.col("is_first"),
            is_output=pl.col("role") == "tool_result",
        )
        .explode("word")
        .filter(pl.col("word").is_not_null())
        .with_columns(
            # 54.2, 54.20 and 1,000 with 1000 are the same numbers; the words "nan" and "inf" are none.
            as_number=pl.when(pl.col("word").str.contains(r"^\d")).then(
                pl.col("word").str.replace_all(",", "", literal=True).cast(pl.Float64, strict=False)
            )
        )
        .with_columns(is_number=is_number, is_content=~pl.col("word").is_in(_STOP_WORDS), hash=any_hash)
        .with_columns(key=_word_key(pl.col("hash")))
        .with_columns(
            pair=pl.when(pl.col("_message") == pl.col("_message").shift(-1)).then(
                pl.col("key") ^ pl.col("hash").shift(-1).hash(1)
            )
        )
    )


def _word_key(word_hash: pl.Expr) -> pl.Expr:
    """One number for a word of one trace: 64 bits, so that two words meet by chance once in a few billion traces."""
    return word_hash ^ pl.col(ROW).hash()
