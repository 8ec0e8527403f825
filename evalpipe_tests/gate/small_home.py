"""A home with a suite and nothing else, made in milliseconds: for tests of the gate over a lake."""

from pathlib import Path

import polars as pl

from evalpipe.evaluators.artifact import Artifact
from evalpipe.home import Home
from evalpipe.tables import EVALUATOR_QUALITY, EVALUATORS, ISSUES
from evalpipe_tests.gate.made import NOW, issues, suite


def small_home(root: Path, *artifacts: Artifact) -> Home:
    """A home whose evaluators block: MCC 0.9 on 20 failures."""
    home = Home.open(root)
    rows = suite(*artifacts)
    evaluators = rows.drop("mcc", "mcc_lower", "tp", "fn").with_columns(
        version=pl.col("version").cast(pl.Int32),
        status=pl.lit("active"),
        n_positives=pl.lit(20),
        n_negatives=pl.lit(20),
        labels_fingerprint=pl.lit(1),
        created_at=pl.lit(NOW),
        reason=pl.lit("made for a test"),
    )
    quality = rows.select("evaluator_id", "version", "issue_id", "kind", "mcc", "mcc_lower", "tp", "fn").with_columns(
        measured_at=pl.lit(NOW),
        split=pl.lit("held_out"),
        fp=pl.lit(0),
        tn=pl.lit(20),
        n_faults=pl.lit(0),
        confidence=pl.lit(0.9),
        n_sessions=pl.lit(40),
        labels_fingerprint=pl.lit(1),
    )
    home.lake.append_new(EVALUATORS, EVALUATORS.conform(evaluators))
    home.lake.append_new(EVALUATOR_QUALITY, EVALUATOR_QUALITY.conform(quality))
    home.lake.append_new(ISSUES, issues(rows))
    return home
