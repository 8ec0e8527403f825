"""Gates for the tests of every form: of texts of strangers, blocked, passed with failing cases, and got worse."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import polars as pl

from evalpipe.gate.cases import read_cases
from evalpipe.gate.decide import GatePolicy, decide
from evalpipe.gate.judge import GateOutcome
from evalpipe.settings import GateSettings
from evalpipe_tests.gate.made import after, answers, case_file, flags, judge, suite

HOSTILE = "a|b `code` <script>alert(1)</script> [x](http://evil) @team \x00\x1b[31m \ud7ff\ufffe & *bold*\n# head"
SORRY = flags(1, "sorry", failure_mode=HOSTILE)
REFUND = flags(2, "refund")


def blocked_gate(folder: Path) -> GateOutcome:
    """The hostile evaluator fails (2 of 4), the other passes."""
    return judge(answers(folder, "sorry \x00<b>", "sorry", "fine", "fine", version="1.4|2"), suite(SORRY, REFUND))


def passed_gate(folder: Path) -> GateOutcome:
    """A blocking evaluator passes though one of ten cases shows its failure."""
    return judge(answers(folder, "a refund", *["fine"] * 9), suite(REFUND))


def worse_gate(folder: Path) -> GateOutcome:
    """A blocking evaluator reaches its pass rate (80 of 100), and is a regression: all had passed on the same inputs.

    Sign test: 20 turned worse, none better, p = 2^-20.
    """
    before = judge(_numbered(folder, *["fine"] * 100), suite(REFUND), release="1")
    return judge(
        _numbered(folder, *["a refund"] * 20, *["fine"] * 80), suite(REFUND), release="2", history=after(before)
    )


def _numbered(folder: Path, *outputs: str) -> pl.DataFrame:
    cases = [{"id": f"c{i:03}", "input": f"q{i}", "output": output} for i, output in enumerate(outputs)]
    return read_cases(case_file(folder, *cases)).traces


def faulted_gate(folder: Path, on_abstain: Literal["block", "warn"] = "block") -> GateOutcome:
    """One of two evaluators could judge none of its two cases."""
    outcome = judge(answers(folder, "a", "b"), suite(SORRY, REFUND))
    first, second = (result.run for result in outcome.decision.results)
    faulted = replace(first, n_pass=0, n_fault=2, fault_reason="model is down")
    policy = GatePolicy(gate=GateSettings(on_abstain=on_abstain))
    is_first = pl.col("evaluator_id") == first.evaluator_id
    verdicts = outcome.verdicts.with_columns(
        outcome=pl.when(is_first).then(pl.lit("fault")).otherwise("outcome"),
        explanation=pl.when(is_first).then(pl.lit("model is down")).otherwise("explanation"),
        score=pl.when(is_first).then(pl.lit(None)).otherwise("score"),
    )
    return replace(outcome, decision=decide([faulted, second], policy, n_cases=2), verdicts=verdicts)
