"""What lands: payloads of files and clients, looked at, grouped by day and written into segments, each once.

A landing is the source of truth; spans can be made from it again at any time. Finding payloads in files is files.py,
decoding them is wire.py, where segments lie and what a crash leaves of them store.py. Reading what receivers
acknowledged, and what becomes of refusals, is on_lake.py.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import NamedTuple

import polars as pl

from evalpipe.errors import ExpiredError, InputError
from evalpipe.otlp import segment, wire
from evalpipe.otlp.files import files_in, read_payloads
from evalpipe.otlp.payload import Payload, Refused, rejection_frame
from evalpipe.otlp.redact_payload import redacted_payload
from evalpipe.otlp.segment import Index, Parcel
from evalpipe.otlp.store import SegmentStore
from evalpipe.otlp.values import MalformedError
from evalpipe.redaction.redactor import Redactor
from evalpipe.settings import ObserveSettings
from evalpipe.tables import REJECTIONS


class Landed(NamedTuple):
    """What one call landed. A payload that had landed before counts in `n_known` and nowhere else."""

    n_files: int
    n_payloads: int
    n_spans: int
    n_segments: int
    n_known: int
    segment_ids: list[str]  # the new ones
    rejections: pl.DataFrame  # REJECTIONS rows


class Landing(SegmentStore):
    """The landing under one folder. Opening it finishes what a crash left; several processes may share it."""

    def __init__(self, root: Path, settings: ObserveSettings, redactor: Redactor = Redactor()) -> None:  # noqa: B008
        super().__init__(root)
        self.settings = settings
        self.redactor = redactor
        self.journals = root / "journals"  # what receivers acknowledged and nobody landed yet
        segment.make_folder(self.journals)
        self.absorbed: dict[Path, int] = {}  # of journals that were still written to: up to which byte they landed

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
        return self.land_each(((item, source) for item in payloads), now=now)

    def land_each(self, items: Iterable[tuple[Payload | Refused, str]], *, now: datetime) -> Landed:
        """Land payloads of several sources, each with the name of its own."""
        batch = _Batch(self, now)
        for item, source in items:
            batch.add(item, source)
        return batch.finish(0)

    def pending_trace_ids(self, segment_ids: Iterable[str]) -> set[str]:
        """Ids of the traces with a span in these segments: known before any span is decoded into a table."""
        found: set[str] = set()
        for segment_id in segment_ids:
            with suppress(ExpiredError):  # Its spans are in the tables.
                found |= wire.trace_ids(self.payloads(segment_id))
        return found


@dataclass
class _Batch:
    """Payloads on their way to segments, grouped by the day of their first span; at most one segment's bytes wait."""

    landing: Landing
    now: datetime
    waiting: dict[date, dict[str, Parcel]] = field(default_factory=lambda: defaultdict(dict))
    n_waiting_bytes: dict[date, int] = field(default_factory=lambda: defaultdict(int))
    known: dict[date, set[str]] = field(default_factory=dict)
    written: list[Index] = field(default_factory=list)
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
            rejections=self.landing.redactor.rejections(pl.concat([REJECTIONS.empty(), *rejections])),
        )

    def _inspected(self, payload: Payload, source: str) -> Refused | None:
        """Put a sound payload in line; what is wrong with it otherwise. A request without spans is sound and empty."""
        contents = wire.inspect(payload)
        if isinstance(contents, Refused):
            return contents
        if contents.n_spans == 0:
            return None
        settings = self.landing.settings
        last_day = settings.last_start(self.now).date()
        days = frozenset(day for day in contents.days if settings.first_day <= day <= last_day)
        if not days:
            reason = (
                f"no span starts between {settings.first_day} (EVALPIPE_OBSERVE__FIRST_DAY) and {last_day} "
                "(now and EVALPIPE_OBSERVE__MAX_FUTURE_S); change the setting or the clock of the sender"
            )
            return Refused(payload.location, reason, payload.body)
        redactor = self.landing.redactor
        if redactor.is_before_landing:
            try:
                body = redacted_payload(payload.body, payload.encoding, redactor.settings, redactor.key)
            except MalformedError as error:
                return Refused(payload.location, str(error), payload.body)
            payload = payload._replace(body=body)
        self._wait(Parcel(payload, segment.digest(payload.body), contents.n_spans, days, source))
        return None

    def _wait(self, parcel: Parcel) -> None:
        day = min(parcel.days)
        if day not in self.known:
            self.known[day] = self.landing.digests_on(day)
        if parcel.digest in self.known[day] or parcel.digest in self.waiting[day]:
            self.n_known += 1
            return
        size = len(parcel.payload.body)
        limit = self.landing.settings.segment_bytes
        if self.n_waiting_bytes[day] + size > limit:
            self._flush(day)
        elif sum(self.n_waiting_bytes.values()) + size > limit:
            self._flush(max(self.n_waiting_bytes, key=lambda d: (self.n_waiting_bytes[d], d)))
        self.waiting[day][parcel.digest] = parcel
        self.n_waiting_bytes[day] += size

    def _flush(self, day: date) -> None:
        parcels = list(self.waiting.pop(day, {}).values())
        self.n_waiting_bytes.pop(day, None)
        if not parcels:
            return
        index = self.landing.commit(day, parcels, self.now)
        if index is not None:
            self.written.append(index)
        self.n_known += len(parcels) - (index.n_payloads if index else 0)
