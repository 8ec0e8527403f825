"""The receivers' write-ahead journal: requests as they came, durable before they are acknowledged.

Each writer appends to one file of its own and holds a lock on it, so that another process knows whether its writer
lives. A file is a row of frames; a frame is a header (marker, lengths, flags, time, checksum of what follows, checksum
of itself), the names of sender and refusal, and the body. What a body means is wire.py's question; taking journals
into segments is on_lake.py's.
"""

import fcntl
import os
import struct
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from isal.isal_zlib import crc32

from evalpipe.errors import JournalError
from evalpipe.otlp.payload import Encoding, Refused
from evalpipe.otlp.segment import make_folder, sync_folder
from evalpipe.settings import IngestSettings

SUFFIX = ".journal"

_MARKER = b"EPJ\x01"
_FIELDS = struct.Struct(">4sIHIBQI")  # marker; bytes of body, source and refusal; flags; received_ns; checksum
_CHECKSUM = struct.Struct(">I")
_HEADER_BYTES = _FIELDS.size + _CHECKSUM.size
_JSON, _GZIP, _REFUSED = 1, 2, 4
_MAX_PARTS = 1024  # buffers that one writev takes (IOV_MAX on Linux and macOS)
_CHUNK = 1 << 20  # bytes read at once in search of a frame
_KEPT_BYTES = 64 * 1024  # of a damaged stretch, so that a person can see what it was
_MAX_NAME_BYTES = 0xFFFF  # of a source, and of a refusal


class Received(NamedTuple):
    """One request as it came."""

    body: bytes  # as on the wire: still gzip when `is_gzip`
    encoding: Encoding
    is_gzip: bool
    received_ns: int  # unix time of the receiver's clock
    source: str  # who sent it: "http 127.0.0.1"
    refusal: str | None = None  # why it was turned away: it becomes a rejection, not a payload


class Journal:
    """The journal of one writer in `folder`, for one thread at a time. A file exists only while it has frames."""

    def __init__(self, folder: Path, settings: IngestSettings) -> None:
        self._folder = folder
        self._settings = settings
        self._file: _OpenFile | None = None
        make_folder(folder)

    @property
    def n_bytes(self) -> int:
        """Durable bytes of the open file; 0 when none is open."""
        return self._file.n_durable if self._file else 0

    @property
    def opened_ns(self) -> int | None:
        """When the first request in the open file was received; None when none is open."""
        return self._file.opened_ns if self._file else None

    def append(self, batch: Sequence[Received]) -> None:
        """Returns when all of `batch` would survive a power cut: one write and one flush for all of it.

        Raises JournalError when it would not. Then the file ends with the last durable frame and is closed, and the
        next call begins a new one: where a frame stood, no other is ever written.
        """
        if not batch:
            return
        parts = [part for received in batch for part in _frame(received)]
        is_durable = False
        try:
            file = self._file = self._file or _OpenFile.begin(self._folder, batch[0].received_ns)
            _write_all(file.descriptor, parts)
            _flush(file.descriptor)
            file.n_durable += sum(map(len, parts))
            is_durable = True
        except OSError as error:
            raise JournalError(
                f"{self._folder}: {len(batch)} requests could not be made durable: {error.strerror or error}. "
                "Make room or repair the disk; the clients send them again."
            ) from error
        finally:
            if not is_durable:
                self.close()

    def is_due(self, now_ns: int) -> bool:
        """Whether the open file is large or old enough to be made into segments (`journal_bytes`, `seal_s`)."""
        if self._file is None:
            return False
        age_s = (now_ns - self._file.opened_ns) / 1e9
        return self._file.n_durable >= self._settings.journal_bytes or age_s >= self._settings.seal_s

    def rotate(self) -> None:
        """Give the open file to whoever makes segments; the next request begins another."""
        self.close()

    def close(self) -> None:
        """Close the open file, cut after its last durable frame. May be called again."""
        if self._file is not None:
            self._file.end()
            self._file = None


def read_journal(path: Path) -> Iterator[Received | Refused]:
    """What a journal holds, in order, one request in memory at a time.

    A last frame that is not whole was never acknowledged and ends it without a word. A frame that is damaged
    otherwise is refused, and reading goes on at the next one.
    """
    with path.open("rb") as file:
        for item, _ in read_frames(file):
            yield item


def read_frames(file: BinaryIO, start: int = 0) -> Iterator[tuple[Received | Refused, int]]:
    """Each frame that begins at byte `start` or later, and the byte after it: where a later reading may go on."""
    size = os.fstat(file.fileno()).st_size
    position = start
    while position + _HEADER_BYTES <= size:
        header = _header_at(file, position)
        if header is None:
            following = _next_frame(file, position + 1, size)
            file.seek(position)
            damaged = file.read(min(following - position, _KEPT_BYTES))
            if damaged.strip(b"\0") or following < size:  # Zeros at the end are space that was never written to.
                yield Refused(f"byte {position}", "the journal is damaged on disk", damaged), following
            position = following
            continue
        content = file.read(header.n_content) if position + header.n_content <= size else b""
        if len(content) < header.n_content:
            return
        position += _HEADER_BYTES + header.n_content
        if crc32(content) == header.checksum:
            yield header.received(content), position
        else:
            reason = "its checksum does not match: the journal is damaged on disk"
            yield Refused(f"byte {position - header.n_content}", reason, content[:_KEPT_BYTES]), position


