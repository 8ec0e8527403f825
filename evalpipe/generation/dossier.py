"""What there is to say of an issue's evaluator, put together for people: the same for a page and for a terminal.

Pure: (artifact, labels) -> what is said. Reading the tables, and how it looks, are in web/ and cli/.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import polars as pl

from evalpipe.evaluators.artifact import Artifact
from evalpipe.evaluators.rules import explain_rule
from evalpipe.generation.findings import Family, by_family


class Figure(NamedTuple):
    """An MCC with its interval, what it is of, and what to know of that; None: undefined."""

    of: str
    mcc: float | None
    lower: float | None
    upper: float | None
    note: str = ""

    def in_words(self) -> str:
        """Such as 0.84 [0.61, 0.93]."""
        if self.mcc is None:
            return "undefined"
        interval = "" if self.lower is None or self.upper is None else f" [{self.lower:.2f}, {self.upper:.2f}]"
        return f"{self.mcc:.2f}{interval}"


class Mistakes(NamedTuple):
    """Traces of which a program that had not seen them says other than people, by trace_id."""

    missed: list[str]  # failures that it does not flag
    false_alarms: list[str]


class Step(NamedTuple):
    """A rule or an instruction that the search kept on the way to the one that ships, and how good it was found."""

    change: str
    worth: str
    text: str


class Dossier(NamedTuple):
    """What an artifact says of itself, and what its labels say of it.

    figures: held-out first, then what it must be compared with, in-sample last. lineage: from the first candidate
    to the last, each made from the one before; `n_tried` were kept in all.
    """

    figures: list[Figure]
    families: list[Family]
    mistakes: Mistakes
    lineage: list[Step]
    n_tried: int
    cost_usd_per_verdict: float | None


def dossier_of(artifact: Artifact, labels: pl.DataFrame, measured: Mapping[str, Any] | None = None) -> Dossier:
    """The dossier of an artifact. `labels` are LABELS rows of its issue as they are now.

    `measured` are its held-out figures of today (mcc, mcc_lower, mcc_upper); None: those of when it was made.
    """
    lineage = artifact.provenance.get("lineage")
    kept = lineage if isinstance(lineage, list) else []
    return Dossier(
        figures=list(_figures(artifact, measured)),
        families=by_family(artifact.patterns),
        mistakes=_mistakes(artifact, labels),
        lineage=_ancestry(kept),
        n_tried=len(kept),
        cost_usd_per_verdict=artifact.quality.get("cost_usd_per_verdict"),
    )


def _figures(artifact: Artifact, measured: Mapping[str, Any] | None) -> Iterator[Figure]:
    quality = artifact.quality
    yield _figure("held-out", quality if measured is None else measured, "traces it had not seen")
    for baseline in quality.get("baselines") or ():
        yield _figure(f"baseline: {baseline['name']}", baseline)
    if at_production := quality.get("at_production"):
        note = f"held-out, where {at_production['prevalence']:.1%} of traces show the failure"
        yield _figure("in production", at_production, note)
    in_sample = quality.get("in_sample")
    yield _figure("in-sample", in_sample or {"mcc": quality["in_sample_mcc"]}, "traces it was made from: it flatters")


def _figure(of: str, figures: Mapping[str, Any], note: str = "") -> Figure:
    return Figure(of, figures["mcc"], figures.get("mcc_lower"), figures.get("mcc_upper"), note)


def _mistakes(artifact: Artifact, labels: pl.DataFrame) -> Mistakes:
    """By its held-out verdicts and the labels of today; what its artifact lists are those of when it was made."""
    verdicts = pl.DataFrame(
        {"trace_id": list(artifact.held_out), "is_flagged": list(artifact.held_out.values())},
        schema={"trace_id": pl.String, "is_flagged": pl.Boolean},
    )
    known = labels.unique("trace_id", keep="last", maintain_order=True).select("trace_id", "is_failure")
    wrong = verdicts.join(known, on="trace_id").filter(pl.col("is_flagged") != pl.col("is_failure")).sort("trace_id")
    missed, false_alarms = (
        wrong.filter(pl.col("is_failure") == failed)["trace_id"].to_list() for failed in (True, False)
    )
    return Mistakes(missed, false_alarms)


def _ancestry(lineage: list[Any]) -> list[Step]:
    """From the first candidate to the best: the rule of the fewest bits, the instruction with the highest MCC."""
    if not lineage:
        return []
    by_index = {step["index"]: step for step in lineage}
    at: dict[str, Any] | None = min(lineage, key=lambda step: (_badness(step), step["index"]))
    steps: list[Step] = []
    while at is not None and len(steps) < len(lineage):
        steps.append(_step(at))
        at = by_index.get(at["parents"][0]) if at["parents"] else None
    return steps[::-1]


def _badness(step: Mapping[str, Any]) -> float:
    return float(step["bits"]) if "bits" in step else -float(step["validation_mcc"])


def _step(step: Mapping[str, Any]) -> Step:
    if "bits" in step:
        return Step(step["change"], f"{step['bits']:.1f} bits", explain_rule(step["rule"]))
    return Step(step["change"], f"validation MCC {step['validation_mcc']:.2f}", step["instruction"])
