"""What is said of an evaluator, on a page as in a terminal."""

import json

import polars as pl
import pytest

from evalpipe.evaluators.artifact import Artifact
from evalpipe.generation.dossier import Figure, dossier_of
from evalpipe.generation.examples import Examples
from evalpipe.generation.generate import Generated
from evalpipe.tables import LABELS
from evalpipe_tests.generation.planted import planted


@pytest.fixture(scope="module")
def artifact(ordering: Generated) -> Artifact:
    assert ordering.artifact is not None
    return ordering.artifact


@pytest.fixture(scope="module")
def labels() -> pl.DataFrame:
    return planted("ordering", 12, 48, seed=1).labels


def test_held_out_is_said_first_and_in_sample_last(artifact: Artifact):
    figures = dossier_of(artifact, LABELS.empty()).figures
    assert [figure.of for figure in figures] == ["held-out", "baseline: single pattern", "in-sample"]
    assert figures[0].mcc == artifact.quality["mcc"]
    assert figures[-1].mcc == artifact.quality["in_sample_mcc"]


def test_figures_of_today_go_before_those_of_when_it_was_made(artifact: Artifact):
    today = {"mcc": 0.5, "mcc_lower": 0.25, "mcc_upper": 0.625}
    assert dossier_of(artifact, LABELS.empty(), today).figures[0].in_words() == "0.50 [0.25, 0.62]"


def test_a_figure_without_value_or_interval_is_said_as_such():
    assert Figure("held-out", None, None, None).in_words() == "undefined"
    assert Figure("in-sample", 0.756, None, None).in_words() == "0.76"


def test_mistakes_are_held_out_verdicts_that_the_labels_of_today_contradict(artifact: Artifact, labels: pl.DataFrame):
    assert dossier_of(artifact, labels).mistakes == ([], [])
    failure, other = (labels.filter(pl.col("is_failure") == failed)["trace_id"].sort()[0] for failed in (True, False))
    is_flipped = pl.col("trace_id").is_in([failure, other])
    changed = labels.with_columns(is_failure=pl.col("is_failure") ^ is_flipped)
    assert dossier_of(artifact, changed).mistakes == ([other], [failure])


def test_a_trace_without_label_or_verdict_is_no_mistake(artifact: Artifact, labels: pl.DataFrame):
    held_out = dict.fromkeys(artifact.held_out)
    unjudged = Artifact.from_json(json.dumps(json.loads(artifact.to_json()) | {"held_out": held_out}))
    assert dossier_of(unjudged, labels.with_columns(is_failure=~pl.col("is_failure"))).mistakes == ([], [])
    assert dossier_of(artifact, LABELS.empty()).mistakes == ([], [])


def test_the_lineage_leads_from_the_empty_rule_to_the_one_of_the_fewest_bits(artifact: Artifact):
    dossier = dossier_of(artifact, LABELS.empty())
    assert dossier.lineage[0].text == "never"
    assert dossier.lineage[-1].text == artifact.explanation
    bits = [float(step.worth.removesuffix(" bits")) for step in dossier.lineage]
    assert bits == sorted(bits, reverse=True)
    assert dossier.n_tried >= len(dossier.lineage)


def test_the_lineage_of_a_judge_leads_to_the_instruction_with_the_highest_figure(artifact: Artifact):
    steps = [
        {"index": 0, "parents": [], "change": "start", "validation_mcc": 0.1, "instruction": "It is wrong."},
        {"index": 1, "parents": [0], "change": "in vain", "validation_mcc": 0.0, "instruction": "It is odd."},
        {"index": 2, "parents": [0], "change": "names it", "validation_mcc": 0.9, "instruction": "It lies."},
    ]
    judged = artifact.model_copy(update={"provenance": {"lineage": steps}})
    assert dossier_of(judged, LABELS.empty()).lineage == [
        ("start", "validation MCC 0.10", "It is wrong."),
        ("names it", "validation MCC 0.90", "It lies."),
    ]


def test_patterns_stand_by_family_in_the_order_of_the_artifact(artifact: Artifact, ordering_examples: Examples):
    families = dossier_of(artifact, LABELS.empty()).families
    assert families[0].title == "Tools"
    assert [row for family in families for row in family.patterns] == artifact.patterns
    known = set(ordering_examples.trace_ids)
    assert all(set(row["example_ids"]) <= known for family in families for row in family.patterns)


def test_what_an_artifact_says_of_baselines_and_production_stands_beside_it(artifact: Artifact):
    more = {
        "baselines": [{"name": "best single predicate", "mcc": 0.5, "mcc_lower": 0.25, "mcc_upper": 0.75}],
        "at_production": {"prevalence": 0.02, "mcc": 0.4, "mcc_lower": 0.2, "mcc_upper": 0.6},
        "in_sample": {"mcc": 1.0, "mcc_lower": 0.9, "mcc_upper": 1.0},
        "cost_usd_per_verdict": 0.003,
    }
    dossier = dossier_of(artifact.model_copy(update={"quality": artifact.quality | more}), LABELS.empty())
    said = [(figure.of, figure.in_words()) for figure in dossier.figures[1:]]
    assert said == [
        ("baseline: best single predicate", "0.50 [0.25, 0.75]"),
        ("in production", "0.40 [0.20, 0.60]"),
        ("in-sample", "1.00 [0.90, 1.00]"),
    ]
    assert dossier.figures[2].note == "held-out, where 2.0% of traces show the failure"
    assert dossier.cost_usd_per_verdict == 0.003
