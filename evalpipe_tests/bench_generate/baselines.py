"""What one would do without evalpipe, on the same split: logistic regression on TF-IDF, one keyword, a constant."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evalpipe.traces.view import TEXT_FIELDS

Bools = NDArray[np.bool_]
Texts = list[str]
Flag = Callable[[Texts], Bools]

_MIN_DOCUMENTS = 2  # a word of one trace alone says nothing
_WORD = r"(?u)\b\w\w+\b"


def texts_of(view: pl.DataFrame) -> Texts:
    """All text of each trace: what was said, what tools were given and what they returned."""
    fields = [name for name in TEXT_FIELDS if name not in ("request", "final")]  # parts of user and assistant
    return view.select(pl.concat_str(fields, separator="\n")).to_series().to_list()


def tf_idf(texts: Texts, is_failure: Bools) -> Flag:
    """Words and pairs of words, logistic regression with balanced classes; both with scikit-learn's defaults."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression(class_weight="balanced", max_iter=1_000)
    ).fit(texts, is_failure)
    return lambda later: model.predict(later).astype(bool)


def keyword(texts: Texts, is_failure: Bools) -> Flag:
    """The one word whose presence agrees best with the labels by MCC; the first in the alphabet among equals."""
    word = best_keyword(texts, is_failure)
    vectorizer: Any = _words(vocabulary={word: 0})
    return lambda later: vectorizer.transform(later).toarray()[:, 0].astype(bool)


def best_keyword(texts: Texts, is_failure: Bools) -> str:
    """The word of `keyword`."""
    vectorizer = _words(min_df=_MIN_DOCUMENTS)
    present = vectorizer.fit_transform(texts)
    n, n_positives = len(texts), float(is_failure.sum())
    n_with = np.asarray(present.sum(axis=0), dtype=np.float64).ravel()
    tp = np.asarray(present[np.flatnonzero(is_failure)].sum(axis=0), dtype=np.float64).ravel()
    # MCC of presence, from its counts: (n tp - n_with n_positives) / sqrt(margins).
    margins = n_with * (n - n_with) * n_positives * (n - n_positives)
    with np.errstate(invalid="ignore", divide="ignore"):
        agreement = np.where(margins > 0, (n * tp - n_with * n_positives) / np.sqrt(margins), -1.0)
    return str(vectorizer.get_feature_names_out()[int(np.argmax(agreement.round(12)))])


def constant(texts: Texts, is_failure: Bools) -> Flag:
    """Always the more frequent label. Its MCC is undefined, everywhere; it stands for having no evaluator."""
    value = bool(is_failure.mean() > 0.5)
    return lambda later: np.full(len(later), value)


BASELINES: Mapping[str, Callable[[Texts, Bools], Flag]] = {
    "TF-IDF + logistic": tf_idf,
    "best keyword": keyword,
    "constant": constant,
}
"""By the name that the report gives them."""


def _words(**options: Any) -> Any:
    from sklearn.feature_extraction.text import CountVectorizer

    return CountVectorizer(binary=True, token_pattern=_WORD, **options)
