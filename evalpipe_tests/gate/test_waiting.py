"""How long the gate waits for traces."""

import pytest

from evalpipe.errors import StateError
from evalpipe.gate.request import GateRequest
from evalpipe.gate.waiting import Arrived, wait_for_traces


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def waited(counts: list[int], **asked) -> Arrived:
    """With these numbers of traces found, look by look; the last one stays."""
    time = Time()
    found = iter(counts)
    return wait_for_traces(
        GateRequest(release="1.4.0", **asked),
        lambda: next(found, counts[-1]),
        clock=lambda: time.now,
        sleep=time.sleep,
    )


def test_it_ends_when_the_expected_number_is_there():
    assert waited([0, 2, 3], n_expected=3, wait_s=60) == (3, 4.0)  # a look every two seconds


def test_without_a_number_it_ends_when_nothing_has_come_for_ten_seconds():
    assert waited([0, 1, 2], wait_s=60) == (2, 14.0)  # the last came after 4 s


def test_too_few_are_not_judged_as_if_they_were_all():
    with pytest.raises(StateError, match=r"^2 of 3 traces of release 1\.4\.0 arrived within 5 s"):
        waited([2], n_expected=3, wait_s=5)
    with pytest.raises(StateError, match="still arriving after 5 s, 2 so far"):
        waited([2], wait_s=5)
