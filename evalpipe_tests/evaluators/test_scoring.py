"""Scores of several learned evaluators at once are to the last bit those of the definition, whatever the texts hold."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from evalpipe.evaluators.learned import LearnedModel, scores
from evalpipe.evaluators.linear import sigmoid
from evalpipe.evaluators.words import Lexicon, number_text, number_words, split_steps, split_text
from evalpipe_tests.evaluators.made import transcript, view

WORDS = (
    "refund",
    "Order",
    "12",
    "<n>",
    "٣",
    "café",
    "İ",
    "ß",
    "你",
    "好",
    "ไทย",
    "a_b",
    "x1",
    "\x1e",
    "'",
    "，",
    "\x00",
)
TEXTS = st.lists(st.one_of(st.sampled_from(WORDS), st.text(max_size=3)), max_size=8).map(" ".join)
WORD = st.one_of(
    st.sampled_from(["refund", "order", "12", "<n>", "café", "你", "好", "a_b", "x1", "ss"]), st.text(max_size=3)
)
TEXT_FIELDS = ("request", "user", "final", "assistant")
FIELD = st.sampled_from([*TEXT_FIELDS, "tool_sequence"])
WEIGHT = st.floats(-3, 3)


@st.composite
def models(draw: Any) -> LearnedModel:
    def shared(weight: float) -> dict[str, Any]:
        return {"weight": weight, "share": 0.5}

    words = [
        {"field": draw(FIELD), "words": draw(st.lists(WORD, min_size=1, max_size=2)), **shared(draw(WEIGHT))}
        for _ in range(draw(st.integers(0, 8)))
    ]
    steps = [{"field": "n_tool_calls", "value": 1.0, **shared(draw(WEIGHT))}] if draw(st.booleans()) else []
    numbers = [{"field": "duration_s", "mean": 0.3, "sd": 0.7, "weight": draw(WEIGHT)}] if draw(st.booleans()) else []
    shape = {"bias": draw(WEIGHT), "slope": 1.1, "intercept": -0.2, "threshold": 0.5}
    return LearnedModel.from_program({"words": words, "steps": steps, "numbers": numbers, **shape})


def by_definition(model: LearnedModel, frame: pl.DataFrame) -> np.ndarray:
    """Document by document with Python's sets, in the order of the program."""
    program, margins = model.program, []
    lists = {field: split_text(frame[field]).to_list() for field in TEXT_FIELDS}
    lists["tool_sequence"] = split_steps(frame["tool_sequence"]).to_list()
    for row in range(frame.height):
        margin = program.bias
        for field in dict.fromkeys(feature.field for feature in program.words):
            words = lists[field][row]
            present = {(word,) for word in words if word != "\x1e"} | set(pairwise(words))
            first = {feature.words: feature.weight for feature in reversed(program.words) if feature.field == field}
            total = 0.0
            for name in dict.fromkeys(feature.words for feature in program.words if feature.field == field):
                total += first[name] if name in present else 0.0
            margin += total
        for step in program.steps:
            margin += step.weight * (frame[step.field][row] >= step.value)
        terms = [(np.log1p(frame[f.field][row]) - f.mean) / f.sd * f.weight for f in program.numbers]
        margins.append(margin + sum(terms))
    return sigmoid(program.slope * np.array(margins) + program.intercept)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=5), st.lists(models(), min_size=1, max_size=3))
def test_scores_are_those_of_the_definition(texts: list[tuple[str, str]], several: list[LearnedModel]):
    blank = view(*[transcript(("call", "find", "{}"), ("result", "find", "x"))] * len(texts))
    # The user says the request alone, and the assistant in every second trace more than the final answer.
    request, final = (pl.Series([t[side] for t in texts]) for side in (0, 1))
    assistant = pl.Series([t[1] if row % 2 else t[0] + t[1] for row, t in enumerate(texts)])
    frame = blank.with_columns(request=request, user=request, final=final, assistant=assistant)
    together = scores(several, frame)
    for model, found in zip(several, together, strict=True):
        assert found.tolist() == by_definition(model, frame).tolist()
        assert found.tolist() == model.score(frame).tolist()


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXTS, max_size=5), st.lists(WORD, unique=True, max_size=6))
def test_texts_are_numbered_as_their_words_are(texts: list[str], vocabulary: list[str]):
    series = pl.Series(texts, dtype=pl.String)
    expected, found = number_words(split_text(series), vocabulary), number_text(series, vocabulary)
    assert found.document.tolist() == expected.document.tolist()
    assert found.code.tolist() == expected.code.tolist()


def test_many_traces_are_scored_in_parts_as_if_they_were_one():
    model = LearnedModel.from_program(
        {"words": [{"field": "final", "words": ["sorry"], "weight": 1.0, "share": 0.1}], "steps": [], "numbers": [],
         "bias": 0.0, "slope": 1.0, "intercept": 0.0, "threshold": 0.6}
    )  # fmt: skip
    two = view(transcript(("assistant", "I am sorry")), transcript(("assistant", "Done")))
    many = pl.concat([two] * 10_001)  # more than one part
    assert model.score(many).tolist() == model.score(two).tolist() * 10_001


@given(st.lists(st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=6), max_size=4))
def test_pairs_are_found_in_a_search_as_in_a_table(texts: list[list[str]]):
    lexicon = Lexicon.of([("a",), ("b", "c"), ("c", "a"), ("a",)])
    words = number_words(pl.Series(texts, dtype=pl.List(pl.String)), lexicon.vocabulary)
    of_table, of_search = (each.find(words) for each in (lexicon, replace(lexicon, pair_table=None)))
    assert (of_table.document.tolist(), of_table.gram.tolist()) == (
        of_search.document.tolist(),
        of_search.gram.tolist(),
    )
