"""Which traces of the lake a gate judges."""

from datetime import date

import polars as pl
import pytest

from evalpipe.errors import StateError
from evalpipe.gate.on_lake import n_arrived, traces_of
from evalpipe.gate.request import GateRequest
from evalpipe.lake.store import Lake
from evalpipe.settings import GateSettings
from evalpipe.tables import TRACES
from evalpipe_tests.evaluators.made import trace_id, traces, transcript

DAY = date(2026, 3, 2)


@pytest.fixture
def lake(tmp_path) -> Lake:
    """Of release 1.1: a closed trace, one still open without a session, one still open without its root; each of the
    first two is also a replay. Of release 1.0 one trace."""
    lake = Lake(tmp_path / "lake")
    rows = traces(*[transcript(("assistant", f"done {i}")) for i in range(4)]).with_columns(
        service_version=pl.Series(["1.1", "1.1", "1.1", "1.0"]),
        is_open=pl.Series([False, True, True, False]),
        is_complete=pl.Series([True, False, False, True]),
        defects=pl.Series([[], ["missing_session"], ["missing_root"], []], dtype=pl.List(pl.String)),
        gate_ref=pl.Series(["ci-7", "ci-7", None, None], dtype=pl.String),
    )
    lake.replace(TRACES, rows, partition=DAY)
    return lake


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ({"release": "1.1"}, [0, 1]),
        ({"gate_ref": "ci-7"}, [0, 1]),
        ({"release": "1.1", "gate_ref": "ci-7"}, [0, 1]),
        ({"release": "1.0"}, [3]),
    ],
)
def test_what_is_waited_for_is_what_is_judged(lake, named, expected):
    request = GateRequest(**named)
    found = traces_of(lake, request, GateSettings())
    assert sorted(found["trace_id"]) == [trace_id(i) for i in expected]
    assert n_arrived(lake, request) == len(expected)


def test_of_many_traces_the_newest_are_judged(lake):
    newest = traces_of(lake, GateRequest(release="1.1"), GateSettings(max_traces=1))
    assert newest.height == 1


def test_a_release_and_a_reference_that_do_not_meet_are_not_found(lake):
    request = GateRequest(release="1.0", gate_ref="ci-7")
    assert n_arrived(lake, request) == 0
    with pytest.raises(StateError, match=r"evalpipe\.gate\.id=ci-7"):
        traces_of(lake, request, GateSettings())
