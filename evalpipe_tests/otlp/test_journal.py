import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalpipe.errors import JournalError
from evalpipe.otlp import journal as journal_module
from evalpipe.otlp.journal import Journal, Received, lock_if_free, read_frames, read_journal
from evalpipe.otlp.payload import Refused
from evalpipe.settings import IngestSettings

SETTINGS = IngestSettings(journal_bytes=1_000, seal_s=10.0)
NOON_NS = 1_771_243_200 * 10**9
ON_DISK = settings(deadline=None, max_examples=60)  # a flush takes as long as the disk likes


def received(number: int, n_bytes: int = 20) -> Received:
    return Received(f"{number:0{n_bytes}d}".encode(), "protobuf", False, NOON_NS + number, "http 127.0.0.1")


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def read_all(folder: Path) -> list[Received | Refused]:
    return [item for path in files(folder) for item in read_journal(path)]


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "journals"


@pytest.fixture
def journal(folder) -> Journal:
    return Journal(folder, SETTINGS)


requests = st.builds(
    Received,
    body=st.binary(max_size=300),
    encoding=st.sampled_from(["json", "protobuf"]),
    is_gzip=st.booleans(),
    received_ns=st.integers(0, 2**64 - 1),
    source=st.text(max_size=30),
    refusal=st.none() | st.text(max_size=30),
)


@given(st.lists(st.lists(requests, max_size=4), max_size=4))
@ON_DISK
def test_requests_come_back_as_they_were_received(tmp_path_factory, batches):
    folder = tmp_path_factory.mktemp("journals")
    journal = Journal(folder, SETTINGS)
    for batch in batches:
        journal.append(batch)
    journal.close()
    assert read_all(folder) == [item for batch in batches for item in batch]


def test_a_batch_of_more_parts_than_one_write_takes_is_written_whole(journal, folder):
    sent = [received(n) for n in range(1, 1_500)]  # two parts each, and 1,024 go into one writev
    journal.append(sent)
    assert read_all(folder) == sent


def test_a_journal_exists_only_while_it_has_requests(journal, folder):
    assert (files(folder), journal.n_bytes, journal.opened_ns) == ([], 0, None)
    journal.append([])
    journal.rotate()
    assert files(folder) == []

    journal.append([received(1)])
    (path,) = files(folder)
    assert (journal.n_bytes, journal.opened_ns) == (path.stat().st_size, NOON_NS + 1)
    journal.close()
    journal.close()
    assert journal.n_bytes == 0


def test_a_journal_is_due_at_its_size_or_its_age(journal):
    assert not journal.is_due(NOON_NS)
    journal.append([received(0, n_bytes=100)])
    assert not journal.is_due(NOON_NS + 9 * 10**9)
    assert journal.is_due(NOON_NS + 10 * 10**9)
    journal.append([received(1, n_bytes=900)])
    assert journal.is_due(NOON_NS)


def test_rotation_begins_a_new_file_and_files_are_in_order_of_time(journal, folder):
    for number in range(3):
        journal.append([received(number)])
        journal.rotate()
    assert len(files(folder)) == 3
    assert read_all(folder) == [received(number) for number in range(3)]


def test_another_process_knows_whether_the_writer_lives(journal, folder):
    journal.append([received(1)])
    (path,) = files(folder)
    with path.open("rb") as file:
        assert not lock_if_free(file)
    journal.close()
    with path.open("rb") as file:
        assert lock_if_free(file)


@pytest.mark.parametrize("is_still_locked", [True, False])
def test_a_writer_does_not_use_a_file_that_is_taken_before_its_lock(folder, monkeypatch, is_still_locked):
    """Between its creation and its lock a file looks as if its writer had died."""
    journal = Journal(folder, SETTINGS)
    real, taken = journal_module._lock, []

    def beaten(descriptor: int) -> bool:
        if not taken:
            (path,) = files(folder)
            taken.append(path.open("rb"))
            assert real(taken[0].fileno())
            path.unlink()
            if not is_still_locked:
                taken[0].close()
        return real(descriptor)

    monkeypatch.setattr(journal_module, "_lock", beaten)
    journal.append([received(1)])

    assert read_all(folder) == [received(1)]
    taken[0].close()


def test_reading_goes_on_where_it_stopped(journal, folder):
    journal.append([received(1), received(2)])
    with files(folder)[0].open("rb") as file:
        *_, (_, position) = read_frames(file)
        assert list(read_frames(file, position)) == []
        journal.append([received(3)])
        assert [item for item, _ in read_frames(file, position)] == [received(3)]


# Disks that fail.


def fail(monkeypatch, call: str, *, n_bytes_first: int = 0, code: int = errno.ENOSPC) -> None:
    """A call of the os module that fails; of a write, so many bytes arrive before."""

    def failing(descriptor, *arguments):
        if n_bytes_first:
            os.write(descriptor, b"".join(arguments[0])[:n_bytes_first])
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, call, failing)


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize(
    ("call", "n_bytes_first"),
    [("writev", 0), ("writev", 10), ("writev", 60), ("writev", 100), ("fdatasync", 0), ("fsync", 0)],
)
def test_a_batch_that_did_not_become_durable_is_not_there(folder, monkeypatch, call, n_bytes_first, is_first):
    journal = Journal(folder, SETTINGS)
    durable = [] if is_first else [received(1), received(2)]
    journal.append(durable)
    if call == "fsync" and not is_first:
        journal.rotate()  # only a new file syncs the folder
    with monkeypatch.context() as patch:
        fail(patch, call, n_bytes_first=n_bytes_first)
        for _ in range(2):
            with pytest.raises(JournalError, match=r"No space left.*clients send them again"):
                journal.append([received(3), received(4)])
            assert read_all(folder) == durable

    journal.append([received(3)])  # there is room again

    assert read_all(folder) == [*durable, received(3)]


