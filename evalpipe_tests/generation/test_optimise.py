"""The search finds planted rules, stops for a reason it names, and touches nothing outside."""

import subprocess
import sys

import numpy as np
import pytest

from evalpipe.evaluators.rules import compile_rule, explain_rule, validate_rule
from evalpipe.evaluators.view import evaluator_view
from evalpipe.generation.bank import predicate_bank
from evalpipe.generation.examples import Examples
from evalpipe.generation.optimise import _cells, evolve_rule
from evalpipe.quality.confusion import confusion, mcc
from evalpipe.settings import GenerationSettings
from evalpipe_tests.generation.made import QUICK, planted_examples
from evalpipe_tests.generation.planted import planted


@pytest.mark.parametrize("mode", ["ordering", "loop"])
def test_a_structural_mode_is_found_from_ten_failures_and_holds_on_later_traces(mode: str):
    examples = planted_examples(mode, 10, 40, seed=4)
    bank = predicate_bank(examples.view, examples.groups)
    evolved = evolve_rule(bank, np.arange(50), examples.is_failure, examples.weight, QUICK, seed=7)
    later = planted(mode, 100, 400, seed=5)
    flags = evaluator_view(later.traces).select(compile_rule(evolved.rule)).to_series().to_numpy()
    agreement = mcc(confusion(later.labels["is_failure"].to_numpy(), flags))
    assert agreement is not None
    assert agreement >= 0.95, explain_rule(evolved.rule)
    assert evolved.stop_reason == "a rule without errors was found"


def test_only_the_given_rows_decide(ordering_examples: Examples):
    bank = predicate_bank(ordering_examples.view, ordering_examples.groups)
    rows = np.arange(0, 60, 2)
    failed = ordering_examples.is_failure
    elsewhere = failed.copy()
    elsewhere[1::2] = ~elsewhere[1::2]
    one, other = (evolve_rule(bank, rows, y, ordering_examples.weight, QUICK, seed=7) for y in (failed, elsewhere))
    assert one == other


def test_one_kind_of_label_gives_the_rule_that_never_fires(ordering_examples: Examples):
    bank = predicate_bank(ordering_examples.view, ordering_examples.groups)
    rows = np.arange(len(ordering_examples.groups))
    nothing = np.zeros(len(rows), dtype=bool)
    evolved = evolve_rule(bank, rows, nothing, ordering_examples.weight, QUICK, seed=7)
    assert evolved.rule == {"op": "constant", "value": False}
    assert evolved.lineage == []


def test_the_lineage_leads_from_the_empty_rule_to_valid_rules_through_earlier_parents():
    examples = planted_examples("rude", 20, 60, seed=2)
    bank = predicate_bank(examples.view, examples.groups)
    evolved = evolve_rule(bank, np.arange(80), examples.is_failure, examples.weight, QUICK, seed=7)
    assert evolved.lineage[0]["rule"] == {"op": "constant", "value": False}
    assert evolved.lineage[0]["parents"] == []
    for step in evolved.lineage[1:]:
        validate_rule(step["rule"])
        assert all(parent < step["index"] for parent in step["parents"])
    assert evolved.n_metric_calls > 0


def test_the_search_keeps_to_its_iterations():
    examples = planted_examples("rude", 20, 60, seed=2)
    bank = predicate_bank(examples.view, examples.groups)
    settings = GenerationSettings(iterations=3)
    evolved = evolve_rule(bank, np.arange(80), examples.is_failure, examples.weight, settings, seed=7)
    assert evolved.stop_reason == "all 3 iterations were used"
    assert len(evolved.lineage) <= 4


def test_many_examples_become_few_cells_that_hold_each_once():
    is_failure = np.arange(1_000) < 50
    cells = _cells(is_failure, seed=0)
    assert len(cells) <= 97
    assert sorted(np.concatenate([cell.examples for cell in cells]).tolist()) == list(range(1_000))
    assert all((is_failure[cell.examples] == cell.is_failure).all() for cell in cells)
    assert sum(cell.is_failure for cell in cells) == 24  # a quarter of 96


def test_a_search_prints_nothing_and_loads_no_model_library():
    code = (
        "import sys, numpy as np\n"
        "from evalpipe_tests.generation.made import QUICK, planted_examples\n"
        "from evalpipe.generation.bank import predicate_bank\n"
        "from evalpipe.generation.optimise import evolve_rule\n"
        "e = planted_examples('ordering', 10, 20, seed=1)\n"
        "evolve_rule(predicate_bank(e.view, e.groups), np.arange(30), e.is_failure, e.weight, QUICK, seed=7)\n"
        "sys.exit(bool({'litellm', 'dspy', 'sklearn'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
