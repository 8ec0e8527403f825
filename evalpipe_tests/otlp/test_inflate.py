import gzip
import io
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalpipe.otlp.inflate import OversizeError, inflate
from evalpipe.otlp.values import MalformedError
from evalpipe_tests.otlp.bomb import gzip_of_zeros

MIB = 1024 * 1024


@given(st.lists(st.binary(max_size=2_000), max_size=5))
def test_members_in_a_row_are_one_body(parts: list[bytes]):
    assert inflate(b"".join(map(gzip.compress, parts)), 10_000) == b"".join(parts)


def test_a_body_may_be_just_as_large_as_the_limit():
    body = gzip.compress(b"x" * 3 * MIB)

    assert inflate(body, 3 * MIB) == b"x" * 3 * MIB
    with pytest.raises(OversizeError, match="more than 3,145,727 bytes"):
        inflate(body, 3 * MIB - 1)


def test_what_inflates_beyond_the_limit_stops_there():
    bomb = gzip_of_zeros(256 * MIB)

    tracemalloc.start()
    with pytest.raises(OversizeError):
        inflate(bomb, 8 * MIB)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 12 * MIB


def test_many_empty_members_take_no_time():
    # Reading member by member from a copy of the rest would be quadratic: 2 MB here would take minutes.
    assert inflate(gzip.compress(b"") * 100_000, MIB) == b""


@pytest.mark.parametrize("n_lost", [1, 4, 8, 9, 20])
def test_a_body_that_is_cut_off_is_refused(n_lost: int):
    with pytest.raises(MalformedError, match="cut off"):
        inflate(gzip.compress(b"spans" * 100)[:-n_lost], MIB)


def test_something_else_after_the_end_is_refused():
    for tail in (b"x", b"{}", b"not gzip at all, certainly not"):
        with pytest.raises(MalformedError):
            inflate(gzip.compress(b"spans") + tail, MIB)


def test_a_wrong_checksum_is_refused():
    sound = gzip.compress(b"spans")
    with pytest.raises(MalformedError, match="no sound gzip"):
        inflate(sound[:-8] + bytes(4) + sound[-4:], MIB)


@given(st.binary(max_size=200))
def test_any_bytes_inflate_as_the_standard_library_does_or_are_refused(data: bytes):
    for body in (data, gzip.compress(b"start")[:10] + data):
        try:
            expected = gzip.GzipFile(fileobj=io.BytesIO(body)).read()
        except (OSError, EOFError, zlib.error):
            with pytest.raises(MalformedError):
                inflate(body, MIB)
        else:
            assert inflate(body, MIB) == expected
