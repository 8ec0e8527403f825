"""Where segments lie and which there are: placed in steps that survive a crash, found by day, expired.

    segments/2025-09-01/seg_....otlp.zst   filed under the first day of its spans
    segments/.incoming/seg_....otlp.zst    a segment that is being placed
    segments/.damaged/seg_....otlp.zst     one whose index cannot be read; on_lake.py lands what is sound in it again
    ledger/2025-09-01.jsonl                a line for each segment with a span on that day (ledger.py)

A segment is written as incoming, linked into its place and entered into the ledger; then the incoming name goes. So
a crash leaves an incoming name, and whoever takes the lock next finishes or discards that one segment: opening costs
the same however much has landed. What payloads are is landing.py's question, the bytes of a segment segment.py's.
"""

import fcntl
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path

import polars as pl

from evalpipe.errors import ExpiredError, StateError
from evalpipe.otlp import segment
from evalpipe.otlp.ledger import Entry, Ledger, entries_of
from evalpipe.otlp.payload import Payload, Refused
from evalpipe.otlp.segment import SUFFIX, Index, Parcel, make_folder, sync_folder
from evalpipe.tables import RAW_OTLP

_IS_FILED_HERE = pl.col("days").list.first() == pl.col("day")
_MAX_DIGESTS = 1_000_000  # remembered between landings: some 150 MB, the payloads of a busy day


