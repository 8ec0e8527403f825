import shutil
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from evalpipe.home import Home
from evalpipe.otlp.payload import Payload
from evalpipe.tables import SESSIONS, SPANS, TRACES
from evalpipe_tests.bench_ingest.payloads import Traffic
from evalpipe_tests.faults.dying import NOW
from evalpipe_tests.faults.hammer import DAY

N_SPANS = 140
TABLES = (SPANS, TRACES, SESSIONS)


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home where 12 traces have landed in two segments, one trace in both, and nothing is materialised."""
    root = tmp_path_factory.mktemp("landed") / "home"
    landing = Home.open(root).landing
    for number, body in enumerate(Traffic(N_SPANS, DAY, body_spans=70).bodies()):
        landing.land([Payload(body, "protobuf", f"request {number}")], source="test", now=NOW)
    return root


@pytest.fixture(scope="module")
def undisturbed(landed: Path, tmp_path_factory: pytest.TempPathFactory) -> list[pl.DataFrame]:
    root = copied(landed, tmp_path_factory.mktemp("undisturbed"))
    assert materialising(root).wait() == 0
    return tables(root)


def test_a_materialisation_killed_after_any_commit_ends_as_an_undisturbed_one(
    landed: Path, undisturbed: list[pl.DataFrame], tmp_path: Path
):
    n_kills = 0
    while materialising(root := copied(landed, tmp_path / str(n_kills)), dying_after=n_kills + 1).wait() != 0:
        n_kills += 1
        assert materialising(root).wait() == 0
        for found, expected in zip(tables(root), undisturbed, strict=True):
            assert_frame_equal(found, expected)

    assert n_kills >= 4  # the segments make two commits of spans; traces and sessions have theirs


def test_one_that_is_killed_says_so(landed: Path, tmp_path: Path):
    process = materialising(copied(landed, tmp_path), dying_after=1)

    assert process.wait() == -signal.SIGKILL


def test_two_materialisations_of_one_day_at_once_both_end_and_write_no_span_twice(
    landed: Path, undisturbed: list[pl.DataFrame], tmp_path: Path
):
    root = copied(landed, tmp_path)
    both = [materialising(root), materialising(root)]

    assert [process.wait() for process in both] == [0, 0]
    for found, expected in zip(tables(root), undisturbed, strict=True):
        assert_frame_equal(found, expected)


def materialising(root: Path, *, dying_after: int = 0) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "evalpipe_tests.faults.dying", str(root), str(dying_after)])


def copied(root: Path, folder: Path) -> Path:
    return shutil.copytree(root, folder / "home")


def tables(root: Path) -> list[pl.DataFrame]:
    lake = Home.open(root).lake
    return [lake.read(table).sort(table.key) for table in TABLES]
