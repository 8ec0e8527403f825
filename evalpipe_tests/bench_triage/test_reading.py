import polars as pl
import pytest

from evalpipe.settings import Settings
from evalpipe_tests.bench_triage.reading import CHOSEN, ORDERS, QUEUE, READ, read_at_once, read_by_cycle, scored
from evalpipe_tests.bench_triage.worlds import World, demo_worlds


@pytest.fixture(scope="module")
def world() -> World:
    return next(demo_worlds(n_worlds=1, n_weeks=2, sessions_per_day=10, failing_share=0.05))


@pytest.fixture(scope="module")
def signals(world: World) -> pl.DataFrame:
    return scored(world, Settings())


def test_every_trace_is_scored(world: World, signals: pl.DataFrame):
    assert set(signals["trace_id"]) == set(world.traces["trace_id"])


def test_every_order_reads_as_many_of_each_cycle_and_none_twice(world: World, signals: pl.DataFrame):
    read = read_by_cycle(world, signals, Settings(), n_read=20)

    assert read.schema == READ
    sizes = read.group_by("order", "cycle").agg(n=pl.len(), last=pl.col("rank").max())
    whole = sizes.filter(pl.col("order") != CHOSEN)
    assert whole.height == 2 * (len(ORDERS) - 1)
    assert whole.select((pl.col("n") == 20).all() & (pl.col("last") == 20).all()).item()
    # One in ten of the queue is drawn at random, by the settings.
    assert sizes.filter(order=CHOSEN)["n"].to_list() == [18, 18]
    assert not read.select("order", "trace_id").is_duplicated().any()


def test_read_at_once_a_cycle_is_all_there_is(world: World, signals: pl.DataFrame):
    read = read_at_once(world, signals, Settings(), share=0.1)

    assert read["cycle"].n_unique() == 1
    assert read.filter(order=QUEUE).height == -(-world.traces.height // 10)


def test_what_was_read_is_annotated_good_or_bad_before_the_next_queue(world: World, signals: pl.DataFrame):
    read = read_by_cycle(world, signals, Settings(), n_read=20)

    # Nothing that was read, good or bad, comes again: the second queue is all of the second week's traces.
    second = read.filter(pl.col("order") == QUEUE, pl.col("cycle") == "2026-W11")
    days = second.join(world.traces, on="trace_id")["day"]
    assert (days.dt.week() == 11).all()