class SegmentStore:
    """The segments under one folder. Opening it finishes what a crash left; several processes may share it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._segments = root / "segments"
        self._incoming = self._segments / ".incoming"
        self._damaged = self._segments / ".damaged"
        for folder in (self._incoming, self._damaged):
            make_folder(folder)
        self._ledger = Ledger(root / "ledger")
        # Segments never change, so an index is read once: by day, the files read and the digests in them.
        self._known: dict[date, tuple[set[Path], set[str]]] = {}
        with self._locked():
            self._rebuild_lost_pages()

    def days(self) -> list[date]:
        """The UTC days on which spans start, in order. Costs a look at names, whatever has landed."""
        return self._ledger.days()

    def ledger(self) -> pl.DataFrame:
        """RAW_OTLP rows of all segments, one each, in the order of landing."""
        filed = [self.ledger_of(day).filter(_IS_FILED_HERE) for day in self.days()]
        return pl.concat([RAW_OTLP.empty(), *filed]).sort("landed_at", maintain_order=True)

    def ledger_of(self, day: date) -> pl.DataFrame:
        """RAW_OTLP rows of the segments with a span that starts on `day` (UTC), expired ones too, as they landed.

        A row never moves and none goes away, so the ids are what the spans of a day were made from.
        """
        if self._ledger.is_damaged(day):
            with self._locked():
                self._rebuild({day})
        return self._ledger.frame(day)

    def landed_since(self, moment: datetime) -> set[date]:
        """The days with a span that landed at `moment` or later. Opens the ledgers of recent days only.

        A segment bears the time at which its landing began, so ask with a margin of as long as one takes.
        """
        return self._ledger.landed_since(moment)

    def segments_on(self, day: date) -> list[str]:
        """Ids of the segments with a span that starts on `day` (UTC) and that can be read, in the order of landing."""
        return self.ledger_of(day).filter(~pl.col("is_expired"))["segment_id"].to_list()

    def payloads(self, segment_id: str) -> Iterator[Payload | Refused]:
        """The payloads of a segment and what in it is damaged. Raises StateError when there is none.

        Of a segment whose retention has passed there is none any more: ExpiredError.
        """
        path = self._find(segment_id)
        if not path.exists():
            raise self._missing(segment_id)
        return segment.read_segment(path)

    def expire(self, before: datetime, days: Iterable[date]) -> list[str]:
        """Remove the files of segments that landed before `before` and whose spans all start on `days`; their ids.

        What the ledger says of them stays, with `is_expired`. Give only days whose spans are in the tables.
        """
        settled = set(days)
        expired: list[str] = []
        with self._locked():
            for day in sorted(settled):
                filed = self._ledger.frame(day).filter(_IS_FILED_HERE)
                due = [
                    replace(entry, is_expired=True)
                    for entry in entries_of(filed.filter(~pl.col("is_expired"), pl.col("landed_at") < before))
                    if settled.issuperset(entry.days)
                ]
                self._ledger.enter(due)
                expired += [entry.segment_id for entry in due]
                gone = set(self._ledger.frame(day).filter("is_expired")["segment_id"])
                for path in self._files_on(day):  # also those that a crash after the ledger's line left
                    if _id_of(path) in gone:
                        path.unlink()
        return expired

    def damaged(self) -> list[Path]:
        """Segments that were put aside because their index cannot be read, until `settle`."""
        return sorted(self._damaged.glob(f"*{SUFFIX}"))

    def settle(self, damaged: Path) -> None:
        """What is sound in a damaged segment has landed again; the file is kept under another name."""
        damaged.replace(damaged.with_name(damaged.name + ".settled"))

    def commit(self, day: date, parcels: Sequence[Parcel], now: datetime) -> Index | None:
        """Place one segment under `day`, the first of its payloads' days. None when all of it landed meanwhile.

        Raises StateError when the disk fails. What the source still holds may be landed again: each payload lands once.
        """
        with self._locked():
            known = self.digests_on(day)
            new = [parcel for parcel in parcels if parcel.digest not in known]
            if not new:
                return None
            index = segment.index_of(new, now)
            self._place(index, new)
        return index

    def digests_on(self, day: date) -> set[str]:
        """Digests of the payloads filed under `day`, not to be changed.

        None for a segment with a damaged index, because landing twice is safe.
        """
        if sum(len(digests) for _, digests in self._known.values()) > _MAX_DIGESTS:
            self._known.clear()
        read, digests = self._known.setdefault(day, (set(), set()))
        for path in set(self._files_on(day)) - read:
            with suppress(StateError):
                digests.update(segment.read_index(path).digests)
            read.add(path)
        return digests

    def folder_of(self, day: date) -> Path:
        """Where segments are filed whose first span starts on `day`."""
        return self._segments / day.isoformat()

    def _place(self, index: Index, parcels: Iterable[Parcel]) -> None:
        incoming = self._incoming / (index.segment_id + SUFFIX)
        place = self.folder_of(index.day) / incoming.name
        segment.write_segment(incoming, index, (parcel.payload for parcel in parcels))
        make_folder(place.parent)
        if place.exists():  # Its index is damaged, or its payloads would be known.
            self._put_aside(place)
        place.hardlink_to(incoming)
        sync_folder(place.parent)
        self._ledger.enter([_entry_of(index, place)])
        incoming.unlink()
        read, digests = self._known[index.day]
        read.add(place)
        digests.update(index.digests)

    def _find(self, segment_id: str) -> Path:
        """Where a segment lies, or lay. Its id says the day; for one of an older version the folders are asked."""
        name = segment_id + SUFFIX
        if day := segment.day_in(segment_id):
            return self.folder_of(day) / name
        return next(self._segments.glob(f"*/{name}"), self._segments / name)

    def _missing(self, segment_id: str) -> StateError:
        """Why it is not there."""
        day = segment.day_in(segment_id)
        ledger = self.ledger_of(day) if day else self.ledger()
        for entry in entries_of(ledger.filter(segment_id=segment_id)):
            if entry.is_expired:
                return ExpiredError(f"segment {segment_id}: its retention has passed. Its spans are in the tables.")
            place = self.folder_of(entry.day) / (segment_id + SUFFIX)
            return StateError(f"segment {segment_id}: {place} is missing. Restore it, or ingest {entry.source} again.")
        return StateError(f"segment {segment_id} is not in the ledger of {self.root}. Ingest its source again.")

    def _files_on(self, day: date) -> list[Path]:
        return sorted(self.folder_of(day).glob(f"*{SUFFIX}"))

    def _put_aside(self, path: Path) -> None:
        path.replace(self._damaged / path.name)
        sync_folder(self._damaged)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Nobody else writes; what a process left that died while it held the lock is finished first.

        Raises StateError when the disk fails.
        """
        try:
            with (self.root / ".lock").open("w") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                for incoming in self._incoming.iterdir():
                    self._finish(incoming)
                yield
        except OSError as error:
            raise StateError(
                f"{self.root}: the disk failed: {error.strerror or error}. "
                "Make room or repair it and try again; what has landed is safe."
            ) from error

    def _finish(self, incoming: Path) -> None:
        """Enter a segment that is in its place, where it is not yet. Another one never landed; its source has it."""
        place = self._find(_id_of(incoming))
        for path, index in self._indexes([place] if place.exists() else []):
            if not all(index.segment_id in self._ledger.frame(day)["segment_id"] for day in index.days):
                self._ledger.enter([_entry_of(index, path)])
        incoming.unlink()

    def _indexes(self, paths: Iterable[Path]) -> Iterator[tuple[Path, Index]]:
        """These segments and their indexes; one that is damaged is put aside, and the others go on."""
        for path in paths:
            try:
                yield path, segment.read_index(path)
            except StateError:
                self._put_aside(path)

    def _rebuild_lost_pages(self) -> None:
        """The ledger of a day that has segments and no ledger: a backup without it, or a home of an older version."""
        days = {date.fromisoformat(path.name) for path in self._segments.glob("????-??-??")}
        self._rebuild({day for day in days.difference(self._ledger.days()) if self._files_on(day)})
        (self.root / "ledger.jsonl").unlink(missing_ok=True)  # the one ledger of an older version

    def _rebuild(self, days: set[date]) -> None:
        """Write the ledgers of these days anew from what is left of them, their segments and the other ledgers."""
        if not days:
            return
        found = {
            entry.segment_id: entry for day in self._ledger.days() for entry in entries_of(self._ledger.frame(day))
        }
        for day in sorted(days):
            for path, index in self._indexes(self._files_on(day)):
                found.setdefault(index.segment_id, _entry_of(index, path))
        entries = sorted(found.values(), key=lambda entry: entry.landed_at)
        # The lost pages last: where this dies before, the next open finds them lost again.
        for day in sorted({day for entry in entries for day in entry.days} - days):
            present = set(self._ledger.frame(day)["segment_id"])
            self._ledger.append(day, [e for e in entries if day in e.days and e.segment_id not in present])
        for day in sorted(days):
            self._ledger.rewrite(day, [entry for entry in entries if day in entry.days])


def _entry_of(index: Index, path: Path) -> Entry:
    return Entry(
        segment_id=index.segment_id,
        source=index.source,
        n_payloads=index.n_payloads,
        n_spans=index.n_spans,
        n_bytes=path.stat().st_size,
        days=index.days,
        landed_at=index.landed_at,
    )


def _id_of(path: Path) -> str:
    return path.name.removesuffix(SUFFIX)
