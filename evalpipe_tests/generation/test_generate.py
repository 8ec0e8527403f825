"""From examples to an evaluator: what ships, what figure it carries, and what it must beat."""

import os
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from evalpipe.errors import NotEnoughEvidenceError
from evalpipe.evaluators.artifact import Artifact
from evalpipe.evaluators.run import run_evaluators
from evalpipe.evaluators.view import NUMBER_FIELDS, TEXT_FIELDS
from evalpipe.generation.examples import Examples
from evalpipe.generation.generate import Generated, Known
from evalpipe.quality.confusion import Confusion, mcc
from evalpipe.settings import GenerationSettings, LlmSettings
from evalpipe.traces.view import SEQUENCE_FIELDS
from evalpipe_tests.generation.claims import claims
from evalpipe_tests.generation.made import QUICK, generated, planted_examples, with_labels
from evalpipe_tests.generation.planted import NOW
from evalpipe_tests.scripted_model import MODEL, REFUNDS, Script, ScriptedModel, Server, scripted_model


def artifact_of(made: Generated) -> Artifact:
    assert made.artifact is not None
    return made.artifact


def test_a_structural_failure_becomes_an_active_rule_with_a_perfect_held_out_figure(ordering: Generated):
    artifact = artifact_of(ordering)
    assert (ordering.status, artifact.kind, ordering.replaces) == ("active", "rule", True)
    assert artifact.explanation == 'tool "issue_refund" is called before tool "check_policy"'
    assert artifact.quality["mcc"] is not None
    assert artifact.quality["mcc"] >= 0.95
    assert artifact.quality["mcc_lower"] < 1.0  # twelve failures are not certainty
    assert "held-out MCC" in ordering.reason


def test_the_figure_is_that_of_the_stored_held_out_predictions(ordering: Generated, ordering_examples: Examples):
    artifact = artifact_of(ordering)
    said = np.array([artifact.held_out[trace] for trace in ordering_examples.trace_ids])
    failed = ordering_examples.is_failure
    counts = Confusion(
        int((failed & said).sum()),
        int((~failed & said).sum()),
        int((~failed & ~said).sum()),
        int((failed & ~said).sum()),
    )
    assert [artifact.quality[cell] for cell in ("tp", "fp", "tn", "fn")] == list(counts)
    assert artifact.quality["mcc"] == pytest.approx(mcc(counts), abs=1e-6)
    held_out, in_sample = ordering.quality.sort("split").rows(named=True)
    assert (held_out["split"], in_sample["split"]) == ("held_out", "in_sample")
    assert held_out["mcc"] == artifact.quality["mcc"]
    assert in_sample["mcc"] == artifact.quality["in_sample_mcc"]


def test_the_artifact_survives_its_own_json_and_runs(ordering: Generated, ordering_examples: Examples):
    artifact = Artifact.from_json(artifact_of(ordering).to_json())
    outcomes = run_evaluators([artifact], ordering_examples.view, llm=LlmSettings())
    flagged = dict(outcomes.select("trace_id", "outcome").iter_rows())
    assert [flagged[t] == "fail" for t in ordering_examples.trace_ids] == ordering_examples.is_failure.tolist()


def test_the_artifact_names_what_it_was_made_from(ordering: Generated):
    provenance = artifact_of(ordering).provenance
    assert provenance["lake_versions"] == {"labels": 3, "traces": 5}
    assert provenance["labels_fingerprint"] == 11
    assert (provenance["n_positives"], provenance["n_negatives"], provenance["n_groups"]) == (12, 48, 60)
    assert provenance["seed"] == QUICK.seed
    assert set(provenance["engines"]) == {"gepa", "polars", "numpy", "evalpipe"}
    assert provenance["lineage"][0]["change"] == "start"
    assert provenance["parent"] is None
    assert set(provenance["spent"]) == {"single pattern", "rule", "learned"}
    hashes = provenance["split"]["held_out_ids_sha256"]
    assert len(hashes) == 1  # repeat
    assert len(set(hashes[0])) == provenance["split"]["n_folds"] == QUICK.n_folds


def test_the_artifact_carries_what_makes_its_figure_believable(ordering: Generated, ordering_examples: Examples):
    quality = artifact_of(ordering).quality
    assert quality["in_sample"]["tp"] == 12
    assert [baseline["name"] for baseline in quality["baselines"]] == ["single pattern"]
    assert quality["at_production"] is None  # nobody said how frequent the failure is
    assert quality["cost_usd_per_verdict"] == 0.0
    said = np.array([artifact_of(ordering).held_out[trace] for trace in ordering_examples.trace_ids])
    ids = np.array(ordering_examples.trace_ids)
    wrong = set(ids[said != ordering_examples.is_failure].tolist())
    mistakes = artifact_of(ordering).mistakes
    assert {*mistakes["missed"], *mistakes["false_alarms"]} == wrong


def test_a_known_prevalence_gives_the_figure_of_production_beside_that_of_the_labels():
    made = generated(planted_examples("rude", 10, 40, seed=4), known=Known(prevalence=0.01))
    at_production = artifact_of(made).quality["at_production"]
    assert at_production["prevalence"] == 0.01
    assert at_production["mcc_lower"] <= at_production["mcc"] <= at_production["mcc_upper"]


