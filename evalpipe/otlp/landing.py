"""The raw landing: every accepted payload, durable and append-only, in immutable segments with a ledger over them.

It is the source of truth; spans can be made from it again at any time. Finding payloads in files is files.py,
decoding them is wire.py, the bytes of one segment are segment.py.

    segments/2025-09-01/seg_....otlp.zst   filed under the first day of its spans
    ledger.jsonl                           one line a segment, in the order of landing

A segment is written first, its ledger line second. A crash in between leaves a segment without a line, which the
next open finds and adds; a crash within the line leaves half a line, which the next open cuts off.
"""

import fcntl
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import polars as pl

from evalpipe.errors import InputError, StateError
from evalpipe.otlp import segment, wire
from evalpipe.otlp.files import files_in, read_payloads
from evalpipe.otlp.payload import Payload, Refused, rejection_frame
from evalpipe.settings import ObserveSettings
from evalpipe.tables import RAW_OTLP, REJECTIONS


class Landed(NamedTuple):
    """What one call landed. A payload that had landed before counts in `n_known` and nowhere else."""

    n_files: int
    n_payloads: int
    n_spans: int
    n_segments: int
    n_known: int
    segment_ids: list[str]  # the new ones
    rejections: pl.DataFrame  # REJECTIONS rows


class Landing:
    """The landing under one folder. Opening it repairs what a crash left; several processes may share it."""

    def __init__(self, root: Path, settings: ObserveSettings) -> None:
        self.root = root
        self.settings = settings
        self._segments = root / "segments"
        self._ledger = root / "ledger.jsonl"
        # Segments never change, so an index is read once: by day, the segments read and what they hold.
        self._digests: dict[date, tuple[set[Path], set[str]]] = defaultdict(lambda: (set(), set()))
        self._segments.mkdir(parents=True, exist_ok=True)
        with self._locked():
            self._recover()

    def ingest(self, paths: Sequence[Path], *, now: datetime, progress: Callable[[int], None] | None = None) -> Landed:
        """Land the payloads of files and folders; `progress` is told the payloads read so far.

        A file that is no OTLP is refused and the others go on. Raises InputError when a path does not exist, or
        when no file could be used at all.
        """
        batch = _Batch(self, now)
        refused_files: list[str] = []
        n_read = 0
        files = files_in(paths)
        for path in files:
            try:
                for item in read_payloads(path, self.settings):
                    batch.add(item, str(path))
                    n_read += 1
                    if progress:
                        progress(n_read)
            except InputError as error:
                refused_files.append(str(error))
                batch.refuse("file", str(path), Refused("the whole file", str(error), None))
        if len(refused_files) == len(files):
            raise InputError(refused_files[0])
        return batch.finish(len(files) - len(refused_files))

    def land(self, payloads: Iterable[Payload | Refused], *, source: str, now: datetime) -> Landed:
        """Land payloads that came another way than by file; `source` names the client."""
        batch = _Batch(self, now)
        for item in payloads:
            batch.add(item, source)
        return batch.finish(0)

    def ledger(self) -> pl.DataFrame:
        """RAW_OTLP rows of all segments, in the order of landing."""
        rows = self._entries()
        frame = pl.DataFrame(rows, schema=RAW_OTLP.schema, orient="row") if rows else RAW_OTLP.empty()
        return RAW_OTLP.conform(frame)

    def segments_on(self, day: date) -> list[str]:
        """Ids of the segments with a span that starts on `day` (UTC), in the order of landing."""
        return self.ledger().filter(pl.col("days").list.contains(day))["segment_id"].to_list()

    def payloads(self, segment_id: str) -> Iterator[Payload | Refused]:
        """The payloads of a segment and what in it is damaged. Raises StateError when there is no such segment."""
        return segment.read_segment(self._find(segment_id))

    def pending_trace_ids(self, segment_ids: Iterable[str]) -> set[str]:
        """Ids of the traces with a span in these segments: known before any span is decoded into a table."""
        found: set[str] = set()
        for segment_id in segment_ids:
            found |= wire.trace_ids(self.payloads(segment_id))
        return found

    def folder_of(self, day: date) -> Path:
        """Where segments are filed whose first span starts on `day`."""
        return self._segments / day.isoformat()

    def commit(self, day: date, batch: dict[str, "_Pending"], now: datetime) -> segment.Index | None:
        """Write one segment and its ledger line. None when another process landed all of it meanwhile."""
        with self._locked():
            known = self.digests_on(day)
            new = {name: pending for name, pending in batch.items() if name not in known}
            if not new:
                return None
            sources = list(dict.fromkeys(pending.source for pending in new.values()))
            index = segment.write_segment(
                self.folder_of(day),
                [pending.payload for pending in new.values()],
                digests=list(new),
                n_spans=sum(pending.contents.n_spans for pending in new.values()),
                days=sorted({d for pending in new.values() for d in pending.contents.days}),
                source=sources[0] if len(sources) == 1 else f"{sources[0]} and {len(sources) - 1} more",
                now=now,
            )
            self._append(index)
        return index

    def digests_on(self, day: date) -> set[str]:
        """Digests of the payloads filed under `day`; none for a damaged index, because landing twice is safe."""
        seen, found = self._digests[day]
        for path in set(self.folder_of(day).glob(f"*{segment.SUFFIX}")) - seen:
            seen.add(path)
            with suppress(StateError):
                found.update(segment.read_index(path).digests)
        return found

    def _find(self, segment_id: str) -> Path:
        for row in self._entries():
            if row["segment_id"] == segment_id:
                path = segment.path_of(self.folder_of(row["days"][0]), segment_id)
                if path.exists():
                    return path
                raise StateError(
                    f"segment {segment_id}: {path} is missing. Restore it, or ingest {row['source']} again."
                )
        raise StateError(f"segment {segment_id} is not in {self._ledger}. Ingest its source again.")

    def _entries(self) -> list[dict[str, Any]]:
        """The ledger's rows. Half a line at the end is one that another process is writing just now."""
        if not self._ledger.exists():
            return []
        rows: dict[str, dict[str, Any]] = {}
        for line in self._ledger.read_bytes().split(b"\n")[:-1]:
            row = _ledger_row(line)
            if row is not None:
                rows.setdefault(row["segment_id"], row)
        return list(rows.values())

    def _append(self, index: segment.Index) -> None:
        path = segment.path_of(self.folder_of(index.day), index.segment_id)
        line = {
            "segment_id": index.segment_id,
            "source": index.source,
            "n_payloads": index.n_payloads,
            "n_spans": index.n_spans,
            "n_bytes": path.stat().st_size,
            "days": index.days,
            "landed_at": index.landed_at,
        }
        self._cut_half_line()
        _append_durably(self._ledger, orjson.dumps(line) + b"\n")

    def _recover(self) -> None:
        self._cut_half_line()
        known = {row["segment_id"] for row in self._entries()}
        for leftover in self._segments.glob(f"*/{segment.TEMPORARY_PREFIX}*"):
            leftover.unlink()
        for path in sorted(self._segments.glob(f"*/*{segment.SUFFIX}")):
            if path.name.removesuffix(segment.SUFFIX) not in known:
                self._append(segment.read_index(path))

    def _cut_half_line(self) -> None:
        if not self._ledger.exists():
            return
        with self._ledger.open("r+b") as file:
            if file.seek(0, os.SEEK_END) == 0:
                return
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.root / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


