"""The pattern bank holds rules of the language, and holds of each example what the compiled rule says."""

import numpy as np
import polars as pl

from evalpipe.evaluators.rules import compile_rule, validate_rule
from evalpipe.generation.bank import KINDS, predicate_bank
from evalpipe.generation.examples import Examples
from evalpipe_tests.generation.planted import labels_of, planted


def test_presence_is_what_the_compiled_rule_says(ordering_examples: Examples):
    bank = predicate_bank(ordering_examples.view, ordering_examples.groups)
    assert set(np.unique(bank.kind)) >= {KINDS.index(kind) for kind in ("tool", "number", "request", "final")}
    shown = np.random.default_rng(0).choice(len(bank.predicates), 150, replace=False)
    compiled = [compile_rule(validate_rule(bank.predicates[i])).alias(str(i)) for i in shown]
    said = ordering_examples.view.select(compiled).to_numpy().T
    assert np.array_equal(bank.presence[shown].toarray() > 0, said)


def test_no_two_predicates_hold_of_the_same_examples(ordering_examples: Examples):
    bank = predicate_bank(ordering_examples.view, ordering_examples.groups)
    signatures = {row.tobytes() for row in bank.presence.toarray()}
    assert len(signatures) == len(bank.predicates)


def test_a_predicate_of_fewer_than_three_cases_is_not_asked(ordering_examples: Examples):
    view = ordering_examples.view
    pairs_of_cases = [f"case {i // (view.height // 2)}" for i in range(view.height)]
    assert (
        predicate_bank(view, pairs_of_cases).predicates == []
        or min(len({pairs_of_cases[i] for i in row.indices}) for row in predicate_bank(view, pairs_of_cases).presence)
        >= 2
    )  # with two groups in all, both must have it


def test_a_threshold_is_the_plainest_number_between_its_neighbours(ordering_examples: Examples):
    view = ordering_examples.view.with_columns(duration_s=pl.int_range(pl.len()) * 10.0)
    bank = predicate_bank(view, ordering_examples.groups)
    values = [rule["value"] for rule in bank.predicates if rule.get("field") == "duration_s"]
    assert values
    assert all(value == int(value) for value in values)


def test_words_of_unspaced_scripts_and_numbers_become_rules_that_match():
    made = planted("rude", 4, 4, seed=1)
    texts = ["退款 已经 完成 order 12", "您的退款已完成 order 77", "退款 order 5"] + ["hello there"] * 5
    traces = made.traces.with_columns(request=pl.Series(texts))
    labels = labels_of(traces, [True] * 4 + [False] * 4)
    del labels
    from evalpipe.traces.view import view_frame

    view = view_frame(traces).with_columns(request=pl.Series(texts))
    bank = predicate_bank(view, traces["trace_id"].to_list())
    patterns = {rule["pattern"] for rule in bank.predicates if rule.get("field") == "request"}
    assert any("退" in pattern or r"\d+" in pattern for pattern in patterns)
    for i, rule in enumerate(bank.predicates):
        if rule.get("field") == "request":
            assert (
                view.select(compile_rule(rule)).to_series().to_list() == (bank.presence[[i]].toarray()[0] > 0).tolist()
            )
