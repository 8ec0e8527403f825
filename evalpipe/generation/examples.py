"""The labelled traces of one issue as arrays that a fit can use: what is a failure, what each counts, what must stay
together. Which traces are one case is in groups.py; what makes a label is in review/labels.py.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evalpipe.errors import NotEnoughEvidenceError
from evalpipe.evaluators.folds import n_groups_with_failures
from evalpipe.evaluators.view import evaluator_view
from evalpipe.generation.groups import case_groups, labelled_cases
from evalpipe.settings import GenerationSettings

_age = ((pl.col("labelled_at").max() - pl.col("labelled_at")).dt.total_seconds() / 86_400).alias("age_days")

MIN_FAILURE_GROUPS = 5  # fewer independent sightings cannot be shared out over folds that each still hold some


@dataclass(frozen=True)
class Examples:
    """Labelled traces of one issue, sorted by trace_id; all of one length."""

    view: pl.DataFrame
    is_failure: NDArray[np.bool_]
    weight: NDArray[np.float64]
    groups: list[str]

    @property
    def n_positives(self) -> int:
        """Failures."""
        return int(self.is_failure.sum())

    @property
    def n_negatives(self) -> int:
        """Labelled traces that do not show the failure."""
        return len(self.is_failure) - self.n_positives

    @property
    def trace_ids(self) -> list[str]:
        return self.view["trace_id"].to_list()


class Evidence(NamedTuple):
    """How much the labels of an issue say."""

    n_failures: int
    n_others: int
    n_failure_groups: int


def examples_for(
    labels: pl.DataFrame, traces: pl.DataFrame, settings: GenerationSettings, features: pl.DataFrame | None = None
) -> Examples:
    """The examples of one issue, from its LABELS, the TRACES rows they speak of and the TRACE_FEATURES of these.

    A failure is a row with is_failure; every other labelled trace is a negative, whether people called it good or
    found another failure in it. Negatives come only from services where the failure was seen: telling two services
    apart is no evidence of a failure. A label weighs half as much for every `half_life_days` that it is older than the
    newest one, because applications change, and less the more traces with the same label its case has
    (`case_correlation`). A label whose trace is not there is left out. Raises NotEnoughEvidenceError when too few
    remain.
    """
    known = traces.unique("trace_id", keep="first").join(
        labels.unique("trace_id", keep="last", maintain_order=True).select("trace_id", "is_failure", "weight", _age),
        on="trace_id",
    )
    seen_in = known.filter("is_failure")["service_name"].unique()
    rows = known.filter(pl.col("service_name").is_in(seen_in.implode())).sort("trace_id")
    freshness = 0.5 ** (rows["age_days"].to_numpy() / settings.half_life_days)
    is_failure, groups = rows["is_failure"].to_numpy(), case_groups(rows)
    examples = Examples(
        view=evaluator_view(rows.drop("is_failure", "weight", "age_days"), features),
        is_failure=is_failure,
        weight=rows["weight"].to_numpy() * freshness / _design_effect(is_failure, groups, settings.case_correlation),
        groups=groups,
    )
    require_evidence(examples, settings)
    return examples


def _design_effect(is_failure: NDArray[np.bool_], groups: list[str], correlation: float) -> NDArray[np.float64]:
    """Of each example, how much less it says for standing among others of its group with its label. Source: Kish."""
    _, member, n_alike = np.unique(labelled_cases(groups, is_failure), return_inverse=True, return_counts=True)
    return 1.0 + (n_alike[member].astype(np.float64) - 1.0) * correlation


def require_evidence(examples: Examples, settings: GenerationSettings) -> None:
    """Raises NotEnoughEvidenceError, in words, when the examples are too few to say anything honest."""
    evidence = Evidence(
        examples.n_positives, examples.n_negatives, n_groups_with_failures(examples.is_failure, examples.groups)
    )
    if missing := missing_evidence(evidence, settings):
        raise NotEnoughEvidenceError(f"not enough annotated traces yet: {missing}. Annotate more of the queue.")


def missing_evidence(evidence: Evidence, settings: GenerationSettings) -> str:
    """What is missing to begin, in words ('4 more failures, 3 more good traces'); '' when nothing is."""
    wanted = [
        (settings.min_positives - evidence.n_failures, "more failure", "more failures"),
        (settings.min_negatives - evidence.n_others, "more good trace", "more good traces"),
    ]
    missing = [f"{n} {one if n == 1 else many}" for n, one, many in wanted if n > 0]
    if not missing and evidence.n_failure_groups < MIN_FAILURE_GROUPS:
        missing = [
            f"the failures are only {evidence.n_failure_groups} different case(s) (one session, one task or nearly "
            f"one request each), and {MIN_FAILURE_GROUPS} are needed"
        ]
    return ", ".join(missing)
