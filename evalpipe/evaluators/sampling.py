"""Which traces of its services an evaluator judges: its rate, the draw that decides, the chance that a verdict had.

Every trace has one draw for each evaluator, and is judged where the draw is below its chance. Draws nest: a higher rate
judges all that a lower one did, and more. What judging gives is in run.py, what is kept from before in reuse.py.
"""

import hashlib
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evalpipe.settings import MonitorSettings

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Bits = NDArray[np.uint64]

_CRITICAL = "critical"
_WHOLE = 1.0


def rate_of(kind: str, issue_id: str, severity: str | None, settings: MonitorSettings) -> float:
    """The share of traffic that an evaluator judges, in (0, 1]: set for its issue, else by severity, else by kind."""
    if issue_id in settings.rates:
        return settings.rates[issue_id]
    if severity == _CRITICAL:
        return _WHOLE
    return settings.judge_rate if kind == "judge" else settings.cheap_rate


def bits_of(trace_ids: pl.Series) -> Bits:
    """The first 64 bits of the SHA-256 of each trace id.

    Ids come from outside and may be patterned, so they are hashed; once for all evaluators of a run.
    """
    digests = b"".join([hashlib.sha256(trace_id.encode()).digest()[:8] for trace_id in trace_ids])
    return np.frombuffer(digests, dtype=">u8").astype(np.uint64)


def draws(bits: Bits, evaluator_id: str) -> Floats:
    """The draw of each trace for this evaluator, uniform in [0, 1), from `bits_of` the traces.

    The version has no part in it: versions of one evaluator judge the same traces and can be compared. The trace's bits
    and those of the evaluator are mixed by the finaliser of SplitMix64, a bijection in which each bit in changes half
    of the bits out, so that the draws of two evaluators are independent. Source: Steele, Lea, Flood (2014), Fast
    splittable pseudorandom number generators, OOPSLA.
    """
    mixed = bits ^ np.uint64(int.from_bytes(hashlib.sha256(evaluator_id.encode()).digest()[:8], "big"))
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed = mixed ^ (mixed >> np.uint64(31))
    return (mixed >> np.uint64(11)).astype(np.float64) / 2.0**53  # 53 bits, as many as a float holds


def prefilter_of(
    kind: str, program: dict[str, Any], rate: float, prevalence: float | None, settings: MonitorSettings
) -> dict[str, Any] | None:
    """The rule that chooses what this judge reads; None where it reads at its rate.

    Only for a failure known to be rarer than `prefilter_below`, and by a rule that finds at least `prefilter_recall` of
    the failures it had not seen. Who reads everything (a critical issue, a rate of 1 by hand) goes on doing so.
    """
    prefilter = program.get("prefilter")
    if kind != "judge" or rate >= _WHOLE or not isinstance(prefilter, dict):
        return None
    is_rare = prevalence is not None and prevalence < settings.prefilter_below
    return prefilter["rule"] if is_rare and prefilter["recall"] >= settings.prefilter_recall else None


def chances(rate: float, is_flagged: Bools, settings: MonitorSettings) -> Floats:
    """The chance of each trace behind a pre-filter: 1 where its rule is true, `prefilter_rest` of the rate elsewhere.

    Shares of traffic weighted by one over these chances stay unbiased, whatever the rule misses; only their variance
    depends on the rule.
    """
    return np.where(is_flagged, _WHOLE, rate * settings.prefilter_rest)
