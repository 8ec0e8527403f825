import bz2
import gzip
import json
import lzma
import struct

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from evalpipe.errors import InputError
from evalpipe.otlp.files import files_in, read_payloads
from evalpipe.otlp.payload import Payload, Refused
from evalpipe.settings import ObserveSettings
from evalpipe_tests.otlp.made import bare_span, json_bytes, json_document, request_of

REQUESTS = [request_of(bare_span(n)) for n in (1, 2, 3)]
MESSAGES = [request.SerializeToString() for request in REQUESTS]
LINES = [json_bytes(request) for request in REQUESTS]


def prefixed(bodies: list[bytes]) -> bytes:
    return b"".join(struct.pack(">I", len(body)) + body for body in bodies)


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


def read(tmp_path, data: bytes, name: str = "traces", **limits: int) -> list[Payload | Refused]:
    path = tmp_path / name
    path.write_bytes(data)
    return list(read_payloads(path, ObserveSettings(**limits)))


def bodies(items: list[Payload | Refused]) -> list[bytes]:
    assert all(isinstance(item, Payload) for item in items), items
    return [item.body for item in items if isinstance(item, Payload)]


JSON_LINES = b"".join(line + b"\n" for line in LINES)
PRETTY = json.dumps(json_document(REQUESTS[0]), indent=2).encode()
FORMS = {
    "json lines": (JSON_LINES, LINES),
    "json lines with a byte order mark": (b"\xef\xbb\xbf" + JSON_LINES, LINES),
    "json lines after an empty line": (b"\n" + JSON_LINES, LINES),
    "json lines with carriage returns": (JSON_LINES.replace(b"\n", b"\r\n"), LINES),
    "json lines without the last line feed": (JSON_LINES[:-1], LINES),
    "one json document": (LINES[0], LINES[:1]),
    "a pretty document": (PRETTY, [PRETTY]),
    "pretty documents one after the other": (PRETTY + b"\n" + PRETTY + b"\n", [PRETTY, PRETTY]),
    "an empty document": (b"{}", [b"{}"]),
    "length-prefixed protobuf": (prefixed(MESSAGES), MESSAGES),
    "length-prefixed protobuf with an empty message": (prefixed([b"", *MESSAGES]), [b"", *MESSAGES]),
    "a bare protobuf message": (MESSAGES[0], MESSAGES[:1]),
    "the collector's zstd of json, a message at a time": (prefixed([zstd(line) for line in LINES]), LINES),
    "the collector's zstd of protobuf, a message at a time": (prefixed([zstd(m) for m in MESSAGES]), MESSAGES),
    "nothing": (b"", []),
    "white space": (b" \n\n", []),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("compression", ["plain", "gzip", "gzip members", "zstd", "zstd frames", "gzip of zstd"])
def test_every_form_is_known_by_its_content(tmp_path, form, compression):
    data, expected = FORMS[form]
    half = len(data) // 2
    packed = {
        "plain": data,
        "gzip": gzip.compress(data),
        "gzip members": gzip.compress(data[:half]) + gzip.compress(data[half:]),
        "zstd": zstd(data),
        "zstd frames": zstd(data[:half]) + zstd(data[half:]),
        "gzip of zstd": gzip.compress(zstd(data)),
    }[compression]

    assert bodies(read(tmp_path, packed, "misleading.csv")) == expected


def test_a_payload_says_where_it_stood_and_its_encoding(tmp_path):
    (first, second, _) = read(tmp_path, JSON_LINES.replace(b"\n", b"\n\n"))
    assert (first.location, first.encoding) == ("line 1", "json")
    assert second.location == "line 3"
    assert [(p.location, p.encoding) for p in read(tmp_path, prefixed(MESSAGES))] == [
        ("message 1", "protobuf"),
        ("message 2", "protobuf"),
        ("message 3", "protobuf"),
    ]


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (bz2.compress(JSON_LINES), "bzip2"),
        (lzma.compress(JSON_LINES), "xz"),
        (b"\x04\x22\x4d\x18rest", "lz4"),
        (b"PK\x03\x04rest", "zip"),
    ],
)
def test_an_unknown_compression_is_named_with_those_that_work(tmp_path, data, name):
    with pytest.raises(InputError, match=f"{name} is not supported.*gzip or zstd"):
        read(tmp_path, data)


@pytest.mark.parametrize(
    "data", [b"trace_id,name\n1,a\n", b"<html></html>", b"\x89PNG\r\n\x1a\n", b"[]", b"\xff\xff\xff\xff\x0a"]
)
def test_a_file_that_is_no_otlp_is_an_input_error_in_one_line(tmp_path, data):
    with pytest.raises(InputError, match="no OTLP") as error:
        read(tmp_path, data)
    assert "\n" not in str(error.value)


def test_other_json_is_an_input_error_that_names_its_keys(tmp_path):
    with pytest.raises(InputError, match="its keys are name, version"):
        read(tmp_path, b'{"name": "evalpipe", "version": 1}')