@dataclass
class _Pending:
    """A payload that waits for its segment."""

    payload: Payload
    contents: wire.Contents
    source: str


@dataclass
class _Batch:
    """Payloads on their way to segments, grouped by the day of their first span; at most one segment's bytes wait."""

    landing: Landing
    now: datetime
    waiting: dict[date, dict[str, _Pending]] = field(default_factory=lambda: defaultdict(dict))
    n_waiting_bytes: dict[date, int] = field(default_factory=lambda: defaultdict(int))
    known: dict[date, set[str]] = field(default_factory=dict)
    written: list[segment.Index] = field(default_factory=list)
    n_known: int = 0
    refused: dict[tuple[str, str], list[Refused]] = field(default_factory=lambda: defaultdict(list))

    def add(self, item: Payload | Refused, source: str) -> None:
        refused = self._inspected(item, source) if isinstance(item, Payload) else item
        if refused is not None:
            self.refuse("payload", source, refused)

    def refuse(self, kind: str, source: str, refused: Refused) -> None:
        self.refused[kind, source].append(refused)

    def finish(self, n_files: int) -> Landed:
        for day in sorted(self.waiting):
            self._flush(day)
        rejections = [
            rejection_frame(items, kind=kind, source=source, now=self.now)
            for (kind, source), items in self.refused.items()
        ]
        return Landed(
            n_files=n_files,
            n_payloads=sum(index.n_payloads for index in self.written),
            n_spans=sum(index.n_spans for index in self.written),
            n_segments=len(self.written),
            n_known=self.n_known,
            segment_ids=[index.segment_id for index in self.written],
            rejections=pl.concat([REJECTIONS.empty(), *rejections]),
        )

    def _inspected(self, payload: Payload, source: str) -> Refused | None:
        """Put a sound payload in line; what is wrong with it otherwise. A request without spans is sound and empty."""
        contents = wire.inspect(payload)
        if isinstance(contents, Refused):
            return contents
        if contents.n_spans == 0:
            return None
        settings = self.landing.settings
        last_day = (self.now.astimezone(UTC) + timedelta(seconds=settings.max_future_s)).date()
        days = frozenset(day for day in contents.days if settings.first_day <= day <= last_day)
        if not days:
            reason = (
                f"no span starts between {settings.first_day} (EVALPIPE_OBSERVE__FIRST_DAY) and {last_day} "
                "(now and EVALPIPE_OBSERVE__MAX_FUTURE_S); change the setting or the clock of the sender"
            )
            return Refused(payload.location, reason, payload.body)
        self._wait(_Pending(payload, contents._replace(days=days), source))
        return None

    def _wait(self, pending: _Pending) -> None:
        day = min(pending.contents.days)
        if day not in self.known:
            self.known[day] = set(self.landing.digests_on(day))
        name = segment.digest(pending.payload.body)
        if name in self.known[day]:
            self.n_known += 1
            return
        size = len(pending.payload.body)
        limit = self.landing.settings.segment_bytes
        if self.n_waiting_bytes[day] + size > limit:
            self._flush(day)
        elif sum(self.n_waiting_bytes.values()) + size > limit:
            self._flush(max(self.n_waiting_bytes, key=lambda d: (self.n_waiting_bytes[d], d)))
        self.waiting[day][name] = pending
        self.n_waiting_bytes[day] += size
        self.known[day].add(name)

    def _flush(self, day: date) -> None:
        batch = self.waiting.pop(day, {})
        self.n_waiting_bytes.pop(day, None)
        if not batch:
            return
        index = self.landing.commit(day, batch, self.now)
        if index is not None:
            self.written.append(index)
        self.n_known += len(batch) - (index.n_payloads if index else 0)


def _append_durably(path: Path, line: bytes) -> None:
    is_new = not path.exists()
    with path.open("ab") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())
    if is_new:
        segment.sync_folder(path.parent)


def _ledger_row(line: bytes) -> dict[str, Any] | None:
    """None for a line that cannot be read: its segment is found again on the next open."""
    try:
        row = orjson.loads(line)
        row["days"] = [date.fromisoformat(day) for day in row["days"]]
        row["landed_at"] = datetime.fromisoformat(row["landed_at"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return None
    return row
