"""What separates failures, with its evidence."""

import math
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.sparse import csr_matrix
from sklearn.metrics import mutual_info_score

from evalpipe.evaluators.rules import compile_rule
from evalpipe.generation.bank import Bank, predicate_bank
from evalpipe.generation.examples import Examples
from evalpipe.generation.patterns import (
    best_predicate,
    count,
    information,
    informed_log_odds,
    log_odds,
    pattern_table,
    strongest,
)
from evalpipe.ids import canonical_json
from evalpipe.quality.confusion import confusion, mcc
from evalpipe.tables import TRACES
from evalpipe.traces.view import view_frame


def bank_of(*rows: list[int]) -> Bank:
    presence = np.array(rows, dtype=np.float32)
    rules = [{"op": "tool", "name": f"t{i}", "status": "any", "min": 1, "max": None} for i in range(len(rows))]
    return Bank(rules, np.zeros(len(rows), np.int64), np.ones(len(rows)), csr_matrix(presence))


FAILED = np.array([True, True, True, False, False, False, False, False])
EVERY = np.arange(8)
ONE = np.ones(8)


def test_log_odds_have_half_an_example_of_prior_each_way():
    counts = count(bank_of([1, 1, 0, 1, 0, 0, 0, 0]), EVERY, FAILED, ONE)
    # 2 of 3 failures and 1 of 5 others: log(2.5/1.5) - log(1.5/4.5).
    assert log_odds(counts)[0] == pytest.approx(math.log(2.5 / 1.5) - math.log(1.5 / 4.5))


def test_information_is_mutual_information_in_bits():
    row = [1, 1, 0, 1, 0, 0, 0, 0]
    counts = count(bank_of(row), EVERY, FAILED, ONE)
    assert information(counts)[0] == pytest.approx(mutual_info_score(FAILED, row) / math.log(2))


def test_examples_outside_the_rows_are_not_looked_at():
    bank = bank_of([1, 1, 1, 0, 0, 0, 0, 0], [0, 0, 0, 1, 1, 0, 1, 1])
    rows = np.array([0, 1, 3, 4, 5])
    flipped = FAILED.copy()
    flipped[[2, 6, 7]] = ~flipped[[2, 6, 7]]
    assert strongest(bank, rows, FAILED, ONE).tolist() == strongest(bank, rows, flipped, ONE).tolist()


def test_the_table_names_the_planted_pattern_first_with_failures_to_read(ordering_examples: Examples):
    bank = predicate_bank(ordering_examples.view, ordering_examples.groups)
    first = pattern_table(bank, ordering_examples.view, ordering_examples.is_failure)[0]
    assert first["predicate"] == 'tool "issue_refund" is called before tool "check_policy"'
    assert (first["support"], first["tpr"], first["fpr"]) == (12, 1.0, 0.0)
    assert first["q"] < 1e-6
    failures = {t for t, f in zip(ordering_examples.trace_ids, ordering_examples.is_failure, strict=True) if f}
    assert set(first["example_ids"]) <= failures


def test_an_informative_prior_asks_more_of_what_the_traffic_has_anyway():
    counts = count(bank_of([1, 1, 0, 1, 0, 0, 0, 0], [1, 1, 0, 1, 0, 0, 0, 0]), EVERY, FAILED, ONE)
    odds = informed_log_odds(counts, np.array([0.25, 0.75]))
    # 2 of 3 failures and 1 of 5 others, and 4 more of each, of which 1 has it: log(3/4) - log(2/7), with a variance
    # of 1/3 + 1/4 + 1/2 + 1/7. With 3 of the 4: log(5/2) - log(4/5), 1/5 + 1/2 + 1/4 + 1/5.
    assert odds.log_odds.tolist() == pytest.approx([math.log(3 / 4 * 7 / 2), math.log(5 / 2 * 5 / 4)])
    assert odds.z[0] == pytest.approx(math.log(21 / 8) / math.sqrt(1 / 3 + 1 / 4 + 1 / 2 + 1 / 7))
    assert odds.z[1] == pytest.approx(math.log(25 / 8) / math.sqrt(1.15))


