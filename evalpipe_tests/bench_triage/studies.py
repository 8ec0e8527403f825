"""Worlds read and their findings put side by side: one Study for the demo's traffic, one for annotated traces."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import NamedTuple

import polars as pl

from evalpipe.settings import Settings
from evalpipe_tests.bench_triage.reading import ORDERS, QUEUE, scored
from evalpipe_tests.bench_triage.worlds import MONDAY, World
from evalpipe_tests.bench_triage.yields import Found, chance_of_sighting, first_sightings, found, ranking

ANY = ""  # in place of a mode: whatever is wrong
IS_FAILURE = pl.col("modes").list.len() > 0

Read = Callable[[World, pl.DataFrame], pl.DataFrame]
"""READ rows of a world and its signals."""


class Study(NamedTuple):
    """What came of reading some worlds. See the functions below for their questions."""

    n_worlds: int
    rows: pl.DataFrame  # one a trace of a world: world, group, day, service_name, modes, and whether each order read it
    sightings: pl.DataFrame  # world, order, mode, n_read
    rankings: pl.DataFrame  # world, service_name, mode (or ANY), prevalence, score, average_precision

    def found(self, of: pl.Expr | None = None, mode: str = ANY, orders: Sequence[str] = ORDERS) -> list[Found]:
        """What the orders found among the rows that satisfy `of`."""
        rows = self.rows if of is None else self.rows.filter(of)
        return found(rows, orders, IS_FAILURE if mode == ANY else pl.col("modes").list.contains(mode))

    def modes(self) -> pl.DataFrame:
        """service_name, mode, n: the modes of each service and how many traces of all worlds show them."""
        shown = self.rows.explode("modes").drop_nulls("modes").rename({"modes": "mode"})
        return (
            shown.group_by("service_name", "mode").agg(n=pl.len()).sort("service_name", "n", descending=[False, True])
        )


class Sighting(NamedTuple):
    """When the queue first showed a mode, in traces read."""

    mode: str
    n_worlds: int  # in which it occurs
    n_seen: int  # of them, in which the queue met it
    median: float | None
    last: int | None  # in the unluckiest of these
    random_share: float  # of worlds, expected, in which as much random reading meets it


def study(worlds: Iterable[World], read: Read, settings: Settings) -> Study:
    """Score and read each world."""
    rows, sightings, rankings = [], [], []
    for world in worlds:
        signals = scored(world, settings)
        reads = read(world, signals)
        name = pl.lit(world.name).alias("world")
        rows.append(_rows(world, reads).with_columns(name))
        sightings.append(first_sightings(reads, world.truth).with_columns(name))
        rankings.append(_rankings(signals.join(world.truth, on="trace_id")).with_columns(name))
    return Study(len(rows), pl.concat(rows), pl.concat(sightings), pl.concat(rankings))


def sightings_of(study: Study, n_read: int) -> list[Sighting]:
    """For each mode of a study by cycles, when the queue met it, beside reading `n_read` of each cycle at random."""
    seen = study.sightings.filter(order=QUEUE)
    week = (pl.col("day") - pl.lit(MONDAY)).dt.total_days() // timedelta(weeks=1).days
    cycles = study.rows.with_columns(week=week)
    results = []
    for mode in study.modes()["mode"].unique().sort():
        n_showing = pl.col("modes").list.contains(mode).sum()
        per_cycle = cycles.group_by("world", "week").agg(n=pl.len(), k=n_showing).sort("world", "week")
        worlds = [world for world in per_cycle.partition_by("world") if world["k"].sum()]
        chances = [chance_of_sighting(world["n"].to_list(), world["k"].to_list(), n_read) for world in worlds]
        reads = seen.filter(mode=mode)["n_read"].to_list()
        results.append(
            Sighting(
                mode,
                len(worlds),
                len(reads),
                statistics.median(reads) if reads else None,
                max(reads, default=None),
                statistics.fmean(chances),
            )
        )
    return results


def best_scores(study: Study) -> pl.DataFrame:
    """service_name, mode, prevalence, anomaly (its average precision), best (the best signal) and best_precision."""
    return (
        study.rankings.group_by("service_name", "mode", "score")
        .agg(pl.col("prevalence", "average_precision").mean())
        .sort("average_precision", "score", descending=[True, False])
        .group_by("service_name", "mode", maintain_order=True)
        .agg(
            pl.col("prevalence").first(),
            anomaly=pl.col("average_precision").filter(pl.col("score") == "anomaly").first(),
            best=pl.col("score").filter(pl.col("score") != "anomaly").first(),
            best_precision=pl.col("average_precision").filter(pl.col("score") != "anomaly").first(),
        )
        .sort("service_name", "mode")
    )


def _rows(world: World, reads: pl.DataFrame) -> pl.DataFrame:
    session = pl.coalesce("session_id", "trace_id")
    group = pl.format("{}/{}", pl.lit(world.name), session) if world.is_drawn_anew else session
    rows = world.traces.select("trace_id", "day", "service_name", group=group).join(world.truth, on="trace_id")
    return rows.with_columns(
        pl.col("trace_id").is_in(reads.filter(order=order)["trace_id"].implode()).alias(order) for order in ORDERS
    ).drop("trace_id")


def _rankings(signals: pl.DataFrame) -> pl.DataFrame:
    """Each mode is ranked among the traces with nothing wrong, so that other failures found are no mistake."""
    parts = []
    for service in signals.partition_by("service_name"):
        for mode in [ANY, *service["modes"].explode().drop_nulls().unique().sort()]:
            shows = IS_FAILURE if mode == ANY else pl.col("modes").list.contains(mode)
            rows = service.filter(shows | ~IS_FAILURE)
            is_failure = rows.select(shows).to_series()
            precisions = ranking(rows, is_failure) if is_failure.any() else {}
            parts += [
                (service["service_name"][0], mode, is_failure.mean(), score, precision)
                for score, precision in precisions.items()
            ]
    columns = ["service_name", "mode", "prevalence", "score", "average_precision"]
    return pl.DataFrame(parts, columns, orient="row")
