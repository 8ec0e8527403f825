"""The pattern bank holds rules of the language, and holds of each example what the compiled rule says."""

import numpy as np
import polars as pl

from evalpipe.evaluators.rules import compile_rule, validate_rule
from evalpipe.evaluators.view import NUMBER_FIELDS
from evalpipe.generation.bank import KINDS, predicate_bank
from evalpipe.generation.examples import Examples
from evalpipe_tests.evaluators.made import transcript, view
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


def conversations(n: int) -> tuple[pl.DataFrame, np.ndarray]:
    """Refunds whose details are drawn independently, and which of them were confirmed before the call.

    Without the numbers of the view: several would tell the same traces apart, and are simpler.
    """
    generator = np.random.default_rng(0)
    confirmed = generator.random(n) < 0.5
    made = []
    for i in range(n):
        is_quick, is_voucher, has_failed, is_invented = (generator.random(4) < 0.5).tolist()
        made.append(
            transcript(
                ("user", f"lamp {i} please"),
                ("assistant", "shall I refund it?"),
                ("user", "yes do it" if confirmed[i] else "is it quick"),
                ("call", "refund", f'{{"order": {{"id": {i}}}, "how": "{is_voucher}", "it\'s": 1, "list": [1]}}'),
                ("error" if has_failed else "result", "refund", f"paid {i} euros"),
                *([] if is_quick else [("call", "check", "no json")]),
                ("call", "notify", "no json"),
                ("assistant", "paid 777" if is_invented else f"paid {i}"),
                ("user", "yes thanks" if confirmed[i] else "yes do it"),
            )
        )
    return view(*made).drop(NUMBER_FIELDS), confirmed


def test_arguments_places_overlaps_and_neighbours_are_asked_for_and_hold_what_the_rule_says():
    mined, _ = conversations(40)
    bank = predicate_bank(mined, mined["trace_id"].to_list())
    shown = [i for i, rule in enumerate(bank.predicates) if rule["op"] in ("argument", "overlap", "said", "tool_then")]
    assert {bank.predicates[i]["op"] for i in shown} == {"argument", "overlap", "said", "tool_then"}
    said = mined.select(compile_rule(validate_rule(bank.predicates[i])).alias(str(i)) for i in shown).to_numpy().T
    assert np.array_equal(bank.presence[shown].toarray() > 0, said)


def test_an_argument_is_found_by_its_commonest_values_and_by_where_its_numbers_are_cut():
    mined, _ = conversations(40)
    asked = [rule for rule in predicate_bank(mined, mined["trace_id"].to_list()).predicates if rule["op"] == "argument"]
    assert {"op": "argument", "tool": "refund", "path": ["how"], "test": "equals", "value": "True"} in asked
    assert any(rule["path"] == ["order", "id"] and rule["test"] == ">=" for rule in asked)
    assert all(rule["path"] in (["how"], ["order", "id"]) for rule in asked)  # what all have tells nothing


def test_words_before_a_call_are_found_where_the_same_words_elsewhere_say_nothing():
    mined, confirmed = conversations(40)
    bank = predicate_bank(mined, mined["trace_id"].to_list())
    before = [
        bank.presence[[i]].toarray()[0] > 0
        for i, rule in enumerate(bank.predicates)
        if rule["op"] == "said" and (rule["by"], rule["where"]) == ("user", "before_first")
    ]
    assert any(np.array_equal(holds, confirmed) or np.array_equal(holds, ~confirmed) for holds in before)


def test_what_no_rule_may_hold_is_not_asked_for():
    word = "w" * 600
    made = [
        transcript(
            ("user", word if i % 2 else "hello"), ("call", "" if i % 2 else "t" * 300, f'{{"k{"y" * 70}": {i}}}')
        )
        for i in range(12)
    ]
    mined = view(*made)
    bank = predicate_bank(mined, mined["trace_id"].to_list())
    assert {rule["op"] for rule in bank.predicates} <= {"number", "regex"}
    for rule in bank.predicates:
        validate_rule(rule)


def test_proposed_rules_add_the_predicates_that_tell_examples_apart(ordering_examples: Examples):
    bank = predicate_bank(ordering_examples.view, ordering_examples.groups)
    refund, nobody = (
        {"op": "tool", "name": name, "status": "any", "min": 1, "max": None} for name in ("issue_refund", "x")
    )
    rule = validate_rule({"op": "any", "of": [{"op": "not", "of": refund}, nobody]})
    more = bank.with_proposed([rule, refund], ordering_examples.view)
    assert more.predicates[len(bank.predicates) :] == [refund]  # nobody calls x, which tells nothing
    assert KINDS[more.kind[-1]] == "proposed"
    holds = ordering_examples.view.select(compile_rule(refund)).to_series().to_numpy()
    assert np.array_equal(more.presence[-1].toarray().ravel() > 0, holds)
    assert bank.with_proposed([nobody], ordering_examples.view) is bank
