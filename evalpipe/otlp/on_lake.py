"""What waits outside the landing -> segments, and what of it had to be refused -> the lake.

It comes as files, in the journals of receivers, and in segments that were put aside as damaged.
"""

import fcntl
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import BinaryIO, NamedTuple

from evalpipe.lake.store import Lake
from evalpipe.otlp import journal
from evalpipe.otlp.inflate import inflate
from evalpipe.otlp.journal import Received
from evalpipe.otlp.landing import Landed, Landing
from evalpipe.otlp.payload import Payload, Refused
from evalpipe.otlp.segment import read_segment
from evalpipe.otlp.values import MalformedError
from evalpipe.tables import REJECTIONS

_KEPT_BYTES = 64 * 1024  # of a body that does not inflate, so that a person can see what it was


class Absorbed(NamedTuple):
    """What one call landed. A payload that had landed before counts in `n_known` and nowhere else."""

    n_journals: int  # that were read
    n_payloads: int
    n_spans: int
    n_known: int
    n_refused: int
    segment_ids: list[str]  # the new ones


def absorb(landing: Landing, lake: Lake, *, now: datetime, with_live: bool = True) -> Absorbed:
    """Land what receivers acknowledged, each payload once; what cannot be used goes to `rejections`.

    A journal whose writer closed it, or died, is taken whole and then removed. One that is being written is read as
    far as it goes and stays; the next call goes on from there, and in another process finds its payloads known.
    Without `with_live` those are left until they are closed, which makes fewer and larger segments, and nothing is
    done while another process absorbs; with it that one is waited for, so that all acknowledged before has landed.
    Killed at any step, the next call leaves what one undisturbed call would have.
    """
    n_journals = 0
    landed: list[Landed] = []
    with _alone(landing.root / ".absorb.lock", waits=with_live) as is_alone:
        if is_alone:
            for path in landing.damaged():
                landed.append(_kept(lake, landing.land_each(_salvaged(path), now=now)))
                landing.settle(path)
            for paths in _groups(landing):
                with ExitStack() as files:
                    journals = list(_opened(landing, paths, files, with_live))
                    items = chain.from_iterable(each.items(landing.settings.max_payload_bytes) for each in journals)
                    landed.append(_kept(lake, landing.land_each(items, now=now)))
                    for each in journals:
                        each.settle(landing)
                n_journals += len(journals)
    return Absorbed(
        n_journals=n_journals,
        n_payloads=sum(each.n_payloads for each in landed),
        n_spans=sum(each.n_spans for each in landed),
        n_known=sum(each.n_known for each in landed),
        n_refused=sum(each.rejections.height for each in landed),
        segment_ids=[segment_id for each in landed for segment_id in each.segment_ids],
    )


def ingest(
    landing: Landing,
    lake: Lake,
    paths: Sequence[Path],
    *,
    now: datetime,
    progress: Callable[[int], None] | None = None,
) -> Landed:
    """Land the payloads of files and folders; what cannot be used goes to `rejections`. Raises InputError."""
    return _kept(lake, landing.ingest(paths, now=now, progress=progress))


def backlog_bytes(landing: Landing) -> int:
    """Bytes in journals: what is acknowledged and may not have landed yet."""
    return sum(size for _, size in _journals(landing))


@dataclass
class _OpenJournal:
    """A journal that is being taken; closing its file gives it up."""

    path: Path
    file: BinaryIO
    is_live: bool
    position: int  # up to where it was read

    def items(self, max_bytes: int) -> Iterator[tuple[Payload | Refused, str]]:
        """What it holds after `position`, and who sent it."""
        for item, end in journal.read_frames(self.file, self.position):
            self.position = end
            if isinstance(item, Refused):
                yield item, f"journal {self.path.name}"
            else:
                yield _payload(item, max_bytes), item.source

    def settle(self, landing: Landing) -> None:
        """All of it is safe elsewhere."""
        if self.is_live:
            landing.absorbed[self.path] = self.position
        else:
            self.path.unlink()
            landing.absorbed.pop(self.path, None)


def _opened(landing: Landing, paths: Iterable[Path], files: ExitStack, with_live: bool) -> Iterator[_OpenJournal]:
    for path in paths:
        with suppress(FileNotFoundError):  # Its writer could not make it durable, and withdrew it.
            file = files.enter_context(path.open("rb"))
            is_live = not journal.lock_if_free(file)
            if with_live or not is_live:
                yield _OpenJournal(path, file, is_live, landing.absorbed.get(path, 0))


def _groups(landing: Landing) -> Iterator[list[Path]]:
    """Journals in the order in which they began, as many at a time as fill a segment: few segments, little repeated."""
    group: list[Path] = []
    n_bytes = 0
    for path, size in _journals(landing):
        group.append(path)
        n_bytes += size
        if n_bytes >= landing.settings.segment_bytes:
            yield group
            group, n_bytes = [], 0
    if group:
        yield group


def _journals(landing: Landing) -> Iterator[tuple[Path, int]]:
    """Every journal and its size in bytes."""
    for path in sorted(landing.journals.glob(f"*{journal.SUFFIX}")):
        with suppress(FileNotFoundError):  # It was absorbed just now.
            yield path, path.stat().st_size


def _payload(received: Received, max_bytes: int) -> Payload | Refused:
    seconds, ns = divmod(received.received_ns, 10**9)
    location = f"received {datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{ns:09d}Z"
    if received.refusal is not None:
        return Refused(location, received.refusal, received.body)
    try:
        body = inflate(received.body, max_bytes) if received.is_gzip else received.body
    except MalformedError as error:
        return Refused(location, str(error), received.body[:_KEPT_BYTES])
    return Payload(body, received.encoding, location)


def _salvaged(path: Path) -> Iterator[tuple[Payload | Refused, str]]:
    """What is sound in a segment that was put aside, and that it was."""
    source = f"segment {path.name}"
    yield (
        Refused("index", f"it is damaged; what is sound has landed again, and the file is kept in {path.parent}", None),
        source,
    )
    for item in read_segment(path):
        yield item, source


def _kept(lake: Lake, landed: Landed) -> Landed:
    """`landed`, with its rejections in the lake."""
    if landed.rejections.height:
        lake.append_new(REJECTIONS, landed.rejections)
    return landed


@contextmanager
def _alone(lock: Path, *, waits: bool) -> Iterator[bool]:
    """Whether no other process holds the lock; if so it is held within. It is waited for where asked."""
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if waits else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
