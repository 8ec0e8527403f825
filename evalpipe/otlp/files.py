"""Trace files on disk -> payloads, lazily and in bounded memory. A file is known by its content, never by its name.

Read are: the collector's file exporter (JSON lines, length-prefixed protobuf, both of its zstd forms), one OTLP/JSON
document (also pretty-printed), one bare protobuf request, each plain, gzip or zstd. Whether a payload's
inside is sound is wire.py's question; this file only finds where payloads begin and end.
"""

import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import orjson

from evalpipe.errors import InputError
from evalpipe.otlp.payload import Encoding, Payload, Refused
from evalpipe.settings import ObserveSettings

_DEFAULTS = ObserveSettings()
_CHUNK = 1 << 20  # bytes a read asks for at once: memory is never reserved for a length that a file merely claims
_MAX_LAYERS = 3  # a rotated collector file that was gzipped has two
_KEPT_BYTES = 64 * 1024  # of a payload above the limit, so that a person can see what it was

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_UNSUPPORTED = {
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x04\x22\x4d\x18": "lz4",
    b"PK\x03\x04": "zip",
    b"\xff\x06\x00\x00sNaPpY": "snappy",
    b"PAR1": "Parquet",
}
_BOM = b"\xef\xbb\xbf"
# A protobuf request also starts with a line feed (tag 1, length-delimited); JSON has a key or its end after the brace.
_JSON_START = re.compile(rb'\s*\{\s*("[^\x00-\x1f]|\}|\Z)')
_JSON_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
_OTHER_SIGNAL = re.compile(rb'\s*\{\s*"(resourceMetrics|resourceLogs|resourceProfiles)"')
_FIRST_TAG = 0x0A  # field 1 (resource_spans), length-delimited


def read_payloads(path: Path, settings: ObserveSettings = _DEFAULTS) -> Iterator[Payload | Refused]:
    """The payloads of one file in order, and what in it had to be refused.

    A cut-off end is refused, what stands before it is kept. Raises InputError when the file cannot be read, is
    compressed in an unknown way or holds no OTLP at all. An empty file has no payloads.
    """
    with opened(path) as stream:
        yield from payloads_in(stream, path, settings)


@contextmanager
def opened(path: Path) -> Iterator["Stream"]:
    """The bytes of a file as they were before gzip or zstd.

    Raises InputError when it cannot be read or is compressed in an unknown way.
    """
    try:
        raw = path.open("rb")
    except FileNotFoundError as error:
        raise InputError(f"{path}: there is no such file. Check the path.") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be opened: {error.strerror}. Give a readable file.") from error
    with raw:
        stream = Stream(raw)
        for _ in range(_MAX_LAYERS):
            inner = _decompressed(stream, path)
            if inner is stream:
                break
            stream = inner
        yield stream


def payloads_in(stream: "Stream", path: Path, settings: ObserveSettings = _DEFAULTS) -> Iterator[Payload | Refused]:
    """The payloads of an opened file, as `read_payloads` gives them."""
    yield from _framed(stream, path, settings.max_payload_bytes)


