"""How alike issues are, by the words of their failure modes and of what was said of them.

Which of the alike ones are proposed as one is decided in discovery.py; which words say the same is in wording.py.
"""

from math import sqrt
from typing import Any

import numpy as np
import polars as pl
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import FeatureUnion

from evalpipe.issues.wording import faults_of, telling_words

_COMMENT_SHARE = 0.25  # of a similarity: a comment tells of one conversation, a failure mode of the failure
_MAX_COMMENT_CHARS = 20_000  # of one issue: enough to know its words
_MAX_SHARED_WORDS = 5
_ROUNDING = 1e-9  # of a cosine: the limit itself is within it


def likenesses(modes: pl.DataFrame, comments: pl.DataFrame, least: float) -> pl.DataFrame:
    """Every pair of issues of at least this similarity, both ways round, in an order of their own.

    `modes` has issue_id and mode_key, `comments` issue_id and text. The result has issue_id, into_issue_id, similarity
    in [0, 1], is_by_comments, and shared_words, the rarest first. Two issues are as alike as their two likest failure
    modes, but modes that name different faults are not alike: a refund refused is no refund forgotten. Comments that
    are alike add to it; others take nothing away, since each is about its own conversation.
    """
    phrases = _phrases(modes)
    vectorizer = _vectorizer()
    # Below the first no comments could lift a pair to `least`.
    near = _near(phrases, vectorizer, max((least - _COMMENT_SHARE) / (1 - _COMMENT_SHARE), 0.0))
    by_comments = _comment_similarity(near["issue_id"], near["into_issue_id"], comments)
    lifted = (1 - _COMMENT_SHARE) * pl.col("by_mode") + _COMMENT_SHARE * by_comments
    found = near.with_columns(
        similarity=pl.max_horizontal("by_mode", lifted).clip(0, 1).round(6), is_by_comments=lifted > pl.col("by_mode")
    ).filter(pl.col("similarity") >= least)
    rarity = _rarity(vectorizer) if found.height else {}
    shared = [
        sorted(set(words) & set(into_words), key=lambda word: (-rarity[word], word))[:_MAX_SHARED_WORDS]
        for words, into_words in found.select("words", "into_words").iter_rows()
    ]
    return found.select(
        "issue_id",
        "into_issue_id",
        "similarity",
        "is_by_comments",
        pl.Series("shared_words", shared, dtype=pl.List(pl.String)),
    )


def _phrases(modes: pl.DataFrame) -> pl.DataFrame:
    """issue_id, words and faults of each failure mode, sorted: sums come out the same in any order of arrival."""
    ordered = modes.select("issue_id", "mode_key").unique().sort("issue_id", "mode_key")
    words = [telling_words(mode) for mode in ordered["mode_key"]]
    return ordered.select(
        "issue_id",
        pl.Series("words", words, dtype=pl.List(pl.String)),
        pl.Series("faults", [faults_of(each) for each in words], dtype=pl.List(pl.String)),
    )


def _vectorizer() -> FeatureUnion:
    """Unit vectors: half of their cosine is words and pairs of words, half is spelling, which bridges inflections."""
    return FeatureUnion(
        [
            ("words", TfidfVectorizer(token_pattern=r"\S+", ngram_range=(1, 2))),
            ("spelling", TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5))),
        ],
        transformer_weights={"words": sqrt(0.5), "spelling": sqrt(0.5)},
    )


def _near(phrases: pl.DataFrame, vectorizer: FeatureUnion, least: float) -> pl.DataFrame:
    """The likest phrases of every two issues, with their cosine `by_mode` of at least `least`."""
    into = phrases.select(pl.all().name.prefix("into_"))
    if phrases.height < 2:
        return phrases.join(into, how="cross").clear().with_columns(by_mode=pl.lit(None, pl.Float64))
    vectors = vectorizer.fit_transform(phrases["words"].list.join(" ").to_list())
    # By chunks: all pairs of some thousand phrases would not fit into memory.
    neighbours = NearestNeighbors(radius=1 - least + _ROUNDING, metric="cosine", algorithm="brute").fit(vectors)
    graph = neighbours.radius_neighbors_graph(mode="distance").tocoo()
    found = pl.DataFrame({"by_mode": 1 - graph.data}).hstack(phrases[graph.row]).hstack(into[graph.col])
    faults, into_faults = pl.col("faults"), pl.col("into_faults")
    share_a_fault = faults.list.set_intersection(into_faults).list.len() > 0
    return (
        found.filter(
            pl.col("issue_id") != pl.col("into_issue_id"),
            share_a_fault | (faults.list.len() == 0) | (into_faults.list.len() == 0),
        )
        .sort("by_mode", "issue_id", "into_issue_id", "words", "into_words", descending=[True, *[False] * 4])
        .unique(["issue_id", "into_issue_id"], keep="first", maintain_order=True)
        .sort("issue_id", "into_issue_id")
    )


def _comment_similarity(issue_ids: pl.Series, into_ids: pl.Series, comments: pl.DataFrame) -> pl.Series:
    """The cosine of what was said of two issues, pair by pair; 0 where nothing was said of one."""
    said = (
        comments.drop_nulls("text")
        .group_by("issue_id")
        .agg(pl.col("text").unique().sort().str.join(" ").str.slice(0, _MAX_COMMENT_CHARS))
    )
    texts = {issue_id: " ".join(telling_words(text)) for issue_id, text in said.iter_rows()}
    if not any(texts.values()):
        return pl.Series(np.zeros(len(issue_ids)))
    names = sorted({*texts, *issue_ids, *into_ids})
    vectorizer = TfidfVectorizer(token_pattern=r"\S+", ngram_range=(1, 2))
    vectors = vectorizer.fit_transform([texts.get(name, "") for name in names])
    place = {name: i for i, name in enumerate(names)}
    left, right = (vectors[[place[issue_id] for issue_id in ids]] for ids in (issue_ids, into_ids))
    return pl.Series(np.asarray(left.multiply(right).sum(axis=1)).ravel())


def _rarity(vectorizer: FeatureUnion) -> dict[str, float]:
    words: Any = vectorizer.named_transformers["words"]
    return dict(zip(words.get_feature_names_out(), words.idf_.tolist(), strict=True))
