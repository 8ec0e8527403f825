import subprocess
import sys
from pathlib import Path

import pytest

from evalpipe.errors import StateError
from evalpipe.redaction.key import redaction_key


def test_a_key_is_made_once_for_its_owner_alone(tmp_path: Path):
    path = tmp_path / "home" / "redaction.key"
    key = redaction_key(path)
    assert len(key) == 32
    assert redaction_key(path) == key
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_each_home_has_its_own_key(tmp_path: Path):
    assert redaction_key(tmp_path / "a") != redaction_key(tmp_path / "b")


def test_processes_that_come_at_once_have_one_key(tmp_path: Path):
    program = (
        "import sys; from pathlib import Path; from evalpipe.redaction.key import redaction_key; "
        "sys.stdin.readline(); print(redaction_key(Path(sys.argv[1])).hex())"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "redaction.key")]
    racing = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    for process in racing:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    keys = {process.communicate(timeout=60)[0] for process in racing}
    assert len(keys) == 1
    assert keys == {redaction_key(tmp_path / "redaction.key").hex() + "\n"}


def test_a_damaged_key_is_told_and_never_replaced(tmp_path: Path):
    path = tmp_path / "redaction.key"
    path.write_bytes(b"short")
    with pytest.raises(StateError, match=r"redaction\.key holds 5 bytes"):
        redaction_key(path)
    assert path.read_bytes() == b"short"