def files_in(paths: Sequence[Path]) -> list[Path]:
    """The files that `paths` name, folders walked in name order without hidden files, each once.

    Raises InputError for a path that does not exist and for a folder without files.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.is_file() and not _is_hidden(p.relative_to(path)))
            if not inside:
                raise InputError(f"{path}: the folder holds no files. Give a folder or a file with OTLP traces.")
            found.update(dict.fromkeys(inside))
        elif path.exists():
            found[path] = None
        else:
            raise InputError(f"{path}: there is no such file. Check the path.")
    return list(found)


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


class _Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes | None: ...


class _Raw(io.RawIOBase):
    """A source whose damage ends it instead of raising: what was readable before it still counts."""

    def __init__(self, source: _Readable) -> None:
        self.source = source
        self.damage: str | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        n_filled = 0
        while n_filled < len(view) and self.damage is None:
            try:
                data = self.source.read(len(view) - n_filled)
            except EOFError:
                self.damage = "the compressed stream is cut off"
            except (OSError, zlib.error) as error:
                self.damage = f"the compressed stream is damaged: {error}"
            else:
                if not data:
                    break
                view[n_filled : n_filled + len(data)] = data
                n_filled += len(data)
        return n_filled


class Stream(io.BufferedReader):
    """Bytes after one layer of decompression. What breaks them off ends them, and is `damage`."""

    def __init__(self, source: _Readable) -> None:
        self.layer = _Raw(source)
        self.below = source if isinstance(source, Stream) else None
        super().__init__(self.layer, buffer_size=_CHUNK)

    @property
    def damage(self) -> str | None:
        """What ended the stream early, in this layer or one below."""
        return self.layer.damage or (self.below.damage if self.below else None)

    def take(self, n_bytes: int) -> bytes:
        """Up to `n_bytes`, fewer at the end; memory grows with what is there, not with what is asked."""
        parts: list[bytes] = []
        while n_bytes > 0 and (part := self.read(min(n_bytes, _CHUNK))):
            parts.append(part)
            n_bytes -= len(part)
        return b"".join(parts)

    def skip(self, n_bytes: int) -> int:
        """Pass over `n_bytes`; how many there were."""
        n_left = n_bytes
        while n_left > 0 and (part := self.read(min(n_left, _CHUNK))):
            n_left -= len(part)
        return n_bytes - n_left


def _decompressed(stream: Stream, path: Path) -> Stream:
    """The next layer, or `stream` itself when its bytes are not compressed."""
    head = stream.peek(_CHUNK)[:16]
    if head.startswith(_GZIP):
        return Stream(_below(gzip.GzipFile(fileobj=stream), stream))
    if head.startswith(_ZSTD):
        return Stream(_below(_Zstd(stream), stream))
    for magic, name in _UNSUPPORTED.items():
        if head.startswith(magic):
            raise InputError(f"{path}: {name} is not supported. Give it plain, or compressed with gzip or zstd.")
    return stream


class _Zstd:
    """zstd inflated; its damage is an OSError, as that of gzip is."""

    def __init__(self, source: Any) -> None:
        # Imported here: plain files are read where it is not installed.
        import zstandard

        self._error = zstandard.ZstdError
        self._reader = zstandard.ZstdDecompressor().stream_reader(source, read_across_frames=True, closefd=False)

    def read(self, size: int = -1, /) -> bytes:
        return self._told(self._reader.read, size)

    def read1(self, size: int = -1, /) -> bytes:
        return self._told(self._reader.read1, size)

    def _told(self, read: Callable[[int], bytes], size: int) -> bytes:
        try:
            return read(size)
        except self._error as error:
            raise OSError(str(error)) from error


def _below(reader: Any, stream: Stream) -> _Readable:
    # A decompressor must not see the damage of the layer under it as a plain end.
    class _Checked:
        def read(self, size: int = -1, /) -> bytes | None:
            data = reader.read1(size)  # `read` would forget what it has when the stream breaks within
            if not data and stream.damage:
                raise EOFError
            return data

    return _Checked()


def _framed(stream: Stream, path: Path, max_bytes: int) -> Iterator[Payload | Refused]:
    if stream.peek(3)[:3] == _BOM:
        stream.read(3)
    head = stream.peek(_CHUNK)
    if not head.strip(b" \t\r\n") and len(head) < _CHUNK:
        if stream.damage:
            yield Refused("byte 0", stream.damage, None)
        return
    if _JSON_START.match(head):
        yield from _json_documents(stream, path, max_bytes)
        return
    length = int.from_bytes(head[:4], "big")
    if len(head) > 8 and head[4:8] == _ZSTD and length <= max_bytes:
        yield from _messages(stream, max_bytes, is_compressed=True)
    elif len(head) >= 4 and length <= max_bytes and (length == 0 or head[4:5] == bytes([_FIRST_TAG])):
        yield from _messages(stream, max_bytes, is_compressed=False)
    elif head[0] == _FIRST_TAG:
        yield from _bare_message(stream, max_bytes)
    else:
        raise InputError(
            f"{path}: this is no OTLP trace file, it starts with {head[:12]!r}. "
            "Give OTLP/JSON (a document or lines) or OTLP protobuf, plain, gzip or zstd."
        )


def _bare_message(stream: Stream, max_bytes: int) -> Iterator[Payload | Refused]:
    body = stream.take(max_bytes + 1)
    if len(body) > max_bytes:
        yield _too_large("message 1", max_bytes, body)
    elif stream.damage:
        yield Refused("message 1", stream.damage, body)
    else:
        yield Payload(body, "protobuf", "message 1")


def _messages(stream: Stream, max_bytes: int, *, is_compressed: bool) -> Iterator[Payload | Refused]:
    """4-byte big-endian length, then that many bytes, again and again."""
    number = 0
    while header := stream.take(4):
        number += 1
        location = f"message {number}"
        length = int.from_bytes(header, "big")
        if len(header) == 4 and length > max_bytes:
            kept = stream.take(min(length, _KEPT_BYTES))
            stream.skip(length - len(kept))
            yield _too_large(location, max_bytes, kept)
            continue
        body = stream.take(length) if len(header) == 4 else b""
        if len(header) < 4 or len(body) < length:
            reason = stream.damage or f"the file ends within the message: {len(body)} of {length} bytes are there"
            yield Refused(location, reason, header + body)
            return
        yield _inflated(body, location, max_bytes) if is_compressed else Payload(body, "protobuf", location)
    if stream.damage:
        yield Refused(f"message {number + 1}", stream.damage, None)


def _inflated(compressed: bytes, location: str, max_bytes: int) -> Payload | Refused:
    inner = Stream(_Zstd(compressed))
    body = inner.take(max_bytes + 1)
    if inner.damage:
        return Refused(location, inner.damage, compressed)
    if len(body) > max_bytes:
        return _too_large(location, max_bytes, body)
    encoding: Encoding = "json" if _JSON_START.match(body) else "protobuf"
    return Payload(body, encoding, location)


def _json_documents(stream: Stream, path: Path, max_bytes: int) -> Iterator[Payload | Refused]:
    """One document a line, or documents over many lines."""
    is_first = True
    is_cut = False
    number = 0
    for number, text in _texts(stream, max_bytes):
        location = f"line {number}"
        is_cut = not text.endswith(b"\n")
        if len(text) > max_bytes:
            yield _too_large(location, max_bytes, text)
        elif signal := _OTHER_SIGNAL.match(text):
            yield Refused(location, f"{signal[1].decode()} are not traces; evalpipe reads resourceSpans", text)
        # Only a last text can lack its end; every other one is parsed once, where it is landed.
        elif is_cut and _parsed(text) is None:
            yield Refused(location, stream.damage or "the file ends within the document", text)
        else:
            if is_first:
                _require_otlp(text, path)
            yield Payload(text.strip(), "json", location)
        is_first = False
    if stream.damage and not is_cut:
        yield Refused(f"after line {number}", stream.damage, None)


def _texts(stream: Stream, max_bytes: int) -> Iterator[tuple[int, bytes]]:
    """The number of its first line, and a line; or all lines of a document that is written over several.

    Which of the two the first line shows. Of a text above the limit comes only the beginning, one byte too long.
    """
    is_pretty: bool | None = None
    lines: list[bytes] = []
    n_open = 0  # brackets of the document that are still open
    start = n_left = 0  # its first line, and the bytes that it may still have
    number = 0
    while line := stream.readline(max_bytes + 1):
        number += 1
        end = line
        while len(line) > max_bytes and end and not end.endswith(b"\n"):
            end = stream.readline(_CHUNK)
        if not lines and not line.strip():
            continue
        if is_pretty is None:
            is_pretty = _parsed(line) is None and line.rstrip()[-1:] in (b"{", b"[", b",", b":")
        if not is_pretty:
            yield number, line
            continue
        # A string cannot hold a line feed, so the brackets of a line can be counted by themselves.
        bare = _JSON_STRING.sub(b"", line)
        n_open += bare.count(b"{") + bare.count(b"[") - bare.count(b"}") - bare.count(b"]")
        if not lines:
            start, n_left = number, max_bytes + 1
        lines.append(line[:n_left])
        n_left -= len(lines[-1])
        if n_open <= 0:
            yield start, b"".join(lines)
            lines, n_open = [], 0
    if lines:
        yield start, b"".join(lines).rstrip(b"\n")


def _require_otlp(line: bytes, path: Path) -> None:
    document = _parsed(line)
    if document is None:
        return
    keys = list(document) if isinstance(document, dict) else []
    if keys and not any(key.startswith("resource") for key in keys):
        shown = ", ".join(key[:40] for key in keys[:4])
        raise InputError(
            f"{path}: this is JSON but no OTLP, its keys are {shown}. Give OTLP/JSON, which starts with resourceSpans."
        )


def _parsed(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return None


def _too_large(location: str, max_bytes: int, body: bytes) -> Refused:
    reason = f"larger than {max_bytes} bytes after decompression; EVALPIPE_OBSERVE__MAX_PAYLOAD_BYTES sets the limit"
    return Refused(location, reason, body[:_KEPT_BYTES])
