"""What several rooms test with: a home after two weeks of the demo, made once and copied for those who write."""

import fcntl
import os
import pickle
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

# Read when dagster, litellm and dspy are first imported: no test talks to anything but loopback.
os.environ["DAGSTER_DISABLE_TELEMETRY"] = "1"
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
for name in [name for name in os.environ if name.startswith("EVALPIPE_")]:
    del os.environ[name]

from evalpipe.home import Home  # noqa: E402

if TYPE_CHECKING:
    from evalpipe.walkthrough import Walked

# How long an example takes says something of the machine and what else it does, and nothing of evalpipe.
hypothesis_settings.register_profile("evalpipe", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("evalpipe")

MONDAY = date(2026, 3, 2)


@pytest.fixture(scope="session")
def walked(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator["tuple[Home, Walked]"]:
    """A home after two weeks of the demo, and what the demo says of it. Do not write to it.

    Of several workers the first one makes it, for all; each has a copy, because Dagster writes to a home that it reads.
    """
    from evalpipe.dagster_home import instance_of

    own = tmp_path_factory.getbasetemp()
    with _locked(own / "walked" if worker_id == "master" else own.parent / "walked") as made:
        if not (made / "said").exists():
            said = _walk(Home.open(made / "home"))
            (made / "said").write_bytes(pickle.dumps(said))
    home = Home.open(shutil.copytree(made / "home", tmp_path_factory.mktemp("walked") / "home"))
    with instance_of(home):
        yield home, pickle.loads((made / "said").read_bytes())  # noqa: S301  # written by this run


@contextmanager
def _locked(folder: Path) -> Iterator[Path]:
    """The folder, made if need be, with nobody else in it."""
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


def _walk(home: Home) -> "Walked":
    from evalpipe.dagster_home import instance_of
    from evalpipe.demo.plan import DemoPlan
    from evalpipe.walkthrough import walk

    with instance_of(home) as instance:
        return walk(home, instance, DemoPlan(start_day=MONDAY, n_weeks=2), lambda what: None)


@pytest.fixture
def home_copy(walked: "tuple[Home, Walked]", tmp_path: Path) -> Home:
    """A copy of the walked home, for a test that writes."""
    shutil.copytree(walked[0].root, tmp_path / "home")
    return Home.open(tmp_path / "home")


@pytest.fixture
def empty_home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "empty")
