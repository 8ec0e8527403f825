import numpy as np
import polars as pl

from evalpipe_tests.bench_generate.baselines import best_keyword, constant, keyword, texts_of, tf_idf
from evalpipe_tests.bench_generate.tasks import planted_task

TEXTS = ["the refund is done", "a refund was made", "the parcel is here", "the parcel was lost", "the refund policy"]
FAILS = np.array([True, True, False, False, False])


def test_the_best_keyword_has_the_highest_mcc_on_the_examples():
    # "refund": 2 hits, 1 false alarm of 3 others: MCC (5 * 2 - 3 * 2) / sqrt(3 * 2 * 2 * 3) = 0.67.
    # "is", "the" and "was" are in failures and others alike; "parcel" is in others alone.
    assert best_keyword(TEXTS, FAILS) == "refund"
    assert keyword(TEXTS, FAILS)(["no Refund here", "nothing", "refunds"]).tolist() == [True, False, False]


def test_a_constant_is_the_more_frequent_label():
    assert constant(TEXTS, FAILS)(["a", "b"]).tolist() == [False, False]
    assert constant(TEXTS, ~FAILS)(["a", "b"]).tolist() == [True, True]


def test_tf_idf_tells_words_apart():
    texts = [*["please give me a refund now"] * 5, *["where is my parcel now"] * 5]
    flag = tf_idf(texts, np.arange(10) < 5)

    assert flag(["a refund now", "my parcel now"]).tolist() == [True, False]


def test_all_text_of_a_trace_is_read():
    view = planted_task("loop", 1).earlier.view.head(1)

    (text,) = texts_of(view)

    for field in ("user", "assistant", "tool_input", "tool_output"):
        assert view[field][0] in text
    assert isinstance(view, pl.DataFrame)
