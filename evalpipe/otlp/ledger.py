"""The ledger of the landing: which segments there are. What is in one is segment.py's, where it lies store.py's.

    ledger/2025-09-01.jsonl   a line for each segment with a span on that day, in the order of landing

So a day is known without its history. A segment that touches several days has a line in the file of each. The last
line of a segment counts, in the place of its first: one that expires gets a second line. Writing needs the landing's
lock, reading does not.
"""

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple

import orjson
import polars as pl

from evalpipe.errors import InputError
from evalpipe.files import write_whole
from evalpipe.otlp.segment import make_folder, sync_folder
from evalpipe.tables import RAW_OTLP

_SUFFIX = ".jsonl"
_LINE = {name: dtype for name, dtype in RAW_OTLP.schema.items() if name != "day"} | {
    "days": pl.List(pl.String),
    "landed_at": pl.String,
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One segment, as its line says."""

    segment_id: str
    source: str
    n_payloads: int
    n_spans: int
    n_bytes: int
    days: list[date]  # UTC dates on which its spans start, ascending; it is filed under the first
    landed_at: datetime
    is_expired: bool = False

    @property
    def day(self) -> date:
        """The day it is filed under."""
        return self.days[0]


class Ledger:
    """The ledger in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pages: dict[date, _Page] = {}
        make_folder(folder)

    def days(self) -> list[date]:
        """The days on which spans start, in order; from the names of the files."""
        return sorted(day for path in self._folder.iterdir() if (day := _day_of(path.name)))

    def frame(self, day: date) -> pl.DataFrame:
        """RAW_OTLP rows of the segments with a span on `day`, in the order of landing."""
        return self._page(day).frame

    def is_damaged(self, day: date) -> bool:
        """Whether a line of this day cannot be read. Half a line at the end is one that is being written just now."""
        return self._page(day).is_damaged

    def enter(self, entries: Iterable[Entry]) -> None:
        """Add lines, durably, to the files of all their days; the days they are filed under last."""
        lines: dict[date, list[Entry]] = defaultdict(list)
        filed = set()
        for entry in entries:
            filed.add(entry.day)
            for day in entry.days:
                lines[day].append(entry)
        for day in sorted(lines, key=lambda day: (day in filed, day)):
            self.append(day, lines[day])

    def append(self, day: date, entries: Sequence[Entry]) -> None:
        """Add lines, durably, to the file of one day."""
        if not entries:
            return
        path = self._path(day)
        is_new = not path.exists()
        with path.open("ab+") as file:
            _cut_half_line(file)
            file.write(_lines(entries))
            file.flush()
            # The file bears the landing's time, not the machine's, so that `landed_since` compares like with like.
            landed_ns = int(max(entry.landed_at for entry in entries).timestamp() * 1e9)
            os.utime(file.fileno(), ns=(landed_ns, landed_ns))
            os.fsync(file.fileno())
        if is_new:
            sync_folder(self._folder)

    def rewrite(self, day: date, entries: Iterable[Entry]) -> None:
        """Make the file of one day anew, in one step."""
        write_whole(self._path(day), _lines(entries))

    def landed_since(self, moment: datetime) -> set[date]:
        """The days with a segment that landed at `moment` or later; a file that is older is not opened.

        A landing bears the time at which it began, so ask with a margin of as long as one takes.
        """
        return {
            day
            for day in self.days()
            if int(self._path(day).stat().st_mtime) >= int(moment.timestamp())
            and (self.frame(day)["landed_at"] >= moment).any()
        }

    def _path(self, day: date) -> Path:
        return self._folder / (day.isoformat() + _SUFFIX)

    def _page(self, day: date) -> "_Page":
        try:
            with self._path(day).open("rb") as file:
                about = os.fstat(file.fileno())
                mark = (about.st_ino, about.st_size, about.st_mtime_ns)
                page = self._pages.get(day)
                if page is None or page.mark != mark:
                    page = self._pages[day] = _Page.parse(day, mark, file.read(about.st_size))
                return page
        except FileNotFoundError:
            return _Page((0, 0, 0), RAW_OTLP.empty(), is_damaged=False)


def entries_of(rows: pl.DataFrame) -> list[Entry]:
    """The entries that RAW_OTLP rows came from."""
    return [Entry(**row) for row in rows.drop("day").iter_rows(named=True)]


class _Page(NamedTuple):
    """One file as it was read."""

    mark: tuple[int, int, int]  # its inode, size and time: another mark is another content
    frame: pl.DataFrame
    is_damaged: bool

    @classmethod
    def parse(cls, day: date, mark: tuple[int, int, int], data: bytes) -> "_Page":
        whole = data[: data.rfind(b"\n") + 1]
        try:
            return cls(mark, _rows(whole, day), is_damaged=False)
        except (InputError, pl.exceptions.PolarsError):
            sound = b"".join(line for line in whole.splitlines(keepends=True) if _is_sound(line, day))
            return cls(mark, _rows(sound, day), is_damaged=True)


def _rows(lines: bytes, day: date) -> pl.DataFrame:
    """RAW_OTLP rows of whole lines. Raises InputError or PolarsError when one of them is no entry."""
    rows = (
        pl.read_ndjson(lines, schema=_LINE)
        .with_columns(
            pl.col("days").list.eval(pl.element().str.to_date("%F")),
            pl.col("landed_at").str.to_datetime("%+", time_unit="us", time_zone="UTC"),
            pl.col("is_expired").fill_null(False),  # an older version did not say it
            day=pl.lit(day),
        )
        .group_by("segment_id", maintain_order=True)
        .last()
    )
    return RAW_OTLP.conform(rows)


def _is_sound(line: bytes, day: date) -> bool:
    try:
        return _rows(line, day).height == 1
    except (InputError, pl.exceptions.PolarsError):
        return False


def _lines(entries: Iterable[Entry]) -> bytes:
    return b"".join(orjson.dumps(entry) + b"\n" for entry in entries)


def _day_of(name: str) -> date | None:
    """The day that a file is about; None for any other file."""
    try:
        return date.fromisoformat(name.removesuffix(_SUFFIX)) if name.endswith(_SUFFIX) else None
    except ValueError:
        return None


def _cut_half_line(file: BinaryIO) -> None:
    """Remove what a writer that died, or a full disk, left of a line."""
    if file.seek(0, os.SEEK_END) == 0:
        return
    file.seek(-1, os.SEEK_END)
    if file.read(1) != b"\n":
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
