"""evalpipe's stages, each called as the product calls it, beside the floors. What comes over HTTP is receiving.py's."""

import itertools
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import polars as pl
import zstandard

from evalpipe.home import Home
from evalpipe.ids import fingerprint
from evalpipe.lake.store import Lake
from evalpipe.otlp.payload import Payload
from evalpipe.otlp.wire import decode, inspect
from evalpipe.tables import SPANS
from evalpipe.traces.conventions import PROMOTION
from evalpipe.traces.on_lake import take_in_day
from evalpipe.traces.spans import read_segments
from evalpipe_tests.bench_ingest import floors
from evalpipe_tests.bench_ingest.measure import Cost, Finding, cost_of, peak_memory_bytes, rate
from evalpipe_tests.bench_ingest.payloads import Traffic

TODAY = date(2025, 9, 2)
YESTERDAY = TODAY - timedelta(days=1)
NOW = datetime(2025, 9, 3, tzinfo=UTC)
_NS_PER_DAY = 86_400 * 10**9
_DAY_SPANS = 100_000  # of the days before yesterday
_COMMIT_SPANS = 25_000


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    n_spans: int = 50_000  # decoded, landed, written
    table_spans: tuple[int, ...] = (100_000, 1_000_000, 3_000_000)  # before the batch; the first are two half days
    batch_spans: int = 20_000
    memory_spans: int = 1_000_000
    n_requests: int = 1_500  # of 100 spans, at each repeat of a receiver
    stored_spans: int = 50_000  # end to end
    repeats: int = 3


QUICK = Sizes(2_000, (4_000,), 1_000, 4_000, 60, 2_000, 1)
"""A smoke test: the figures mean nothing."""


def decoding(sizes: Sizes, folder: Path) -> Iterator[Finding]:
    """From bodies in memory, and from segments to a new Delta table, against the same without evalpipe."""
    bodies = list(Traffic(sizes.n_spans, TODAY).bodies())
    n_spans, n_bytes = sizes.n_spans, sum(map(len, bodies))
    payloads = [Payload(body, "protobuf", f"payload {number}") for number, body in enumerate(bodies, 1)]
    parsed = cost_of(lambda: floors.parse(bodies), repeats=sizes.repeats)
    inspected = cost_of(lambda: [inspect(payload) for payload in payloads], repeats=sizes.repeats)
    decoded = cost_of(lambda: decode(payloads, PROMOTION), repeats=sizes.repeats)
    parse_alone = f"protobuf parse alone: {rate(n_spans, parsed, n_bytes)}"
    for what, cost in (("check a request (wire.inspect)", inspected), ("decode to columns (wire.decode)", decoded)):
        yield Finding(what, rate(n_spans, cost, n_bytes), parse_alone, _share(parsed, cost))

    home = landed(bodies, folder / "home")
    segments = home.landing.ledger()
    spans = _rows_of(home, segments)
    lake = folder / "lake"

    def written() -> None:
        Lake(lake).append_new(SPANS, _rows_of(home, segments))

    through = cost_of(written, repeats=sizes.repeats, before=lambda: shutil.rmtree(lake, ignore_errors=True))
    parquet = cost_of(lambda: floors.write_parquet(spans, folder / "floor.parquet"), repeats=sizes.repeats)
    appended = cost_of(
        lambda: Lake(lake).append_new(SPANS, spans),
        repeats=sizes.repeats,
        before=lambda: shutil.rmtree(lake, ignore_errors=True),
    )
    floor = _together(parsed, parquet)
    of_floor = f"protobuf parse and Parquet write alone: {rate(n_spans, floor)}"
    both = _together(decoded, appended)
    yield Finding("decode and Delta write", rate(n_spans, both, n_bytes), of_floor, _share(floor, both), at_least=0.55)
    yield Finding(
        "the whole way, segments to spans in the Delta table: read, decode, conventions, prices, write",
        rate(n_spans, through, n_bytes),
        of_floor,
        _share(floor, through),
    )


