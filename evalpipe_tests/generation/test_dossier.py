"""What is said of an evaluator, on a page as in a terminal."""

import json

import polars as pl
import pytest

from evalpipe.evaluators.artifact import Artifact
from evalpipe.generation.choose import Generated
from evalpipe.generation.dossier import Figure, dossier_of
from evalpipe.generation.examples import Examples
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
    assert [figure.of for figure in figures] == ["held-out", "in-sample"]
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
    assert dossier.lineage[0].rule == "never"
    assert dossier.lineage[-1].rule == artifact.explanation
    bits = [step.bits for step in dossier.lineage]
    assert bits == sorted(bits, reverse=True)
    assert dossier.n_tried >= len(dossier.lineage)


def test_patterns_stand_by_family_in_the_order_of_the_artifact(artifact: Artifact, ordering_examples: Examples):
    families = dossier_of(artifact, LABELS.empty()).families
    assert families[0].title == "Tools"
    assert [row for family in families for row in family.patterns] == artifact.patterns
    known = set(ordering_examples.trace_ids)
    assert all(set(row["example_ids"]) <= known for family in families for row in family.patterns)
