"""The margins of several learned evaluators over the same traces, each text split and looked up once for all of them.

What a program is, is in linear.py; what its margin means, and why it says so, in learned.py.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import polars as pl

from evalpipe.evaluators.features import STEPS, Floats, column, split_field
from evalpipe.evaluators.linear import Program
from evalpipe.evaluators.words import Gram, Grams, Ints, Lexicon, Words, number_text, number_words

_CHUNK = 10_000  # traces scored at once: bounds the memory of one thread


_PART_OF = {"user": "request", "assistant": "final"}
"""Fields that are all messages of a speaker, and the one that is a single message: equal where there is but one."""


class _Weights(NamedTuple):
    """What one program makes of the word sequences that are found in a field."""

    place: Ints  # of each sequence that anybody looks for: among the program's own; -1 for those of others
    weight: Floats  # of the program's own
    of_all: Floats | None  # of each that anybody looks for, where the program's own stand in the order of all


class _Fields(NamedTuple):
    """Fields that are often equal, all that is looked for in any of them, and what programs make of that."""

    lexicon: Lexicon
    weights: Mapping[str, Mapping[int, _Weights]]  # by field, by the program's number


def margins(programs: Sequence[Program], view: pl.DataFrame) -> list[Floats]:
    """bias + the weights of what is present, of each program for each row of `view`.

    Equal to the last bit to those of each program alone: sums are made in the same order. Chunks are shared out among
    the cores; polars and numpy let go of the interpreter while they work.
    """
    fields = _fields(programs)
    chunks = [view.slice(start, _CHUNK) for start in range(0, view.height, _CHUNK)]
    if not chunks:
        return [np.zeros(0) for _ in programs]
    n_threads = min(len(chunks), os.cpu_count() or 1)
    if n_threads > 1:
        with ThreadPoolExecutor(n_threads) as pool:
            parts = list(pool.map(lambda chunk: _chunk_margins(programs, fields, chunk), chunks))
    else:
        parts = [_chunk_margins(programs, fields, chunk) for chunk in chunks]
    return [np.concatenate(of_program) for of_program in zip(*parts, strict=True)]


def number_field(view: pl.DataFrame, field: str, vocabulary: list[str]) -> Words:
    """The words of a text field, or the steps of the tool sequence, numbered by `vocabulary`."""
    if field == STEPS:
        return number_words(split_field(view, field), vocabulary)
    return number_text(view[field], vocabulary)


def grams_by_field(program: Program) -> dict[str, tuple[list[Gram], Floats]]:
    """The word sequences of a program and their weights, field by field in its order."""
    by_field: dict[str, tuple[list[Gram], list[float]]] = {}
    for feature in program.words:
        names, weights = by_field.setdefault(feature.field, ([], []))
        names.append(feature.words)
        weights.append(feature.weight)
    return {field: (names, np.array(weights)) for field, (names, weights) in by_field.items()}


def _fields(programs: Sequence[Program]) -> list[_Fields]:
    asked = [grams_by_field(program) for program in programs]
    together: dict[str, list[str]] = {}
    for field in dict.fromkeys(field for each in asked for field in each):
        together.setdefault(_PART_OF.get(field, field), []).append(field)
    made = []
    for fields in together.values():
        names = {name for each in asked for field in fields if field in each for name in each[field][0]}
        # In this order the features of a program are found when it is fitted.
        ordered = sorted(names, key=lambda name: (len(name), name))
        weights = {
            field: {n: _weights(*each[field], ordered) for n, each in enumerate(asked) if field in each}
            for field in fields
        }
        made.append(_Fields(Lexicon.of(ordered), weights))
    return made


def _weights(own: list[Gram], weight: Floats, names: list[Gram]) -> _Weights:
    first: dict[Gram, int] = {}
    for number, name in enumerate(own):
        first.setdefault(name, number)
    place = np.array([first.get(name, -1) for name in names], dtype=np.int64)
    is_in_order = bool((np.diff(place[place >= 0]) > 0).all())
    return _Weights(place, weight, np.where(place >= 0, weight[place], 0.0) if is_in_order else None)


def _found(fields: _Fields, view: pl.DataFrame) -> Iterator[tuple[str, Grams]]:
    """What is found in each of the fields; a text that two of them share is looked through once."""
    first, *others = fields.weights
    lexicon = fields.lexicon
    found = lexicon.find(number_field(view, first, lexicon.vocabulary))
    yield first, found
    for field in others:
        is_same = view[field].eq_missing(view[first])
        differing = (~is_same).arg_true()
        own = lexicon.find(number_field(view[differing], field, lexicon.vocabulary))
        kept = is_same.to_numpy()[found.document]
        document = np.concatenate([found.document[kept], differing.to_numpy()[own.document]])
        yield field, Grams(document, np.concatenate([found.gram[kept], own.gram]), lexicon.names)


def _chunk_margins(programs: Sequence[Program], groups: Sequence[_Fields], view: pl.DataFrame) -> list[Floats]:
    of_words: dict[tuple[str, int], Floats] = {}
    for fields in groups:
        for field, found in _found(fields, view):
            for number, weights in fields.weights[field].items():
                of_words[field, number] = _sum_of_weights(found, weights, view.height)
    steps = {step.field for program in programs for step in program.steps}
    numbers = {number.field for program in programs for number in program.numbers}
    values = {field: column(view, field) for field in sorted(steps | numbers)}
    logs = {field: np.log1p(values[field]) for field in sorted(numbers)}
    made = []
    for number, program in enumerate(programs):
        margin = np.full(view.height, program.bias)
        for field in dict.fromkeys(feature.field for feature in program.words):
            margin += of_words[field, number]
        for step in program.steps:
            margin += step.weight * (values[step.field] >= step.value)
        made.append(margin + number_terms(program, logs, view.height).sum(axis=1))
    return made


def number_terms(program: Program, logs: Mapping[str, Floats], n: int) -> Floats:
    """What each number adds to the margin, one column per number feature, from log(1 + number)."""
    terms = [np.nan_to_num((logs[f.field] - f.mean) / f.sd) * f.weight for f in program.numbers]
    return np.stack(terms, axis=1) if terms else np.zeros((n, 0))


def _sum_of_weights(found: Grams, weights: _Weights, n: int) -> Floats:
    if weights.of_all is not None:
        # To add the zeros of others is quicker than to leave them out, and changes no sum.
        return np.bincount(found.document, weights=weights.of_all[found.gram], minlength=n).astype(np.float64)
    own = weights.place[found.gram]
    document, own = found.document[own >= 0], own[own >= 0]
    order = np.lexsort((own, document))
    return np.bincount(document[order], weights=weights.weight[own[order]], minlength=n).astype(np.float64)
