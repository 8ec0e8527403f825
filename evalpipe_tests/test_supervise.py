"""Real processes: they live and end together."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evalpipe.supervise import Command, supervise

SLEEPS = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]


def exits_with(code: int) -> Command:
    return Command([sys.executable, "-c", f"raise SystemExit({code})"], {})


def test_when_one_fails_the_others_end_and_its_exit_code_is_the_answer():
    started = time.monotonic()
    assert supervise([Command(SLEEPS, {}), exits_with(3)]) == 3
    assert time.monotonic() - started < 30  # not the minute that the other would have slept


def test_a_signal_that_was_ignored_here_still_ends_the_others():
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        started = time.monotonic()
        assert supervise([Command(SLEEPS, {}), exits_with(3)]) == 3
        assert time.monotonic() - started < 20  # not until patience ends and it is killed
    finally:
        signal.signal(signal.SIGTERM, before)


def test_each_finds_its_own_environment():
    program = "import os; raise SystemExit(os.environ['EVALPIPE_TEST_VALUE'] != 'seven')"
    assert supervise([Command([sys.executable, "-c", program], {"EVALPIPE_TEST_VALUE": "seven"})]) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_of_them_and_is_no_failure(tmp_path: Path, number: int):
    says = f"import os, pathlib, time; pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid())); "
    child = [sys.executable, "-c", says + "time.sleep(60)"]
    program = f"from evalpipe.supervise import *; raise SystemExit(supervise([Command({child!r}, {{}})]))"
    process = subprocess.Popen([sys.executable, "-c", program])
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        time.sleep(0.05)
    process.send_signal(number)
    assert process.wait(30) == 0
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
