"""The engine of both searches, gepa: how it is run here, whatever is evolved.

gepa writes no file and prints nothing. Its evaluation cache mixes up training and validation examples (gepa 0.1.4), so
it is off, and ids differ between the two; its own choice of the best, by the mean, is never taken.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TRAIN, VALIDATION = "t", "v"  # how the ids of gepa's two sets begin


def evolve(seed_candidate: dict[str, str], *, trainset: "Loader", valset: "Loader", **parts: Any) -> Any:
    """gepa's result: all candidates that were accepted, with their parents. `parts` are further ones of its API."""
    from gepa.api import optimize

    return optimize(
        seed_candidate=seed_candidate,
        trainset=trainset,
        valset=valset,
        skip_perfect_score=True,
        perfect_score=1.0,
        cache_evaluation=False,
        track_best_outputs=False,
        display_progress_bar=False,
        run_dir=None,
        logger=_Silence(),
        **parts,
    )


def parents_of(result: Any) -> list[list[int]]:
    """The places of the parents of each candidate of a gepa result."""
    return [[parent for parent in parents if parent is not None] for parents in result.parents]


class Loader:
    """gepa's DataLoader: items by number, under ids that are unique across both sets, and safe in a path."""

    def __init__(self, items: Mapping[int, Any], prefix: str) -> None:
        self._by_id = {self.id_of(number, prefix): item for number, item in items.items()}

    def all_ids(self) -> list[str]:
        return list(self._by_id)

    def fetch(self, ids: Sequence[str]) -> list[Any]:
        return [self._by_id[i] for i in ids]

    def __len__(self) -> int:
        return len(self._by_id)

    @staticmethod
    def id_of(number: int, prefix: str) -> str:
        return f"{prefix}{number:06d}"

    @staticmethod
    def number_of(example_id: str) -> int:
        return int(example_id[1:])


@dataclass
class Batch:
    """What goes back and forth for one evaluation; gepa's EvaluationBatch."""

    outputs: list[Any]
    scores: list[float]
    trajectories: list[Any] | None
    objective_scores: None = None
    num_metric_calls: int | None = None


class _Silence:
    """gepa prints what it logs unless it is given a logger."""

    def log(self, message: str) -> None:
        del message
