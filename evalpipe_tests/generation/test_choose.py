"""Which kind ships: the simplest within noise of the best."""

from typing import Any

import numpy as np
import pytest

from evalpipe.generation.agreement import agreement_of
from evalpipe.generation.choose import choose, why_this_one, with_prefilter
from evalpipe.generation.competitors import Competitor, Kind
from evalpipe.generation.examples import Examples
from evalpipe.generation.flags import Flags
from evalpipe.settings import GenerationSettings, QualitySettings
from evalpipe_tests.generation.test_agreement import examples, flags

SETTINGS = GenerationSettings()
MADE = examples(40, 160)


def competitor(kind: Kind, said: Flags, **changes: Any) -> Competitor:
    fields: dict[str, Any] = {
        "program": {},
        "explanation": "",
        "in_sample": said,
        "can_flag": True,
        "lineage": [],
        "stop_reason": "",
        "spent": {},
        "engines": (),
    }
    return Competitor(**{"name": kind, "kind": kind, "held_out": said, **fields, **changes})


def chosen(*competitors: Competitor, made: Examples = MADE) -> str:
    return choose(competitors, made, SETTINGS).kind


RIGHT, NEARLY, HALF = flags(40, 0, 0, 160), flags(39, 1, 0, 160), flags(20, 20, 10, 150)


def test_a_rule_that_is_nearly_as_good_ships_because_it_explains_itself():
    assert chosen(competitor("rule", NEARLY), competitor("learned", RIGHT)) == "rule"


def test_a_learned_evaluator_that_is_clearly_better_ships():
    assert chosen(competitor("rule", HALF), competitor("learned", NEARLY)) == "learned"


def test_a_judge_must_beat_the_best_of_the_others_by_its_margin():
    others = competitor("rule", HALF), competitor("learned", NEARLY)
    assert chosen(*others, competitor("judge", RIGHT)) == "learned"
    assert chosen(competitor("rule", HALF), competitor("learned", HALF), competitor("judge", RIGHT)) == "judge"


def test_a_judge_is_compared_only_where_it_was_held_out():
    # On the examples that it never saw the rule is right too; what the rule does elsewhere is no credit of the judge.
    known = np.arange(200) % 2 == 0
    rule = Flags.all_known(np.where(known, MADE.is_failure, ~MADE.is_failure))
    judge = Flags(MADE.is_failure, known)
    assert chosen(competitor("rule", rule), competitor("judge", judge)) == "rule"


def test_of_two_rules_the_single_pattern_ships_only_if_it_is_better_than_the_evolved_one():
    single = competitor("rule", NEARLY, name="single pattern")
    assert choose([single, competitor("rule", NEARLY)], MADE, SETTINGS).name == "rule"
    assert choose([single, competitor("rule", HALF)], MADE, SETTINGS).name == "single pattern"


def test_a_rule_that_never_fires_makes_way_for_whatever_finds_something():
    silent = flags(0, 40, 0, 160)
    assert chosen(competitor("rule", silent, can_flag=False), competitor("learned", HALF)) == "learned"


@pytest.mark.parametrize(
    ("said", "begins"),
    [
        (flags(8, 32, 32, 128), "Declined: no pattern holds on unseen traces better than chance"),
        (flags(18, 22, 16, 144), "Declined: what was found agrees too little"),
        (flags(20, 20, 5, 155), "A rule evaluator"),
    ],
)
def test_why_is_said_with_the_figures(said: Flags, begins: str):
    measured = agreement_of(MADE, said, QualitySettings())
    rule = competitor("rule", said)
    why = why_this_one(rule, [rule], MADE, measured, measured, QualitySettings())
    assert why.startswith(begins)
    assert measured.in_words() in why


def test_a_judge_carries_the_rule_that_finds_most_of_the_failures_for_what_it_flags_beside_them():
    # Failures found less others flagged: 20/40 - 10/160 = 0.44, and 36/40 - 40/160 = 0.65, though its MCC is lower.
    careful = competitor("rule", HALF, program={"rule": {"op": "constant", "value": False}})
    broad = competitor("rule", flags(36, 4, 40, 120), program={"rule": {"op": "constant", "value": True}})
    judge = competitor("judge", RIGHT, program={"instruction": "x"}, explanation="reads.")
    carried = with_prefilter(judge, [careful, broad, competitor("learned", RIGHT), judge], MADE)
    assert carried.program == {
        "instruction": "x",
        "prefilter": {"rule": {"op": "constant", "value": True}, "recall": 0.9},
    }
    assert "with 90% of the failures" in carried.explanation


def test_a_judge_without_a_rule_that_tells_anything_and_what_is_no_judge_stay_as_they_are():
    blind, learned = competitor("rule", flags(20, 20, 80, 80)), competitor("learned", RIGHT)
    judge = competitor("judge", RIGHT, program={"instruction": "x"})
    assert with_prefilter(judge, [blind, judge], MADE) is judge
    assert with_prefilter(learned, [competitor("rule", HALF), learned], MADE) is learned
