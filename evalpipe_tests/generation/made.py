"""Examples and generated evaluators of planted modes, with settings that keep the tests quick."""

from typing import Any

import numpy as np

from evalpipe.generation.examples import Examples, examples_for
from evalpipe.generation.generate import Generated, IssueRef, generate
from evalpipe.settings import GenerationSettings, QualitySettings
from evalpipe_tests.generation.planted import ISSUE, NOW, planted

QUICK = GenerationSettings(n_folds=5)


def planted_examples(mode: str, n_failures: int, n_others: int, seed: int) -> Examples:
    made = planted(mode, n_failures, n_others, seed)
    return examples_for(made.labels, made.traces, QUICK)


def with_labels(examples: Examples, is_failure: np.ndarray) -> Examples:
    return Examples(examples.view, is_failure, examples.weight, examples.groups)


def generated(examples: Examples, **changed: Any) -> Generated:
    arguments: dict[str, Any] = {
        "incumbent": None,
        "version": 1,
        "labels_fingerprint": 11,
        "lake_versions": {"labels": 3, "traces": 5},
        "generation": QUICK,
        "quality": QualitySettings(),
        "now": NOW,
    }
    return generate(IssueRef(ISSUE, "planted", ["support"]), examples, **(arguments | changed))