def test_words_with_many_forms_are_learned_where_no_rule_says_them():
    made = generated(planted_examples("rude", 40, 120, seed=6), generation=QUICK)
    artifact = artifact_of(made)
    of = artifact.provenance["held_out_mcc_of"]
    best_rule = max(of["rule"], of["single pattern"])
    wins = of["learned"] > best_rule + QUICK.learned_margin
    assert artifact.kind == ("learned" if wins else "rule")
    assert artifact.quality["mcc"] == (of["learned"] if wins else best_rule)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_permuted_labels_never_become_active(seed: int, ordering_examples: Examples):
    drawn = np.random.default_rng(seed).permutation(ordering_examples.is_failure)
    made = generated(with_labels(ordering_examples, drawn))
    assert made.status != "active"
    assert made.status == "candidate" or abs(artifact_of(made).quality["mcc"]) < 0.6
    if made.status == "candidate":
        assert made.reason.startswith("Declined: ")


def test_too_few_failures_are_not_enough_evidence(ordering_examples: Examples):
    none = with_labels(ordering_examples, np.zeros(60, dtype=bool))
    with pytest.raises(NotEnoughEvidenceError, match="10 more failures"):
        generated(none)


def test_an_equal_challenger_does_not_replace_the_incumbent(ordering: Generated, ordering_examples: Examples):
    again = generated(ordering_examples, incumbent=ordering.artifact, version=2, now=NOW + timedelta(days=1))
    assert not again.replaces
    assert "Version 1 stays" in again.reason


def test_a_better_challenger_replaces_the_incumbent(ordering: Generated, ordering_examples: Examples):
    artifact = artifact_of(ordering)
    # An incumbent that once looked good, and missed most of these failures when it had not seen them.
    blind = artifact.model_copy(update={"held_out": dict.fromkeys(artifact.held_out, False)})
    better = generated(ordering_examples, incumbent=blind, version=2)
    assert better.replaces
    assert "It replaces version 1" in better.reason


def test_a_challenger_that_is_only_a_candidate_never_replaces_a_trusted_incumbent(
    ordering: Generated, ordering_examples: Examples
):
    drawn = np.random.default_rng(1).permutation(ordering_examples.is_failure)
    worse = generated(with_labels(ordering_examples, drawn), incumbent=ordering.artifact, version=2)
    assert not worse.replaces


def test_two_fresh_processes_make_the_same_bytes():
    code = (
        "from evalpipe_tests.generation.made import generated, planted_examples\n"
        "import sys\n"
        "made = generated(planted_examples('two_arms', 10, 30, seed=1))\n"
        "sys.stdout.write(made.artifact.to_json() + made.reason)\n"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    ]
    assert said[0]
    assert said[0] == said[1]


CLAIMS = claims(60, 200, seed=1)


def only_to_be_read(examples: Examples) -> Examples:
    """The same with nothing to count: what remains is the conversation, which only a judge reads."""
    empty = [pl.lit("").alias(name) for name in (*TEXT_FIELDS, *SEQUENCE_FIELDS)]
    unknown = [pl.lit(None, pl.Float64).alias(name) for name in NUMBER_FIELDS]
    return replace(examples, view=examples.view.with_columns(*empty, *unknown))


def with_model(server: Server, **changes: Any) -> Generated:
    llm = LlmSettings(judge_model=MODEL, api_base=server.url, max_retries=0, timeout_s=20, **changes)
    return generated(only_to_be_read(CLAIMS.examples), known=Known(notes=CLAIMS.notes), llm=llm)


def test_where_a_model_is_configured_and_nothing_cheaper_is_good_a_judge_ships():
    with scripted_model() as server:
        made = with_model(server)
        artifact = Artifact.from_json(artifact_of(made).to_json())
        assert (artifact.kind, made.status) == ("judge", "active")
        assert artifact.quality["mcc"] >= 0.95
        assert (artifact.provenance["held_out_mcc_of"]["learned"] or 0.0) < 0.3
        # What it was evolved on says nothing of how good it is.
        n_test = artifact.provenance["split"]["test"]["n"]
        assert sum(flag is not None for flag in artifact.held_out.values()) == n_test < len(artifact.held_out)
        unseen = CLAIMS.examples.view.filter(pl.col("trace_id").is_in([t for t, f in artifact.held_out.items() if f]))
        said = run_evaluators([artifact], unseen, llm=LlmSettings(judge_model=MODEL, api_base=server.url))
        assert set(said["outcome"]) == {"fail"}


def test_a_model_that_is_down_leaves_the_others_and_says_so():
    with scripted_model(down_after=0) as server:
        made = with_model(server)
    assert artifact_of(made).kind != "judge"
    assert made.is_interrupted
    assert "The model could not be asked" in made.reason


def test_predicates_that_a_model_proposes_compete_with_those_that_are_mined():
    no_refund = {"op": "not", "of": {"op": "tool", "name": "issue_refund", "min": 1}}
    claimed = {"op": "regex", "field": "final", "pattern": "(?i)refunded"}
    script = Script(REFUNDS.criteria, REFUNDS.judge, rules=({"op": "all", "of": [no_refund, claimed]},))
    one_round = GenerationSettings(n_folds=3, iterations=12, max_features=2)
    llm = {"judge_model": MODEL, "max_retries": 0, "timeout_s": 20}
    with scripted_model(ScriptedModel(script)) as server:
        made = generated(
            planted_examples("claim", 10, 40, seed=1),
            generation=one_round.model_copy(update={"judge_below": 1.0}),
            llm=LlmSettings(**llm, api_base=server.url),
        )
    assert server.calls["rules"] == 4  # once a fold, and once for all examples
    assert "rule with proposals" in artifact_of(made).provenance["held_out_mcc_of"]
