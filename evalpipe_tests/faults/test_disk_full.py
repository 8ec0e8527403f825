import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from evalpipe_tests.faults.accounted import account_of
from evalpipe_tests.faults.hammer import Hammer
from evalpipe_tests.faults.receiver import Receiver

DISK_BYTES = 48 * 1024 * 1024
LEFT_BYTES = 2 * 1024 * 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A home whose landing is on a disk of its own, which is very small."""
    landing = tmp_path / "home" / "landing"
    landing.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "none", str(landing)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a small disk needs root and the right to mount")
    yield tmp_path / "home"
    subprocess.run(["umount", "--lazy", str(landing)], check=True)


def test_a_full_disk_makes_clients_wait_and_loses_nothing(small_disk: Path, tmp_path: Path):
    ballast = small_disk / "landing" / "ballast"
    ballast.write_bytes(bytes(DISK_BYTES - LEFT_BYTES))
    log = tmp_path / "acknowledged.txt"

    with Receiver(small_disk) as receiver:
        with Hammer(receiver.http_port, log, n_clients=4) as hammer:
            wait_until(lambda: 503 in hammer.answers)
            time.sleep(1)  # nothing is freed meanwhile, and the receiver lives
            n_before = hammer.n_acknowledged
            ballast.unlink()
            wait_until(lambda: hammer.n_acknowledged >= n_before + 20)
        assert hammer.answers <= {200, 503}
        assert receiver.stop() == 0

    account = account_of(small_disk, log)
    assert account.n_acknowledged >= 20 * 12  # requests of one trace of 12 spans
    assert (account.n_lost, account.n_doubled) == (0, 0)


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline, "it did not come to that within a minute"
        time.sleep(0.02)
