"""Traffic of an issue in few words: hours of verdicts, and what people read in them."""

from datetime import UTC, datetime, timedelta

import polars as pl

from evalpipe.issues.exposure import HOURS, READINGS, Exposure
from evalpipe.quality.confusion import Confusion

START = datetime(2026, 3, 2, tzinfo=UTC)
GOOD = Confusion(tp=19, fp=1, tn=99, fn=1)  # of an evaluator: it flags 19.5 of 21 failures (Jeffreys)


def day(n: float) -> datetime:
    return START + timedelta(days=n)


def hours(*rows: tuple[float, str, int, int]) -> pl.DataFrame:
    """HOURS from (day, release, traces judged, of them flagged), each trace judged with certainty."""
    return pl.DataFrame(
        [
            {
                "at": day(at),
                "release": release,
                "n_judged": n,
                "n_flagged": n_flagged,
                "judged_weight": float(n),
                "flagged_weight": float(n_flagged),
                "judged_weight_sq": float(n),
            }
            for at, release, n, n_flagged in rows
        ],
        schema=HOURS,
    )


def readings(*rows: tuple[float, str, int, bool, bool]) -> pl.DataFrame:
    """READINGS from (day, release, how many traces, flagged?, failure?), read the day after; passes are random ones."""
    made = [
        {
            "at": day(at),
            "read_at": day(at + 1),
            "release": release,
            "is_flagged": is_flagged,
            "is_failure": is_failure,
            "is_random": not is_flagged,
        }
        for at, release, n, is_flagged, is_failure in rows
        for _ in range(n)
    ]
    return pl.DataFrame(made, schema=READINGS)


def exposure(
    seen: pl.DataFrame,
    read: pl.DataFrame | None = None,
    agreement: Confusion | None = GOOD,
    rate_before: float | None = 0.04,
) -> Exposure:
    return Exposure(seen, readings() if read is None else read, agreement, rate_before)
