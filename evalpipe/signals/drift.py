"""TRAFFIC_DRIFT: how the last week's traffic of a service differs from the weeks before, feature by feature. Pure.

The index and what chance makes of it are in quality/drift.py; which traces are read is in on_lake.py.
"""

from collections.abc import Sequence
from datetime import date
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evalpipe.quality.drift import contributions, psi, psi_by_chance
from evalpipe.settings import MonitorSettings
from evalpipe.tables import TRACE_FEATURES, TRAFFIC_DRIFT

NUMBERS = tuple(
    name for name, dtype in TRACE_FEATURES.schema.items() if dtype in (pl.Int64, pl.Float64) and name != "draw"
)
"""The numeric columns of TRACE_FEATURES; `draw` is chance itself."""

WORDS = {"request": "words of requests", "response": "words of answers"}
"""The texts whose words are compared, and what that feature is called."""

RECENT_DAYS, BEFORE_DAYS = 7, 28  # whole weeks: a weekend is no shift
_TEXT_NAMES = {"words of requests": "word", "words of answers": "word", "tools": "tool"}
_N_WORDS = 200  # the commonest, with the rest as one: rare ones are noise
_MIN_SESSIONS = 20  # at either time: fewer say nothing of a distribution over ten cells
_N_TOLD = 3  # cells that a detail names, those that changed most first
_WORD = r"\p{L}{2,}"


class Cells(NamedTuple):
    """One feature: each session's counts over the cells, and what each cell is in words."""

    feature: str
    names: list[str]
    counts: NDArray[np.float64]  # sessions x cells


def drift_of_service(
    traces: pl.DataFrame, *, first_day: date, last_day: date, settings: MonitorSettings, seed: int
) -> pl.DataFrame:
    """TRAFFIC_DRIFT rows of one service, by feature.

    `traces` are TRACE_FEATURES rows of it (the columns of NUMBERS, trace_id, day, session_id, service_name, calls) with
    request and response; those from `first_day` to `last_day` are the recent ones, the rest came before. Whole sessions
    are one observation. A text counts a word once.
    """
    is_recent = pl.col("day").is_between(first_day, last_day)
    said = traces.with_columns(
        is_recent=is_recent,
        # What one session says before and since are two things.
        session=pl.format("{}/{}", pl.coalesce("session_id", "trace_id"), is_recent.cast(pl.Int8)),
    ).with_columns(place=pl.col("session").rank("dense").cast(pl.Int64) - 1)
    sessions = said.unique("place").sort("place")
    flags = sessions["is_recent"].to_numpy()
    n_recent = int(said["is_recent"].sum())
    features = [*(_numbers(said, name) for name in NUMBERS), _tools(said), *(_words(said, name) for name in WORDS)]
    is_enough = min(int(flags.sum()), int((~flags).sum())) >= _MIN_SESSIONS
    noise = psi_by_chance([each.counts for each in features], flags, seed=seed) if is_enough else []
    rows = []
    for place, feature in enumerate(features):
        before, recent = (feature.counts[chosen].sum(axis=0) for chosen in (~flags, flags))
        found = float(psi(before, recent)) if is_enough else None
        has_shifted = found is not None and found > noise[place] and found >= settings.drift_psi
        n_of = (said.height - n_recent, n_recent)
        rows.append(
            {
                "service_name": said["service_name"][0],
                "feature": feature.feature,
                "first_day": first_day,
                "last_day": last_day,
                "n_before": n_of[0],
                "n_recent": n_of[1],
                "psi": found,
                "psi_noise": noise[place] if is_enough else None,
                "has_shifted": has_shifted,
                "detail": _detail(feature, before, recent, n_of, found, has_shifted),
            }
        )
    return TRAFFIC_DRIFT.conform(pl.DataFrame(rows, infer_schema_length=None))


def _numbers(said: pl.DataFrame, name: str) -> Cells:
    """Tenths of the values before, and whether there is none."""
    values, places = said[name].cast(pl.Float64), said["place"].to_numpy()
    before = said.filter(~pl.col("is_recent"))[name].cast(pl.Float64).drop_nulls()
    edges = np.unique(np.quantile(before.to_numpy(), np.arange(1, 10) / 10)) if len(before) else np.array([])
    cell = np.searchsorted(edges, values.fill_null(0).to_numpy(), side="left")
    cell[values.is_null().to_numpy()] = len(edges) + 1
    counts = np.zeros((int(places.max()) + 1, len(edges) + 2))
    np.add.at(counts, (places, cell), 1)
    shown = [f"{edge:,.3g}" for edge in edges]
    spans = [f"{low} to {high}" for low, high in pairwise(shown)]
    names = [f"up to {shown[0]}", *spans, f"above {shown[-1]}"] if shown else ["any"]
    return Cells(name, [*names, "none"], counts)


def _tools(said: pl.DataFrame) -> Cells:
    called = said.select("place", "trace_id", name=pl.col("calls").list.eval(pl.element().struct.field("tool")))
    return _named("tools", called.with_columns(pl.col("name").list.unique()), said)


def _words(said: pl.DataFrame, text: str) -> Cells:
    words = pl.col(text).fill_null("").str.to_lowercase().str.extract_all(_WORD).list.unique()
    return _named(WORDS[text], said.select("place", "trace_id", name=words), said)


def _named(feature: str, lists: pl.DataFrame, said: pl.DataFrame) -> Cells:
    """The commonest names over both times as cells, and all others, or none at all, as one."""
    each = lists.explode("name", empty_as_null=True, keep_nulls=True)
    common = each.drop_nulls("name").group_by("name").len().sort("len", "name", descending=[True, False]).head(_N_WORDS)
    cells = pl.DataFrame({"name": common["name"], "cell": np.arange(common.height)})
    counted = each.join(cells, on="name", how="left").with_columns(pl.col("cell").fill_null(common.height))
    summed = counted.group_by("place", "cell").len()
    counts = np.zeros((int(said["place"].max()) + 1, common.height + 1))  # type: ignore[operator]
    counts[summed["place"].to_numpy(), summed["cell"].to_numpy()] = summed["len"].to_numpy()
    return Cells(feature, [*common["name"].to_list(), "none or rarer ones"], counts)


def _detail(
    feature: Cells,
    before: NDArray[np.float64],
    recent: NDArray[np.float64],
    n_of: tuple[int, int],
    found: float | None,
    has_shifted: bool,
) -> str:
    if found is None:
        return f"too few traces to say: fewer than {_MIN_SESSIONS} sessions before or since"
    if not has_shifted:
        return "no more than chance, or too little to matter"
    # A trace has one value of a number, but many words: what is said is the share of traces, as people count.
    shares = [counts / max(n, 1) for counts, n in zip((before, recent), n_of, strict=True)]
    most: Sequence[int] = np.argsort(-contributions(before, recent))[:_N_TOLD].tolist()
    noun = _TEXT_NAMES.get(feature.feature, feature.feature)
    told = [(f"{noun} {feature.names[cell]}", shares[0][cell], shares[1][cell]) for cell in most]
    return "; ".join(f"{name} {100 * was:.0f} % -> {100 * now:.0f} %" for name, was, now in told)
