"""A learned evaluator learns what is planted, stores as JSON, decides as it was measured, and explains itself."""

import json
import subprocess
import sys
from typing import Any

import numpy as np
import polars as pl
import pytest

from evalpipe.errors import ArtifactError
from evalpipe.evaluators.features import features_of
from evalpipe.evaluators.learned import LearnedModel
from evalpipe.evaluators.view import evaluator_view
from evalpipe.quality.confusion import confusion, mcc
from evalpipe.settings import GenerationSettings
from evalpipe_tests.generation.made import planted_examples
from evalpipe_tests.generation.planted import planted

SETTINGS = GenerationSettings()


@pytest.fixture(scope="module")
def examples():
    return planted_examples("claim", 15, 45, seed=2)


@pytest.fixture(scope="module")
def model(examples) -> LearnedModel:
    return LearnedModel.fit(examples.view, examples.is_failure, examples.weight, examples.groups, SETTINGS, seed=7)


def test_what_is_learned_holds_on_later_traces(model: LearnedModel):
    later = planted("claim", 60, 240, seed=9)
    agreement = mcc(confusion(later.labels["is_failure"].to_numpy(), model.flag(evaluator_view(later.traces))))
    assert agreement is not None
    assert agreement >= 0.9


def test_scores_are_chances_and_the_threshold_decides(model: LearnedModel, examples):
    score = model.score(examples.view)
    assert ((score >= 0) & (score <= 1)).all()
    assert np.array_equal(model.flag(examples.view), score >= model.program.threshold)


def test_a_model_read_from_json_decides_identically(model: LearnedModel, examples):
    again = LearnedModel.from_program(json.loads(json.dumps(model.to_program())))
    assert np.array_equal(again.score(examples.view), model.score(examples.view))


def test_a_trace_is_judged_alike_alone_and_among_others(model: LearnedModel, examples):
    alone = np.concatenate([model.score(examples.view[i : i + 1]) for i in range(10)])
    assert np.array_equal(alone, model.score(examples.view)[:10])


def test_a_verdict_is_explained_by_what_spoke_for_it(model: LearnedModel, examples):
    flagged = examples.view.filter(pl.Series(model.flag(examples.view)))
    why = model.explain(flagged)
    assert len(why) == flagged.height
    assert sum("refund" in text for text in why) >= 0.8 * len(why)
    assert "refund" in model.describe()


def test_no_trace_gives_no_score(model: LearnedModel, examples):
    assert model.score(examples.view.clear()).tolist() == []
    assert model.explain(examples.view.clear()) == []


def test_empty_texts_and_null_numbers_are_scored(model: LearnedModel, examples):
    from evalpipe.traces.view import NUMBER_FIELDS, TEXT_FIELDS

    bare = examples.view[:2].with_columns(
        pl.lit("").alias("tool_sequence"),
        *(pl.lit("").alias(field) for field in TEXT_FIELDS),
        *(pl.lit(None, pl.Float64).alias(field) for field in NUMBER_FIELDS),
    )
    assert np.isfinite(model.score(bare)).all()


def test_the_labels_of_other_rows_do_not_matter(examples):
    rows = np.arange(0, 60, 2)
    elsewhere = examples.is_failure.copy()
    elsewhere[1::2] = ~elsewhere[1::2]
    features = features_of(examples.view)
    one, other = (
        LearnedModel.fit_rows(features, rows, y, examples.weight, examples.groups, SETTINGS, 7)
        for y in (examples.is_failure, elsewhere)
    )
    assert one == other


def test_the_number_of_word_features_is_bounded(examples):
    few = GenerationSettings(max_features=50)
    model = LearnedModel.fit(examples.view, examples.is_failure, examples.weight, examples.groups, few, seed=7)
    assert len(model.program.words) + len(model.program.steps) <= 50


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"threshold": 2}, "threshold"),
        ({"bias": "x"}, "bias"),
        ({"bias": float("nan")}, "bias"),
        ({"code": "import os"}, "code"),
        ({"words": [{"field": "secrets", "words": ["a"], "weight": 1.0, "share": 0.5}]}, "no text field 'secrets'"),
        ({"words": [{"field": "final", "words": [], "weight": 1.0, "share": 0.5}]}, "words"),
        ({"numbers": [{"field": "n_tool_calls", "mean": 0.0, "sd": 0.0, "weight": 1.0}]}, "sd"),
        ({"steps": [{"field": "height", "value": 0.0, "weight": 1.0, "share": 0.5}]}, "no number field 'height'"),
    ],
)
def test_a_program_that_is_none_is_refused_with_the_place(model: LearnedModel, change: dict[str, Any], where: str):
    with pytest.raises(ArtifactError, match=where):
        LearnedModel.from_program(model.to_program() | change)


def test_scoring_loads_no_scikit_learn(model: LearnedModel, examples, tmp_path):
    program, view = tmp_path / "program.json", tmp_path / "view.parquet"
    program.write_text(json.dumps(model.to_program()))
    examples.view.write_parquet(view)
    code = (
        "import json, sys, polars as pl\n"
        "from evalpipe.evaluators.learned import LearnedModel\n"
        "model = LearnedModel.from_program(json.load(open(sys.argv[1])))\n"
        "model.explain(pl.read_parquet(sys.argv[2]))\n"
        "print(len(model.score(pl.read_parquet(sys.argv[2]))), bool({'sklearn', 'scipy'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(program), str(view)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["60", "False"]