def test_a_missing_file_and_an_empty_folder_are_input_errors(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        list(read_payloads(tmp_path / "absent"))
    with pytest.raises(InputError, match="no such file"):
        files_in([tmp_path / "absent"])
    (tmp_path / ".hidden").write_text("")
    with pytest.raises(InputError, match="holds no files"):
        files_in([tmp_path])


def test_a_folder_is_walked_in_name_order_and_a_file_named_twice_is_read_once(tmp_path):
    for name in ("b", "a", "inner/c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    names = [path.relative_to(tmp_path).as_posix() for path in files_in([tmp_path, tmp_path / "a"])]
    assert names == ["a", "b", "inner/c"]


@pytest.mark.parametrize("signal", ["resourceMetrics", "resourceLogs", "resourceProfiles"])
def test_other_signals_are_refused_and_the_rest_goes_on(tmp_path, signal):
    line = b'{"%s":[]}\n' % signal.encode()
    refused, *rest = read(tmp_path, line + JSON_LINES)
    assert refused == Refused("line 1", f"{signal} are not traces; evalpipe reads resourceSpans", line)
    assert bodies(rest) == LINES


def test_a_cut_off_last_line_is_refused_and_what_stands_before_it_is_kept(tmp_path):
    *kept, refused = read(tmp_path, JSON_LINES + LINES[0][:40])
    assert bodies(kept) == LINES
    assert refused == Refused("line 4", "the file ends within the document", LINES[0][:40])


@pytest.mark.parametrize("n_kept", range(1, 8))
def test_a_cut_off_last_message_is_refused_and_what_stands_before_it_is_kept(tmp_path, n_kept):
    last = prefixed(MESSAGES[:1])[:n_kept]
    *kept, refused = read(tmp_path, prefixed(MESSAGES) + last)
    assert bodies(kept) == MESSAGES
    assert isinstance(refused, Refused)
    assert (refused.location, refused.content) == ("message 4", last)


def test_a_cut_off_pretty_document_is_refused_with_its_first_line(tmp_path):
    first, refused = read(tmp_path, PRETTY + b"\n" + PRETTY[:-20])
    assert first.body == PRETTY
    second = len(PRETTY.splitlines()) + 1
    assert refused == Refused(f"line {second}", "the file ends within the document", PRETTY[:-20])


def test_a_cut_off_gzip_stream_keeps_the_lines_before_the_cut(tmp_path):
    lines = [json_bytes(request_of(bare_span(n))) for n in range(1, 400)]
    packed = gzip.compress(b"\n".join(lines))
    *kept, refused = read(tmp_path, packed[: len(packed) // 2])
    assert bodies(kept) == lines[: len(kept)]
    assert kept
    assert isinstance(refused, Refused)
    assert "cut off" in refused.reason


def test_a_damaged_zstd_stream_says_so(tmp_path):
    packed = zstandard.ZstdCompressor(write_checksum=True).compress(JSON_LINES)
    items = read(tmp_path, packed[:-1] + bytes([packed[-1] ^ 1]))
    assert isinstance(items[-1], Refused)
    assert "damaged" in items[-1].reason


def test_decompression_is_bounded_by_the_setting(tmp_path):
    long = LINES[0][:-1] + b" " * 5_000 + b"}"
    big = [long, LINES[1]]
    for data in (
        gzip.compress(b"".join(line + b"\n" for line in big)),
        prefixed([zstd(line) for line in big]),
    ):
        refused, kept = read(tmp_path, data, max_payload_bytes=2_000)
        assert isinstance(refused, Refused)
        assert "EVALPIPE_OBSERVE__MAX_PAYLOAD_BYTES" in refused.reason
        assert bodies([kept]) == [LINES[1]]
    (refused,) = read(tmp_path, MESSAGES[0], max_payload_bytes=20)
    assert isinstance(refused, Refused)


def test_a_pretty_document_above_the_limit_is_refused_and_the_next_is_read(tmp_path):
    long = PRETTY.replace(b'"shop"', b'"%s"' % (b"shop" * 1_000))
    refused, kept = read(tmp_path, long + b"\n" + PRETTY, max_payload_bytes=2_000)
    assert isinstance(refused, Refused)
    assert refused.location == "line 1"
    assert bodies([kept]) == [PRETTY]


def test_a_claimed_length_above_the_limit_is_skipped_not_reserved(tmp_path):
    data = prefixed([MESSAGES[0], b"\x0a" * 3_000, MESSAGES[1]])
    first, refused, last = read(tmp_path, data, max_payload_bytes=1_000)
    assert bodies([first, last]) == MESSAGES[:2]
    assert isinstance(refused, Refused)
    assert refused.location == "message 2"


@given(st.binary(max_size=400))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_payloads_or_refused_or_an_input_error(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("any") / "file"
    path.write_bytes(data)
    try:
        items = list(read_payloads(path, ObserveSettings(max_payload_bytes=1_000)))
    except InputError:
        return
    assert all(isinstance(item, (Payload, Refused)) for item in items)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_damaged_file_is_payloads_or_refused_or_an_input_error(tmp_path_factory, data):
    form = data.draw(st.sampled_from([content for content, _ in FORMS.values() if content]))
    packed = data.draw(st.sampled_from([form, gzip.compress(form), zstd(form)]))
    position = data.draw(st.integers(0, len(packed) - 1))
    damaged = packed[:position] + data.draw(st.binary(max_size=4)) + packed[position + data.draw(st.integers(0, 4)) :]
    path = tmp_path_factory.mktemp("damaged") / "file"
    path.write_bytes(damaged)
    try:
        list(read_payloads(path))
    except InputError:
        return
