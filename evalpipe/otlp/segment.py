"""The file of one landed segment: its bytes, its name, its index. Which segments there are is landing.py's business.

A segment is a row of frames. A frame is a header (body length, CRC-32 of kind and body, kind) and a body. The first
is the index (JSON): what a ledger line says, and a digest of every payload. So the ledger can be rebuilt from segments
alone, a payload that landed before is recognised without decoding anything, and what damage cost is known.

The index is compressed alone, then some payloads at a time, each time as an independent zstd frame: damage costs what
its zstd frame holds. Read as well: the form of an older version, one zstd frame, whose CRC-32s leave out the kind.
"""

import hashlib
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import zstandard
from isal.isal_zlib import crc32

from evalpipe.errors import StateError
from evalpipe.otlp.payload import Encoding, Payload, Refused

SUFFIX = ".otlp.zst"

_HEADER = struct.Struct(">IIB")
_INDEX = 0
_KIND_OF: dict[Encoding, int] = {"protobuf": 1, "json": 2}
_ENCODING_OF: dict[int, Encoding] = {kind: encoding for encoding, kind in _KIND_OF.items()}
_CHUNK = 1 << 20  # bytes; a damaged length must not reserve memory
_LEVEL = 1  # zstd: level 3 takes two thirds more CPU for a seventh less disk
_ZSTD_FRAME = 1 << 20  # bytes of payloads compressed as one, a larger one alone; twice that saves 2 % of disk
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_PIECE = 4096  # compressed bytes; what was read of a damaged zstd frame before the piece that is damaged is kept


@dataclass(frozen=True)
class Index:
    """What is known of a segment without decoding its payloads."""

    segment_id: str
    source: str
    n_payloads: int
    n_spans: int
    days: list[date]  # UTC dates on which its spans start, ascending; it is filed under the first
    landed_at: datetime
    digests: list[str]  # one per payload

    @property
    def day(self) -> date:
        """The day it is filed under."""
        return self.days[0]


class Parcel(NamedTuple):
    """A payload with what its segment's index must say of it."""

    payload: Payload
    digest: str
    n_spans: int
    days: frozenset[date]  # UTC dates on which its spans start
    source: str


def digest(body: bytes) -> str:
    """What identifies a payload: 128 bits, so that no client can make two that collide."""
    return hashlib.sha256(body).hexdigest()[:32]


def index_of(parcels: Sequence[Parcel], now: datetime) -> Index:
    """The index of a segment of these payloads.

    Its id is the first day and a hash of the payloads: equal payloads have one id, and it says where they lie.
    """
    hasher = hashlib.sha256()
    for parcel in parcels:
        hasher.update(bytes([_KIND_OF[parcel.payload.encoding]]) + bytes.fromhex(parcel.digest))
    days = sorted({day for parcel in parcels for day in parcel.days})
    sources = list(dict.fromkeys(parcel.source for parcel in parcels))
    return Index(
        segment_id=f"seg_{days[0]:%Y%m%d}_{hasher.hexdigest()[:24]}",
        source=sources[0] if len(sources) == 1 else f"{sources[0]} and {len(sources) - 1} more",
        n_payloads=len(parcels),
        n_spans=sum(parcel.n_spans for parcel in parcels),
        days=days,
        landed_at=now,
        digests=[parcel.digest for parcel in parcels],
    )


def day_in(segment_id: str) -> date | None:
    """The day a segment is filed under, as its id says; None for an id of a version that did not say it."""
    try:
        return date.fromisoformat(segment_id.split("_")[1])
    except (IndexError, ValueError):
        return None


def write_segment(path: Path, index: Index, payloads: Iterable[Payload]) -> None:
    """Write an immutable segment, durably but for its name: to sync the folder is the caller's."""
    with path.open("wb") as file:
        with zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).stream_writer(file, closefd=False) as writer:
            _write_frame(writer, _INDEX, orjson.dumps(index))
            n_bytes = _ZSTD_FRAME  # The index stays alone.
            for payload in payloads:
                n_bytes += len(payload.body)
                if n_bytes > _ZSTD_FRAME:
                    writer.flush(zstandard.FLUSH_FRAME)
                    n_bytes = len(payload.body)
                _write_frame(writer, _KIND_OF[payload.encoding], payload.body)
        file.flush()
        os.fsync(file.fileno())


