"""The file of one landed segment: its bytes, its name, its index. Which segments there are is landing.py's business.

A segment is one zstd stream of frames. A frame is a header (body length, CRC-32 of the body, kind) and a body. The
first frame is the index (JSON): what a ledger line says, and a digest of every payload. So the ledger can be
rebuilt from segments alone, and a payload that landed before is recognised without decoding anything.
"""

import hashlib
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import orjson
import zstandard

from evalpipe.errors import StateError
from evalpipe.otlp.payload import Encoding, Payload, Refused

SUFFIX = ".otlp.zst"
TEMPORARY_PREFIX = ".tmp-"

_HEADER = struct.Struct(">IIB")
_INDEX = 0
_KIND_OF: dict[Encoding, int] = {"protobuf": 1, "json": 2}
_ENCODING_OF: dict[int, Encoding] = {kind: encoding for encoding, kind in _KIND_OF.items()}
_CHUNK = 1 << 20  # bytes; a damaged length must not reserve memory
_LEVEL = 3  # zstd: the raw bytes are read rarely and kept long


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


def digest(body: bytes) -> str:
    """What identifies a payload: 128 bits, so that no client can make two that collide."""
    return hashlib.sha256(body).hexdigest()[:32]


def write_segment(
    folder: Path,
    payloads: Sequence[Payload],
    *,
    digests: Sequence[str],
    n_spans: int,
    days: Sequence[date],
    source: str,
    now: datetime,
) -> Index:
    """Write an immutable segment into `folder`, durably: after this returns, it survives a power cut.

    Its name is the hash of its payload frames, so equal payloads have one name. `digests` belong to `payloads`;
    `days` ascend.
    """
    hasher = hashlib.sha256()
    for payload, name in zip(payloads, digests, strict=True):
        hasher.update(_header(_KIND_OF[payload.encoding], payload.body))
        hasher.update(bytes.fromhex(name))
    index = Index(
        segment_id="seg_" + hasher.hexdigest()[:24],
        source=source,
        n_payloads=len(payloads),
        n_spans=n_spans,
        days=list(days),
        landed_at=now,
        digests=list(digests),
    )
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f"{TEMPORARY_PREFIX}{index.segment_id}-{os.getpid()}"
    with temporary.open("wb") as file:
        with zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).stream_writer(file, closefd=False) as writer:
            _write_frame(writer, _INDEX, orjson.dumps(asdict(index)))
            for payload in payloads:
                _write_frame(writer, _KIND_OF[payload.encoding], payload.body)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path_of(folder, index.segment_id))
    sync_folder(folder)
    sync_folder(folder.parent)
    return index


def path_of(folder: Path, segment_id: str) -> Path:
    """Where a segment lies in its folder."""
    return folder / (segment_id + SUFFIX)


def read_index(path: Path) -> Index:
    """The index of a segment. Raises StateError when its first frame is damaged."""
    with path.open("rb") as file:
        for frame in _frames(file):
            if isinstance(frame, Refused) or frame[0] != _INDEX:
                break
            fields: dict[str, Any] = orjson.loads(frame[1])
            fields["days"] = [date.fromisoformat(day) for day in fields["days"]]
            fields["landed_at"] = datetime.fromisoformat(fields["landed_at"])
            return Index(**fields)
    raise StateError(f"{path}: the segment's index is damaged. Move the file away and ingest its source again.")


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


def sync_folder(folder: Path) -> None:
    """Make a created or renamed name in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _header(kind: int, body: bytes) -> bytes:
    return _HEADER.pack(len(body), zlib.crc32(body), kind)


def _write_frame(writer: Any, kind: int, body: bytes) -> None:
    writer.write(_header(kind, body))
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
                yield kind, body, zlib.crc32(body) == crc
        except zstandard.ZstdError as error:
            yield Refused(f"after payload {max(number - 1, 0)}", f"the segment is damaged on disk: {error}", None)


def _take(reader: Any, n_bytes: int) -> bytes:
    parts: list[bytes] = []
    while n_bytes > 0 and (part := reader.read(min(n_bytes, _CHUNK))):
        parts.append(part)
        n_bytes -= len(part)
    return b"".join(parts)