def lock_if_free(file: BinaryIO) -> bool:
    """Lock an open journal until it is closed; whether that was possible, that is, whether its writer has gone."""
    return _lock(file.fileno())


@dataclass
class _OpenFile:
    path: Path
    descriptor: int
    opened_ns: int
    n_durable: int = 0

    @classmethod
    def begin(cls, folder: Path, opened_ns: int) -> "_OpenFile":
        """A new file that survives a power cut, locked. Raises OSError."""
        while True:
            descriptor, name = tempfile.mkstemp(SUFFIX, f"{opened_ns:020d}-", folder)
            file = cls(Path(name), descriptor, opened_ns)
            # Between its creation and this lock it looked abandoned. Whoever locked it then is about to remove it.
            if _lock(descriptor) and os.fstat(descriptor).st_nlink:
                break
            os.close(descriptor)
        try:
            sync_folder(folder)
        except BaseException:
            file.end()
            raise
        return file

    def end(self) -> None:
        # What cannot be cut off was not acknowledged, and landing it all the same is harmless.
        with suppress(OSError):
            if self.n_durable == 0:
                self.path.unlink()
            elif os.fstat(self.descriptor).st_size > self.n_durable:
                os.ftruncate(self.descriptor, self.n_durable)
        with suppress(OSError):
            os.close(self.descriptor)


class _Header(NamedTuple):
    n_body: int
    n_source: int
    n_refusal: int
    flags: int
    received_ns: int
    checksum: int

    @property
    def n_content(self) -> int:
        return self.n_source + self.n_refusal + self.n_body

    def received(self, content: bytes) -> Received:
        names = content[: self.n_source + self.n_refusal]
        return Received(
            body=content[len(names) :],
            encoding="json" if self.flags & _JSON else "protobuf",
            is_gzip=bool(self.flags & _GZIP),
            received_ns=self.received_ns,
            source=names[: self.n_source].decode(errors="replace"),
            refusal=names[self.n_source :].decode(errors="replace") if self.flags & _REFUSED else None,
        )


def _frame(received: Received) -> tuple[bytes, bytes]:
    """What stands before the body, and the body."""
    source = received.source.encode(errors="replace")[:_MAX_NAME_BYTES]
    refusal = (received.refusal or "").encode(errors="replace")[:_MAX_NAME_BYTES]
    flags = (
        (_JSON if received.encoding == "json" else 0)
        | (_GZIP if received.is_gzip else 0)
        | (_REFUSED if received.refusal is not None else 0)
    )
    checksum = crc32(received.body, crc32(source + refusal))
    fields = _FIELDS.pack(_MARKER, len(received.body), len(source), len(refusal), flags, received.received_ns, checksum)
    return fields + _CHECKSUM.pack(crc32(fields)) + source + refusal, received.body


def _header_at(file: BinaryIO, position: int) -> _Header | None:
    """The header there, with `file` left behind it; None when there is no sound one."""
    file.seek(position)
    data = file.read(_HEADER_BYTES)
    fields, checksum = data[: _FIELDS.size], data[_FIELDS.size :]
    if not fields.startswith(_MARKER) or checksum != _CHECKSUM.pack(crc32(fields)):
        return None
    return _Header(*_FIELDS.unpack(fields)[1:])


def _next_frame(file: BinaryIO, position: int, size: int) -> int:
    """Where the first sound header from `position` on begins, else `size`."""
    while position < size:
        file.seek(position)
        chunk = file.read(_CHUNK)
        at = chunk.find(_MARKER)
        while at >= 0:
            if _header_at(file, position + at) is not None:
                return position + at
            at = chunk.find(_MARKER, at + 1)
        if len(chunk) < _CHUNK:
            break
        position += len(chunk) - len(_MARKER) + 1  # a marker may lie across two chunks
    return size


def _write_all(descriptor: int, parts: Sequence[bytes]) -> None:
    waiting = [memoryview(part) for part in parts]
    while waiting:
        n_written = os.writev(descriptor, waiting[:_MAX_PARTS])
        n_whole = 0
        while n_whole < len(waiting) and n_written >= len(waiting[n_whole]):
            n_written -= len(waiting[n_whole])
            n_whole += 1
        del waiting[:n_whole]
        if n_written:
            waiting[0] = waiting[0][n_written:]


def _flush(descriptor: int) -> None:
    # The file's times need not survive; macOS has no such call.
    getattr(os, "fdatasync", os.fsync)(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