def read_index(path: Path) -> Index:
    """The index of a segment. Raises StateError when its first frame is damaged."""
    try:
        with path.open("rb") as file:
            kind, body, is_sound = next(_frames(_decompressed(file)), (_INDEX, b"", False))
        if is_sound and kind == _INDEX:
            fields: dict[str, Any] = orjson.loads(body)
            fields["days"] = [date.fromisoformat(day) for day in fields["days"]]
            fields["landed_at"] = datetime.fromisoformat(fields["landed_at"])
            return Index(**fields)
    except (KeyError, TypeError, ValueError) as error:
        raise StateError(f"{path}: another version of evalpipe wrote the segment's index. Use that one.") from error
    raise StateError(f"{path}: the segment's index is damaged. Its payloads may be sound: ingest its source again.")


def read_segment(path: Path) -> Iterator[Payload | Refused]:
    """The payloads of a segment in their order; one in memory at a time, where it is damaged one zstd frame.

    Lost payloads are refused by their numbers, one refusal for those that follow each other. Where the index is lost
    too, payloads are numbered as they are found, and one refusal says that it is not known how many there were.
    """
    try:
        digests = read_index(path).digests
    except StateError:
        digests = None
    last = 0
    for number, kind, body in _payloads(path, digests):
        if number > last + 1:
            yield _lost(last + 1, number - 1)
        last = number
        encoding = _ENCODING_OF.get(kind)
        location = f"payload {number}"
        if encoding is None:
            yield Refused(location, f"frame kind {kind} is unknown; a newer evalpipe wrote it", body)
        else:
            yield Payload(body, encoding, location)
    if digests is None:
        yield Refused("index", "it cannot be read, so it is not known whether damage on disk cost payloads", None)
    elif last < len(digests):
        yield _lost(last + 1, len(digests))


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, durably, where they are missing."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make a created or renamed name in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_frame(writer: Any, kind: int, body: bytes) -> None:
    writer.write(_HEADER.pack(len(body), crc32(body, kind), kind))
    writer.write(body)


def _payloads(path: Path, digests: list[str] | None) -> Iterator[tuple[int, int, bytes]]:
    """(number, kind, body) of each sound payload. Before any damage they are counted; behind it the index knows them.

    Behind it, any bytes may look like a zstd frame, or like one of ours: what the index does not know is neither.
    """
    number = 0
    with path.open("rb") as file:
        if digests is not None:
            for kind, body, is_sound in _frames(_decompressed(file)):
                if not is_sound:
                    break
                if kind != _INDEX:
                    number += 1
                    yield number, kind, body
            if number == len(digests):
                return
        file.seek(0)
        data = file.read()
    number_of = None if digests is None else {known: number for number, known in enumerate(digests, 1)}
    for content in _contents(data):
        for kind, body, is_sound in _frames(BytesIO(content)):
            if is_sound and kind != _INDEX:
                found = number + 1 if number_of is None else number_of.get(digest(body), 0)
                if found > number:
                    number = found
                    yield number, kind, body


def _lost(first: int, last: int) -> Refused:
    if first == last:
        return Refused(f"payload {first}", "it is lost: the segment is damaged on disk", None)
    reason = f"{last - first + 1} payloads are lost: the segment is damaged on disk"
    return Refused(f"payloads {first} to {last}", reason, None)


def _decompressed(file: Any) -> Any:
    return zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True, closefd=False)


def _contents(data: bytes) -> Iterator[bytes]:
    """What each zstd frame holds, as far as it can be read; a damaged one may end at any magic number behind it."""
    start = data.find(_ZSTD_MAGIC)
    while start >= 0:
        decompressor = zstandard.ZstdDecompressor().decompressobj()
        content = bytearray()
        end = start
        with suppress(zstandard.ZstdError):
            while not decompressor.eof and (piece := data[end : end + _PIECE]):
                content += decompressor.decompress(piece)
                end += len(piece)
        yield bytes(content)
        start = data.find(_ZSTD_MAGIC, end - len(decompressor.unused_data) if decompressor.eof else start + 1)


def _frames(reader: Any) -> Iterator[tuple[int, bytes, bool]]:
    """(kind, body, whether it is sound) of each frame, up to where the bytes end or are no zstd any more.

    One that follows an unsound one may be none.
    """
    with suppress(zstandard.ZstdError):
        while len(header := _take(reader, _HEADER.size)) == _HEADER.size:
            length, crc, kind = _HEADER.unpack(header)
            body = _take(reader, length)
            # An empty body is a run of zeros; the second CRC-32 is an older version's.
            yield kind, body, 0 < length == len(body) and (crc32(body, kind) == crc or crc32(body) == crc)


def _take(reader: Any, n_bytes: int) -> bytes:
    parts: list[bytes] = []
    while n_bytes > 0 and (part := reader.read(min(n_bytes, _CHUNK))):
        parts.append(part)
        n_bytes -= len(part)
    return b"".join(parts)
