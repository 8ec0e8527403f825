"""What several rooms test with: a home after two weeks of the demo, made once and copied for those who write."""

import os
import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

# Read when dagster, litellm and dspy are first imported: no test talks to anything but loopback.
os.environ["DAGSTER_DISABLE_TELEMETRY"] = "1"
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
for name in [name for name in os.environ if name.startswith("EVALPIPE_")]:
    del os.environ[name]

from evalpipe.home import Home  # noqa: E402

MONDAY = date(2026, 3, 2)


@pytest.fixture(scope="session")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Iterator["tuple[Home, object]"]:
    """A home after two weeks of the demo, and what the demo says of it. Do not write to it."""
    from evalpipe.dagster_home import instance_of
    from evalpipe.demo.plan import DemoPlan
    from evalpipe.walkthrough import walk

    home = Home.open(tmp_path_factory.mktemp("walked") / "home")
    with instance_of(home) as instance:
        yield home, walk(home, instance, DemoPlan(start_day=MONDAY, n_weeks=2), lambda what: None)


@pytest.fixture
def home_copy(walked: "tuple[Home, object]", tmp_path: Path) -> Home:
    """A copy of the walked home, for a test that writes."""
    shutil.copytree(walked[0].root, tmp_path / "home")
    return Home.open(tmp_path / "home")


@pytest.fixture
def empty_home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "empty")
