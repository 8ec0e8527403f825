import gzip
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from evalpipe.errors import JournalError
from evalpipe.otlp.journal import Journal, Received
from evalpipe.redaction.redactor import Redactor
from evalpipe.settings import RedactionSettings
from evalpipe_tests.otlp.made import bare_span, request_of
from evalpipe_tests.web.running import PROTOBUF, Running, body_of, running


class FaultyJournal(Journal):
    """A journal on a disk that a test fills, stops and watches."""

    fault: Exception | None = None
    is_idle: threading.Event
    batches: list[int]

    def append(self, batch: Sequence[Received]) -> None:
        self.is_idle.wait()
        self.batches.append(len(batch))
        if self.fault is not None:
            raise self.fault
        super().append(batch)


@pytest.fixture
def faulty() -> type[FaultyJournal]:
    return type("Faulty", (FaultyJournal,), {"is_idle": threading.Event(), "batches": []})


@pytest.fixture
def receiver(tmp_path, faulty: type[FaultyJournal]) -> Iterator[Running]:
    faulty.is_idle.set()
    with running(tmp_path, journal=faulty, retry_after_s=4) as receiver:
        yield receiver


def send(receiver: Running, number: int) -> httpx.Response:
    return httpx.post(receiver.traces, content=body_of(number), headers=PROTOBUF, timeout=20)


@pytest.mark.parametrize("fault", [JournalError("the disk is full"), RuntimeError("a bug")])
def test_what_could_not_be_written_is_never_a_200_and_writing_goes_on_after(
    receiver: Running, faulty: type[FaultyJournal], fault: Exception
):
    assert send(receiver, 1).status_code == 200

    faulty.fault = fault
    for number in (2, 3):
        response = send(receiver, number)
        assert (response.status_code, response.headers["retry-after"]) == (503, "4")
        assert b"was not taken" in response.content
    readiness = httpx.get(f"{receiver.http}/readyz")
    assert (readiness.status_code, readiness.json()["journal"]) == (503, False)

    faulty.fault = None
    assert send(receiver, 4).status_code == 200
    assert httpx.get(f"{receiver.http}/readyz").status_code == 200
    assert [received.body for received in receiver.journalled()] == [body_of(1), body_of(4)]


def test_a_server_that_could_not_write_is_asked_again_after_a_while(receiver: Running, faulty: type[FaultyJournal]):
    faulty.fault = JournalError("the disk is full")
    send(receiver, 1)

    receiver.now_ns += 8 * 10**9  # twice the four seconds after which clients come again
    assert httpx.get(f"{receiver.http}/readyz").status_code == 503
    receiver.now_ns += 1
    assert httpx.get(f"{receiver.http}/readyz").status_code == 200


def test_a_refusal_that_cannot_be_written_is_still_the_clients_mistake(receiver: Running, faulty: type[FaultyJournal]):
    faulty.fault = JournalError("the disk is full")

    assert httpx.post(receiver.traces, content=b"\xff", headers=PROTOBUF).status_code == 400


def test_requests_that_arrive_while_the_disk_is_busy_share_the_next_write(
    receiver: Running, faulty: type[FaultyJournal]
):
    faulty.is_idle.clear()
    with ThreadPoolExecutor(8) as clients:
        answers = [clients.submit(send, receiver, number) for number in range(1, 9)]
        while receiver.n_waiting_bytes() < sum(len(body_of(number)) for number in range(1, 9)):
            time.sleep(0.005)
        assert not any(answer.done() for answer in answers)
        faulty.is_idle.set()

    assert [answer.result().status_code for answer in answers] == [200] * 8
    assert len(faulty.batches) <= 2  # the first goes with those that came with it, and all the others together
    assert len(receiver.journalled()) == 8
    assert receiver.n_waiting_bytes() == 0


@pytest.mark.parametrize("is_gzip", [False, True])
def test_what_must_not_reach_the_disk_is_replaced_before_it_is_written(tmp_path, is_gzip: bool):
    settings = RedactionSettings(content=frozenset({"email"}), before_landing=True)
    body = request_of(bare_span(1, name="write to ann@example.com")).SerializeToString()
    headers = PROTOBUF | ({"content-encoding": "gzip"} if is_gzip else {})
    with running(tmp_path, redactor=Redactor(settings, b"key")) as receiver:
        content = gzip.compress(body) if is_gzip else body
        assert httpx.post(receiver.traces, content=content, headers=headers).status_code == 200
        assert httpx.post(receiver.traces, content=b"bob@example.com", headers=PROTOBUF).status_code == 400
        sound, refused = receiver.journalled()
    assert (
        ExportTraceServiceRequest.FromString(sound.body)
        .resource_spans[0]
        .scope_spans[0]
        .spans[0]
        .name.startswith("write to [email:")
    )
    assert refused.body.startswith(b"[email:")


def test_a_mistake_of_ours_is_a_503_so_that_the_client_keeps_what_it_has(tmp_path, monkeypatch: pytest.MonkeyPatch):
    def broken(_: object) -> None:
        raise RuntimeError("a bug")

    with running(tmp_path) as receiver:
        monkeypatch.setattr("evalpipe.web.intake.inspect", broken)
        response = send(receiver, 1)
        assert (response.status_code, response.headers["retry-after"]) == (503, "5")
        monkeypatch.undo()
        assert send(receiver, 1).status_code == 200


def test_a_journal_is_rotated_when_it_is_large_enough(tmp_path):
    with running(tmp_path, journal_bytes=1) as receiver:
        for number in (1, 2, 3):
            assert send(receiver, number).status_code == 200
        assert len(list(receiver.folder.iterdir())) == 3


def test_a_journal_that_nobody_writes_to_is_rotated_when_it_is_old_enough(tmp_path):
    closed = threading.Event()

    class Watched(Journal):
        def rotate(self) -> None:
            super().rotate()
            closed.set()

    with running(tmp_path, journal=Watched, seal_s=60) as receiver:
        assert send(receiver, 1).status_code == 200
        receiver.now_ns += 60 * 10**9
        assert closed.wait(5)


def test_nothing_is_left_open_at_the_end(tmp_path, faulty: type[FaultyJournal]):
    """What was on its way when the receiver was told to stop is answered and durable."""
    with ThreadPoolExecutor(1) as client:
        with running(tmp_path, journal=faulty) as receiver:
            answer = client.submit(send, receiver, 1)
            while not receiver.n_waiting_bytes():
                time.sleep(0.005)
            threading.Timer(0.3, faulty.is_idle.set).start()
        assert answer.result().status_code == 200
    assert [received.body for received in receiver.journalled()] == [body_of(1)]