def test_what_a_failed_batch_leaves_and_cannot_be_cut_off_is_not_read(folder, monkeypatch):
    journal = Journal(folder, SETTINGS)
    journal.append([received(1)])
    with monkeypatch.context() as patch:
        fail(patch, "writev", n_bytes_first=40)
        fail(patch, "ftruncate", code=errno.EIO)
        with pytest.raises(JournalError):
            journal.append([received(2)])
    journal.append([received(3)])
    assert read_all(folder) == [received(1), received(3)]


def test_a_file_size_limit_of_the_system_is_a_journal_error(folder):
    """The real thing, in a process of its own: EFBIG after part of the batch."""
    program = f"""
import resource, signal
from pathlib import Path
from evalpipe.errors import JournalError
from evalpipe_tests.otlp.test_journal import SETTINGS, Journal, received
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
journal = Journal(Path({str(folder)!r}), SETTINGS)
journal.append([received(1, 1_000)])
resource.setrlimit(resource.RLIMIT_FSIZE, (2_500, resource.RLIM_INFINITY))
try:
    journal.append([received(2, 1_000), received(3, 1_000)])
except JournalError:
    journal.append([received(4, 1_000)])
    print("went on")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "went on\n"
    assert read_all(folder) == [received(1, 1_000), received(4, 1_000)]


# Machines that die.


def test_everything_acknowledged_before_a_kill_is_read_back(tmp_path):
    program = """
import sys
from pathlib import Path
from evalpipe.otlp.journal import Journal, Received
from evalpipe.settings import IngestSettings
journal = Journal(Path(sys.argv[1]), IngestSettings())
number = 0
while True:
    journal.append([Received(b"%020d" % n, "protobuf", False, n, "kill") for n in (number, number + 1)])
    number += 2
    print(number, flush=True)
    if number % 20 == 0:
        journal.rotate()
"""
    for turn in range(5):
        folder = tmp_path / str(turn)
        writer = subprocess.Popen([sys.executable, "-c", program, str(folder)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        while int(writer.stdout.readline()) < 10 + 22 * turn:
            pass
        time.sleep(0.002 * turn)
        writer.send_signal(signal.SIGKILL)
        told, _ = writer.communicate()
        n_acknowledged = int(told.split()[-1]) if told.split() else 0

        found = read_all(folder)

        assert len(found) >= n_acknowledged
        assert [int(item.body) for item in found if isinstance(item, Received)] == list(range(len(found)))


def test_a_journal_cut_anywhere_gives_every_whole_frame(journal, folder):
    sent = [received(n) for n in range(1, 4)]
    journal.append(sent)
    (path,) = files(folder)
    data = path.read_bytes()
    frame = len(data) // 3
    for n_kept in range(len(data)):
        path.write_bytes(data[:n_kept])
        assert list(read_journal(path)) == sent[: n_kept // frame]


def test_space_that_was_never_written_to_is_the_end(journal, folder):
    journal.append([received(1)])
    (path,) = files(folder)
    with path.open("ab") as file:
        file.write(b"\0" * 5_000)
    assert list(read_journal(path)) == [received(1)]


# Damage.


@pytest.mark.parametrize("at", ["marker", "length", "checksum", "source", "body"])
def test_a_damaged_frame_is_refused_and_the_rest_goes_on(journal, folder, at):
    sent = [received(n) for n in range(1, 4)]
    journal.append(sent)
    (path,) = files(folder)
    data = bytearray(path.read_bytes())
    frame = len(data) // 3
    offset = {"marker": 0, "length": 5, "checksum": 24, "source": 33, "body": frame - 1}[at]
    data[frame + offset] ^= 4
    path.write_bytes(data)

    first, refused, last = read_journal(path)

    assert (first, last) == (sent[0], sent[2])
    assert isinstance(refused, Refused)
    assert "damaged" in refused.reason
    assert (refused.content or b"").endswith(bytes(data[frame + 40 : 2 * frame]))


def test_a_marker_across_two_reads_is_found(journal, folder, monkeypatch):
    journal.append([received(1), received(2)])
    (path,) = files(folder)
    data = path.read_bytes()
    frame = len(data) // 2
    path.write_bytes(b"X" + data[1:])
    for chunk in range(frame - 4, frame + 6):
        monkeypatch.setattr(journal_module, "_CHUNK", chunk)
        assert [type(item) for item in read_journal(path)] == [Refused, Received]


@given(junk=st.binary(max_size=200), batch=st.lists(requests, min_size=1, max_size=4), data=st.data())
@ON_DISK
def test_any_bytes_in_or_after_a_journal_never_make_reading_fail(tmp_path_factory, junk, batch, data):
    folder = tmp_path_factory.mktemp("journals")
    journal = Journal(folder, SETTINGS)
    journal.append(batch)
    (path,) = files(folder)
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole)))
    n_lost = data.draw(st.integers(0, 60))
    path.write_bytes(whole[:at] + junk + whole[at + n_lost :])

    for item in read_journal(path):
        assert isinstance(item, Refused) or item in batch
