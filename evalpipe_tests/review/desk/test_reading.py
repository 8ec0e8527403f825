import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from evalpipe.review.desk.reading import Reading, Shelf
from evalpipe.tables import TRACES
from evalpipe_tests.review.made import traces

TURNS = traces(1).select("trace_id", "start_unix_ns", "request", "response", around="trace_id")


def reading() -> Reading:
    return Reading(TRACES.empty(), TURNS)


def test_a_reading_is_made_once():
    shelf = Shelf(max_bytes=10**6)
    first = shelf.get("a", reading)
    assert shelf.get("a", lambda: pytest.fail("it is there")) is first


def test_who_comes_meanwhile_waits_for_the_same_reading():
    shelf, is_asked = Shelf(max_bytes=10**6), threading.Event()
    made = []

    def slow() -> Reading:
        is_asked.wait(5)
        made.append(reading())
        return made[0]

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.submit(shelf.get, "a", slow), pool.submit(shelf.get, "a", slow)
        is_asked.set()
        assert first.result(5) is second.result(5)
    assert len(made) == 1


def test_what_was_not_asked_for_longest_makes_room_and_the_newest_stays():
    size = reading().n_bytes
    shelf = Shelf(max_bytes=2 * size)
    old, kept = shelf.get("old", reading), shelf.get("kept", reading)
    shelf.get("kept", reading)
    shelf.get("new", reading)
    assert shelf.get("kept", reading) is kept
    assert shelf.get("old", reading) is not old
    tiny = Shelf(max_bytes=0)
    only = tiny.get("a", reading)
    assert tiny.get("a", reading) is only


def test_many_small_ones_make_room_too():
    shelf = Shelf(max_bytes=10**9)
    first = shelf.get(0, reading)
    for number in range(1, 33):  # 32 are held
        shelf.get(number, reading)
    assert shelf.get(0, reading) is not first


def test_a_reading_that_fails_is_tried_again():
    shelf = Shelf(max_bytes=10**6)

    def fails() -> Reading:
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        shelf.get("a", fails)
    assert shelf.get("a", reading).n_bytes > 0
