"""Waiting for the traces of a release, with a clock that the test moves."""

import pytest

from evalpipe.errors import StateError
from evalpipe.gate.request import GateRequest
from evalpipe.gate.waiting import wait_for_traces


class Clock:
    """Seconds that pass only by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def waited(counts, **request):
    """What comes of looking, when so many traces are there each time."""
    clock, looks = Clock(), iter(counts)
    return wait_for_traces(GateRequest(release="1.1", **request), lambda: next(looks), clock=clock, sleep=clock.sleep)


def test_it_ends_when_the_expected_number_is_there():
    assert waited([0, 3, 7, 10], n_expected=10, wait_s=60) == (10, 6.0)


def test_too_few_in_time_decide_nothing_and_say_how_many_came():
    with pytest.raises(StateError, match=r"3 of 10 traces of release 1\.1 arrived within 4 s"):
        waited([0, 2, 3], n_expected=10, wait_s=4)


def test_without_a_number_it_waits_until_no_more_come():
    found = waited([0, 4, *[5] * 20], wait_s=60)
    assert found == (5, 14.0)  # they grew last at 4 s, and ten quiet seconds are enough


def test_one_look_is_made_without_waiting():
    assert waited([2], wait_s=0) == (2, 0.0)
    with pytest.raises(StateError, match="0 traces"):
        waited([0], wait_s=0)
