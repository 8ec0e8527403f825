"""How far an evaluator is trusted, from its agreement with people: one rule for its status, its role and coverage.

The agreement itself is counted in confusion.py and intervals.py.
"""

from typing import Literal

from evalpipe.settings import QualitySettings

Status = Literal["active", "monitoring", "candidate"]


def status_of(
    mcc: float | None,
    mcc_lower: float | None,
    n_positives: int,
    quality: QualitySettings,
    demotion: str | None = None,
) -> Status:
    """active: may block a release. monitoring: watches, blocks nothing. candidate: below that, undefined, or
    no better than chance. `demotion` says why one that fell does not block, whatever its figures."""
    if mcc is None or mcc < quality.monitor_mcc or may_be_chance(mcc_lower):
        return "candidate"
    return "active" if shortfall(mcc, mcc_lower, n_positives, quality, demotion) is None else "monitoring"


def may_be_chance(mcc_lower: float | None) -> bool:
    """Whether the interval of an MCC starts at 0 or below, so that chance is possible, whatever the figure itself."""
    return mcc_lower is not None and mcc_lower <= 0


def shortfall(
    mcc: float | None,
    mcc_lower: float | None,
    n_positives: int,
    quality: QualitySettings,
    demotion: str | None = None,
) -> str | None:
    """What keeps an evaluator from blocking, in words; None when nothing does. All that applies is said."""
    if mcc is None:
        return "its MCC is undefined: its labels or its verdicts are all of one kind"
    lacks = [] if demotion is None else [f"demoted: {demotion}"]
    if mcc < quality.block_mcc:
        lacks.append(f"its MCC of {mcc:.2f} is below {quality.block_mcc:.2f}")
    if mcc_lower is None:
        lacks.append("its MCC has no interval")
    elif mcc_lower < quality.block_lower:
        lacks.append(f"the lower bound of its MCC, {mcc_lower:.2f}, is below {quality.block_lower:.2f}")
    if n_positives < quality.block_min_positives:
        lacks.append(f"it was measured on {n_positives} failures, {quality.block_min_positives} are needed")
    return "; ".join(lacks) or None
