"""The file of one landed segment: its bytes, its name, its index. Which segments there are is landing.py's business.

A segment is one zstd stream of frames. A frame is a header (body length, CRC-32 of the body, kind) and a body. The
first frame is the index (JSON): what a ledger line says, and a digest of every payload. So the ledger can be
rebuilt from segments alone, and a payload that landed before is recognised without decoding anything.
"""

import hashlib
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
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
            for payload in payloads:
                _write_frame(writer, _KIND_OF[payload.encoding], payload.body)
        file.flush()
        os.fsync(file.fileno())


def read_index(path: Path) -> Index:
    """The index of a segment. Raises StateError when its first frame is damaged."""
    try:
        with path.open("rb") as file:
            for frame in _frames(file):
                if isinstance(frame, Refused) or frame[0] != _INDEX or not frame[2]:
                    break
                fields: dict[str, Any] = orjson.loads(frame[1])
                fields["days"] = [date.fromisoformat(day) for day in fields["days"]]
                fields["landed_at"] = datetime.fromisoformat(fields["landed_at"])
                return Index(**fields)
    except (KeyError, TypeError, ValueError) as error:
        raise StateError(f"{path}: another version of evalpipe wrote the segment's index. Use that one.") from error
    raise StateError(f"{path}: the segment's index is damaged. Its payloads may be sound: ingest its source again.")


def read_segment(path: Path) -> Iterator[Payload | Refused]:
    """The payloads of a segment, one in memory at a time. A damaged frame is refused and the rest goes on."""
    with path.open("rb") as file:
        number = 0
        for frame in _frames(file):
            if isinstance(frame, Refused):
                yield frame
            elif frame[0] != _INDEX:
                number += 1
                encoding = _ENCODING_OF.get(frame[0])
                location = f"payload {number}"
                if encoding is None:
                    yield Refused(location, f"frame kind {frame[0]} is unknown; a newer evalpipe wrote it", frame[1])
                elif not frame[2]:
                    yield Refused(location, "its checksum does not match: the segment is damaged on disk", frame[1])
                else:
                    yield Payload(frame[1], encoding, location)


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
    writer.write(_HEADER.pack(len(body), crc32(body), kind))
    writer.write(body)


def _frames(file: Any) -> Iterator[tuple[int, bytes, bool] | Refused]:
    """(kind, body, whether the checksum matches) of each frame; ends with a Refused when the stream is damaged."""
    with zstandard.ZstdDecompressor().stream_reader(file, closefd=False) as reader:
        number = 0
        try:
            while header := _take(reader, _HEADER.size):
                length, crc, kind = _HEADER.unpack(header) if len(header) == _HEADER.size else (1, 0, -1)
                body = _take(reader, length)
                if len(body) < length:
                    yield Refused(
                        f"after payload {max(number - 1, 0)}", "the segment is cut off on disk", header + body
                    )
                    return
                number += 1
                yield kind, body, crc32(body) == crc
        except zstandard.ZstdError as error:
            yield Refused(f"after payload {max(number - 1, 0)}", f"the segment is damaged on disk: {error}", None)


def _take(reader: Any, n_bytes: int) -> bytes:
    parts: list[bytes] = []
    while n_bytes > 0 and (part := reader.read(min(n_bytes, _CHUNK))):
        parts.append(part)
        n_bytes -= len(part)
    return b"".join(parts)