@pytest.mark.parametrize("seed", range(5))
def test_labels_drawn_at_random_have_no_pattern(ordering_examples: Examples, seed: int):
    drawn = np.random.default_rng(seed).permutation(ordering_examples.is_failure)
    assert table_of(ordering_examples.view, drawn) == []


def test_a_phrase_is_listed_once_and_whole():
    failed = ["it can not be found", "again: it can not be found", "sadly it can not be found"]
    table = table_of(answers(failed * 4 + GOOD * 10), np.arange(42) < 12)
    first = next(row for row in table if row["family"] == "words")
    # "can", "not be" and others hold of the same twelve traces; four words are the longest phrase.
    assert first["predicate"] == 'the final answer has the words "it can not be"'
    assert not [row for row in table[1:] if "it can not be" in row["predicate"]]


def test_of_a_phrase_and_its_part_the_stronger_is_listed():
    failed = ["it is already late", "I already told you", "you already know", "already done and over"]
    predicates = [row["predicate"] for row in table_of(answers(failed * 3 + GOOD * 10), np.arange(42) < 12)]
    # Each wording has 3 failures of 12, "already" has all.
    assert 'the final answer has the words "already"' in predicates
    assert not [one for one in predicates if "already " in one or " already" in one.replace('"already"', "")]


def test_what_failures_lack_has_a_line_of_its_own():
    polite = ["the parcel left, best regards", "it is on its way, best regards", "delivered on Monday, best regards"]
    view = answers(["the parcel left", "it is on its way", "delivered on Monday"] * 4 + polite * 10)
    row = table_of(view, np.arange(42) < 12)[0]
    assert (row["predicate"], row["is_absent"]) == ('the final answer lacks the words "best regards"', True)
    assert (row["support"], row["tpr"], row["fpr"]) == (12, 1.0, 0.0)
    assert view.select(compile_rule(row["rule"])).to_series().to_list() == [True] * 12 + [False] * 30
    assert min(row["log_odds"], row["z"]) > 0


def test_words_that_are_missing_before_a_call_are_told_only_of_traces_that_make_it():
    def trace(number: int, said: str, *, books: bool) -> dict[str, Any]:
        steps = [("user", said, None)] + [(role, "{}", "book") for role in ("tool_call", "tool_result") if books]
        steps += [("assistant", f"done as wished {number % 5}", None)]
        transcript = [{"role": role, "content": text, "tool": tool, "is_error": False} for role, text, tool in steps]
        return {"trace_id": f"{number:04d}", "transcript": transcript}

    names = ["Ada", "Bo", "Cleo", "Dara", "Emil", "Fay"]
    # Of those for whom it books, the failures never confirmed; who says as little and gets no booking is no failure.
    failed = [trace(i, f"a flight to Rome for {names[i % 6]}", books=True) for i in range(12)]
    agreed = [trace(i, "a flight to Rome, I confirm", books=True) for i in range(12, 36)]
    asked = [trace(i, f"a flight to Rome for {names[i % 6]}", books=False) for i in range(36, 60)]
    table = table_of(view_frame(frame_of(failed + agreed + asked)), np.arange(60) < 12)
    first = table[0]
    assert first["predicate"] == (
        'tool "book" is called and not '
        '(before tool "book" is first called (nearest message) the user says the words "confirm")'
    )
    assert (first["family"], first["is_absent"], first["tpr"], first["fpr"]) == ("words", True, 1.0, 0.0)


def test_an_answer_without_the_json_that_was_asked_for_is_a_contradiction_of_form():
    asked = [("now give me JSON", "hello there you")] * 8
    kept = [("now give me JSON", '{"price": "three euros"}')] * 12
    view = view_frame(traces_of(asked + kept + [("who are you", "hello there you")] * 12))
    form = next(row for row in table_of(view, np.arange(32) < 8) if row["family"] == "form")
    assert form["predicate"] == 'what the user says has the words "json" and not (the final answer is valid JSON)'
    assert (form["is_absent"], form["tpr"], form["fpr"]) == (True, 1.0, 0.0)


