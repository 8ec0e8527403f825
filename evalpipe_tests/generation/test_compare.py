"""Challenger and incumbent on the same examples."""

import numpy as np
import pytest

from evalpipe.generation.compare import compare, incumbent_flags
from evalpipe.generation.examples import Examples
from evalpipe.generation.flags import Flags
from evalpipe.generation.generate import Generated
from evalpipe.settings import LlmSettings


def test_a_better_challenger_is_better_in_nearly_all_draws(ordering_examples: Examples):
    truth = ordering_examples.is_failure
    worse = truth.copy()
    worse[np.flatnonzero(truth)[:6]] = False
    better, other = Flags.all_known(truth), Flags.all_known(worse)
    found = compare(ordering_examples, better, other, seed=1)
    assert found.challenger_mcc == 1.0
    assert found.probability_better > 0.95
    assert compare(ordering_examples, other, better, seed=1).probability_better < 0.05


def test_equal_predictions_are_never_better(ordering_examples: Examples):
    flags = Flags.all_known(ordering_examples.is_failure)
    assert compare(ordering_examples, flags, flags, seed=1).probability_better == 0.0


def test_two_that_were_never_asked_the_same_cannot_be_compared(ordering_examples: Examples):
    truth = ordering_examples.is_failure.tolist()
    half = len(truth) // 2
    first, second = Flags.of([*truth[:half], *[None] * half]), Flags.of([*[None] * half, *truth[half:]])
    assert compare(ordering_examples, first, second, seed=1) == (None, None, 0.0, 0)


def test_examples_on_which_one_of_them_cannot_tell_count_for_neither(ordering_examples: Examples):
    truth = ordering_examples.is_failure
    said: list[bool | None] = [*truth.tolist()]
    said[:10] = [None] * 10
    found = compare(ordering_examples, Flags.all_known(~truth), Flags.of(said), seed=1)
    assert found.n_examples == len(truth) - 10
    assert found.incumbent_mcc == 1.0
    assert found.challenger_mcc == pytest.approx(-1.0)


def test_the_incumbent_speaks_held_out_of_what_it_was_made_from_and_judges_the_rest(
    ordering: Generated, ordering_examples: Examples
):
    artifact = ordering.artifact
    assert artifact is not None
    flipped = {trace: not flag for trace, flag in list(artifact.held_out.items())[:20]}
    known = artifact.model_copy(update={"held_out": flipped})
    said = incumbent_flags(known, ordering_examples, LlmSettings()).to_list()
    ids = ordering_examples.trace_ids
    assert [flag for trace, flag in zip(ids, said, strict=True) if trace in flipped] == [
        flipped[trace] for trace in ids if trace in flipped
    ]
    # The rule itself is right of every trace of this planted mode.
    assert [flag for trace, flag in zip(ids, said, strict=True) if trace not in flipped] == [
        bool(failed) for trace, failed in zip(ids, ordering_examples.is_failure, strict=True) if trace not in flipped
    ]