def making_durable(sizes: Sizes, folder: Path) -> Iterator[Finding]:
    """From files to segments, with every fsync."""
    traffic = Traffic(sizes.n_spans, TODAY)
    file = folder / "traffic.binpb.zst"
    n_bytes = write_file(traffic.bodies(), file)
    root = folder / "home"
    cost = cost_of(
        lambda: Home.open(root).ingest([file], now=NOW),
        repeats=sizes.repeats,
        before=lambda: shutil.rmtree(root, ignore_errors=True),
    )
    yield Finding(
        "land: a collector's file (zstd) to durable segments",
        rate(sizes.n_spans, cost, n_bytes),
        f"wall {sizes.n_spans / cost.wall_s / 1_000:.3g} k spans/s",
    )


def appending(sizes: Sizes, folder: Path) -> Iterator[Finding]:
    """A batch into tables of several sizes: 95 % new today, 1 % late from yesterday, 4 % that are there already."""
    past = _Past(folder, half_day_spans=sizes.table_spans[0] // 2, batch_spans=sizes.batch_spans)
    batch = f"{sizes.batch_spans:,} spans"
    deduped: list[Cost] = []
    whole: list[Cost] = []
    trial = folder / "trial"
    for size in sizes.table_spans:
        past.grow_to(size)

        def cost(work: Callable[[Lake], object]) -> Cost:
            return cost_of(lambda: work(Lake(trial)), repeats=sizes.repeats, before=lambda: _linked(past.lake, trial))

        plain = cost(lambda lake: floors.append_blindly(past.batch, lake.table_uri(SPANS)))
        deduped.append(cost(lambda lake: lake.append_new(SPANS, past.batch)))
        whole.append(cost(past.take_in))
        yield Finding(
            f"append {batch} without duplicates, {_millions(size)} in the table",
            f"{deduped[-1].cpu_s:.2f} CPU s",
            f"plain append: {plain.cpu_s:.2f} CPU s",
            _share(deduped[-1], plain),
            at_most=1.5,
        )
        yield Finding(
            f"materialise {batch}, {_millions(size)} in the table",
            f"{whole[-1].cpu_s:.2f} CPU s, {whole[-1].wall_s:.2f} s wall",
        )
    if len(sizes.table_spans) > 1:
        ends = f"{_millions(sizes.table_spans[0])} to {_millions(sizes.table_spans[-1])}"
        for what, costs, bound in (("append without duplicates", deduped, 1.5), ("materialise", whole, 1.3)):
            yield Finding(
                f"growth of that cost, {what}, {ends}",
                f"{costs[-1].cpu_s:.2f} CPU s",
                f"{costs[0].cpu_s:.2f} CPU s",
                _share(costs[-1], costs[0]),
                at_most=bound,
            )


def remembering(sizes: Sizes, folder: Path) -> Iterator[Finding]:
    """The most memory that ingesting and materialising many spans takes, in a process of its own."""
    n_days = max(sizes.memory_spans // _DAY_SPANS, 1)
    file = folder / "many.binpb.zst"
    write_file(Traffic(sizes.memory_spans, TODAY - timedelta(days=n_days - 1), n_days=n_days).bodies(), file)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        used = pool.submit(_ingest_all, file, folder).result()
    yield Finding(
        f"peak memory, {_millions(sizes.memory_spans)} spans from a file into the table",
        f"{used.peak_bytes / 2**30:.2f} GiB",
        f"1 GiB; {used.n_spans:,} spans in {used.cpu_s:.0f} CPU s, {used.wall_s:.0f} s wall",
        used.peak_bytes / 2**30,
        at_most=1.0,
    )


class _Used(NamedTuple):
    n_spans: int
    peak_bytes: int
    cpu_s: float
    wall_s: float


def _ingest_all(file: Path, folder: Path) -> _Used:
    home = Home.open(folder / "home")

    def work() -> None:
        home.ingest([file], now=NOW)
        _take_in(home, home.lake, home.landing.days())

    cost = cost_of(work, repeats=1)
    peak_bytes = peak_memory_bytes()
    return _Used(home.lake.scan(SPANS).select(pl.len()).collect().item(), peak_bytes, *cost)


class _Past:
    """A table of spans that grows backwards in time, and a batch that goes on where it ends."""

    def __init__(self, folder: Path, *, half_day_spans: int, batch_spans: int) -> None:
        self.lake = folder / "lake"
        old = (Traffic(half_day_spans, YESTERDAY), Traffic(half_day_spans, TODAY))
        self._home = landed(_bodies_of(*old), folder / "home")
        known = self._home.landing.ledger()
        self._half_days = _rows_of(self._home, known)
        self.take_in(Lake(self.lake))
        self.n_spans = 2 * half_day_spans
        percent = batch_spans // 100
        batch = (
            Traffic(95 * percent, TODAY, first=half_day_spans),
            Traffic(percent, YESTERDAY, first=half_day_spans),
            Traffic(3 * percent, TODAY, first=half_day_spans - 3 * percent),
            Traffic(percent, YESTERDAY, first=half_day_spans - percent),
        )
        landed(_bodies_of(*batch), self._home.root)
        self.batch = _rows_of(self._home, self._home.landing.ledger().join(known, on="segment_id", how="anti"))

    def take_in(self, lake: Lake) -> None:
        """Materialise today and yesterday: the batch, where the table has the rest."""
        _take_in(self._home, lake, (YESTERDAY, TODAY))

    def grow_to(self, n_spans: int) -> None:
        """Append older days until the table has `n_spans`: today's and yesterday's rows under other ids and times."""
        for number in range(self.n_spans // _DAY_SPANS, n_spans // _DAY_SPANS):
            day = TODAY - timedelta(days=number + 1)
            earlier_ns = (pl.col("day") - pl.lit(day)).dt.total_days() * _NS_PER_DAY
            older = self._half_days.with_columns(
                trace_id=pl.lit(f"{number:04x}") + pl.col("trace_id").str.slice(4),
                start_unix_ns=pl.col("start_unix_ns") - earlier_ns,
                end_unix_ns=pl.col("end_unix_ns") - earlier_ns,
                day=pl.lit(day),
            )
            for part in older.sort("start_unix_ns").iter_slices(_COMMIT_SPANS):
                self.n_spans += Lake(self.lake).append_new(SPANS, part)


def landed(bodies: Iterable[bytes], root: Path) -> Home:
    """A home where these requests have landed."""
    home = Home.open(root)
    home.landing.land((Payload(body, "protobuf", "") for body in bodies), source="bench", now=NOW)
    return home


def write_file(bodies: Iterable[bytes], file: Path) -> int:
    """Requests as the collector's file exporter writes them (length-prefixed, zstd); returns their bytes."""
    n_bytes = 0
    with file.open("wb") as out, zstandard.ZstdCompressor(level=1).stream_writer(out) as writer:
        for body in bodies:
            writer.write(len(body).to_bytes(4, "big") + body)
            n_bytes += len(body)
    return n_bytes


def _bodies_of(*traffic: Traffic) -> Iterator[bytes]:
    return itertools.chain.from_iterable(each.bodies() for each in traffic)


def _rows_of(home: Home, segments: pl.DataFrame) -> pl.DataFrame:
    return read_segments(home.landing, segments, reading=home.reading, now=NOW).spans


def _take_in(home: Home, lake: Lake, days: Iterable[date]) -> None:
    for day in days:
        take_in_day(home.landing, lake, day, reading=home.reading, now=NOW, made_from=fingerprint)


def _linked(source: Path, target: Path) -> None:
    """A copy by hard links: Delta never changes a file that it wrote."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, copy_function=os.link)


def _together(one: Cost, other: Cost) -> Cost:
    return Cost(one.cpu_s + other.cpu_s, one.wall_s + other.wall_s)


def _share(floor: Cost, cost: Cost) -> float:
    return floor.cpu_s / cost.cpu_s


def _millions(n_spans: int) -> str:
    return f"{n_spans / 1e6:g} M"