def test_traffic_without_labels_is_only_a_prior():
    failed = ["refund refused"] * 6 + ["all done"] * 6
    view = answers(failed + ["refund made"] * 4 + ["all done"] * 36)
    is_failure = np.arange(52) < 12
    rare, common = (
        table_of(view, is_failure, background=answers(texts, prefix="b"))
        for texts in (["all done"] * 99, ["all done"] * 50 + ["refund refused"] * 49)
    )
    (of_rare,), (of_common,) = (
        [row for row in table if row["predicate"] == 'the final answer has the words "refund refused"']
        for table in (rare, common)
    )
    assert [of_rare[key] for key in ("support", "tpr", "fpr", "q")] == [6, 0.5, 0.0, of_common["q"]]
    # 6 of 12 failures, 0 of 40 others; and 4 more of each, of which 4 (.5 / 100) or 4 (49.5 / 100) have it.
    for row, prior in ((of_rare, 0.02), (of_common, 1.98)):
        by_hand = math.log((6 + prior) / (10 - prior)) - math.log(prior / (44 - prior))
        assert row["log_odds"] == pytest.approx(by_hand, abs=1e-4)


def test_traces_of_one_case_count_once():
    view = answers(["sorry, it broke"] * 12 + GOOD * 10)
    is_failure = np.arange(42) < 12
    assert table_of(view, is_failure)
    one_case = ["one"] * 12 + [str(i) for i in range(30)]
    assert table_of(view, is_failure, groups=one_case) == []


def test_each_number_is_cut_once(ordering_examples: Examples):
    drawn = np.random.default_rng(3).permutation(ordering_examples.is_failure)
    view = ordering_examples.view.with_columns(n_input_tokens=pl.Series(drawn * 10.0 + np.arange(60) % 2))
    rules = [row["rule"] for row in table_of(view, drawn)]
    # The others have 0 or 1 tokens, failures 10 or 11; what lies between is said as a whole number.
    assert [(rule["field"], rule["compare"]) for rule in rules] == [("n_input_tokens", ">=")]
    assert rules[0]["value"] in range(2, 11)


def test_equal_input_gives_an_equal_table(ordering_examples: Examples):
    one, two = (table_of(ordering_examples.view, ordering_examples.is_failure) for _ in range(2))
    assert canonical_json(one) == canonical_json(two)


GOOD = ["all is well here", "the lamp is on its way", "thanks for waiting so long"]


def table_of(view: pl.DataFrame, is_failure: np.ndarray, **more: Any) -> list[dict[str, Any]]:
    bank = predicate_bank(view, view["trace_id"].to_list())
    return pattern_table(bank, view, is_failure, **more)


def answers(texts: list[str], prefix: str = "") -> pl.DataFrame:
    return view_frame(traces_of([("hello", text) for text in texts], prefix))


def traces_of(said: list[tuple[str, str]], prefix: str = "") -> pl.DataFrame:
    """Traces of one question and one answer each, in this order."""
    return frame_of(
        [
            {"trace_id": f"{prefix}{i:04d}", "request": request, "response": response, "transcript": []}
            for i, (request, response) in enumerate(said)
        ]
    )


def frame_of(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """TRACES rows of which the rest is null."""
    lacking = TRACES.empty().select(pl.exclude(*rows[0]))
    given = pl.DataFrame(rows, schema_overrides={"transcript": TRACES.schema["transcript"]})
    return pl.concat([given, lacking], how="diagonal")


def test_the_best_predicate_agrees_best_either_way_round(ordering_examples: Examples):
    bank = predicate_bank(ordering_examples.view, ordering_examples.groups)
    rows, failed = np.arange(60), ordering_examples.is_failure
    best = best_predicate(bank, rows, failed, ordering_examples.weight)
    assert mcc(confusion(failed, ordering_examples.view.select(compile_rule(best)).to_series().to_numpy())) == 1.0
    assert best_predicate(bank, rows, ~failed, ordering_examples.weight) == {"op": "not", "of": best}


def test_there_is_no_best_predicate_of_examples_of_one_kind(ordering_examples: Examples):
    bank = predicate_bank(ordering_examples.view, ordering_examples.groups)
    assert best_predicate(bank, np.arange(60), np.ones(60, bool), ordering_examples.weight)["op"] == "constant"
