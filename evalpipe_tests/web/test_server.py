import asyncio
import os
import resource
import signal
import socket
import ssl
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import grpc
import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from evalpipe.errors import SettingsError
from evalpipe.home import Home
from evalpipe.settings import IngestSettings, Settings
from evalpipe.tables import REJECTIONS
from evalpipe.web.server import receive
from evalpipe_tests.web.running import PROTOBUF, body_of, request, running
from evalpipe_tests.web.serving import Serving, becomes_true, serving


def n_landed(home: Path) -> int:
    """Spans in segments."""
    return Home(Settings(home=home)).landing.ledger()["n_spans"].sum()


def n_waiting(home: Path) -> int:
    return len(list((home / "landing" / "journals").iterdir()))


def send(server: Serving, *numbers: int) -> int:
    return httpx.post(server.traces, content=body_of(*numbers), headers=PROTOBUF, timeout=20).status_code


def test_what_both_receivers_take_is_in_segments_soon_and_all_of_it_at_the_end(tmp_path):
    with serving(tmp_path) as server:
        assert send(server, 1, 2) == 200
        assert becomes_true(lambda: n_landed(tmp_path) == 2)
        with grpc.insecure_channel(server.grpc) as channel:
            TraceServiceStub(channel).Export(request(3), timeout=20)
        assert send(server, 4) == 200

        assert server.end() == 0

    assert n_landed(tmp_path) == 4
    assert n_waiting(tmp_path) == 0


def test_a_refused_body_is_in_the_rejections(tmp_path):
    with serving(tmp_path) as server:
        assert httpx.post(server.traces, content=b"\xff no spans", headers=PROTOBUF).status_code == 400
        assert server.end() == 0

    (rejection,) = Home(Settings(home=tmp_path)).lake.read(REJECTIONS).to_dicts()
    assert "no protobuf" in rejection["reason"]
    assert rejection["source"] == "http 127.0.0.1"


def test_a_request_in_flight_is_answered_before_the_end(tmp_path):
    body = body_of(1)
    with serving(tmp_path) as server:
        host, port = server.http.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as half:
            head = b"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n"
            half.sendall(head + b"content-length: %d\r\n\r\n" % len(body) + body[:10])
            assert httpx.get(f"{server.http}/healthz").status_code == 200
            server.process.send_signal(signal.SIGTERM)
            assert becomes_true(lambda: is_refused(host, int(port)))  # it listens no longer
            half.sendall(body[10:])

            assert half.recv(65_536).startswith(b"HTTP/1.1 200 ")
        assert server.process.wait(60) == 0
    assert n_landed(tmp_path) == 1


def is_refused(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return True
    return False


def test_the_absorber_is_started_again_when_it_dies_and_ends_with_the_server(tmp_path):
    with serving(tmp_path) as server:
        first = server.absorber_pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        assert becomes_true(lambda: server.absorber_pid not in (None, first))
        assert becomes_true(lambda: httpx.get(f"{server.http}/readyz").status_code == 200)
        second = server.absorber_pid
        assert send(server, 1) == 200
        assert becomes_true(lambda: n_landed(tmp_path) == 1)
        assert send(server, 2) == 200

        server.process.kill()

        assert becomes_true(lambda: not Path(f"/proc/{second}").exists())
    Home(Settings(home=tmp_path)).absorb(datetime.now(UTC))
    assert n_landed(tmp_path) == 2


def refused(home: Path, **ingest: object) -> str:
    settings = Settings(home=home, ingest=IngestSettings.model_validate({"http_port": 0, "grpc_port": 0} | ingest))
    with pytest.raises(SettingsError) as raised:
        asyncio.run(receive(Home(settings), asyncio.Event()))
    return str(raised.value)


def test_it_does_not_start_where_anyone_could_write(tmp_path):
    assert "EVALPIPE_INGEST_TOKENS" in refused(tmp_path, host="0.0.0.0")
    assert not (tmp_path / "landing").exists()


@pytest.mark.parametrize("name", ["http_port", "grpc_port"])
def test_a_port_in_use_is_named(tmp_path, name: str):
    with socket.create_server(("127.0.0.1", 0)) as other:
        message = refused(tmp_path, **{name: other.getsockname()[1]})
    assert f"EVALPIPE_INGEST__{name.upper()}" in message


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 signed by itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    chain, key = folder / "chain.pem", folder / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    made = ["-newkey", "rsa:2048", "-nodes", "-days", "1", "-keyout", str(key), "-out", str(chain)]
    subprocess.run(["openssl", "req", "-x509", *made, *subject], check=True, capture_output=True)
    return chain, key


def test_both_receivers_speak_tls_with_one_certificate(tmp_path, certificate: tuple[Path, Path]):
    chain, key = certificate
    trusted = ssl.create_default_context(cafile=str(chain))
    with running(tmp_path, tls_certificate=chain, tls_key=key) as receiver:
        assert receiver.http.startswith("https://")
        assert httpx.post(receiver.traces, content=body_of(1), headers=PROTOBUF, verify=trusted).status_code == 200
        credentials = grpc.ssl_channel_credentials(chain.read_bytes())
        with grpc.secure_channel(receiver.grpc, credentials) as channel:
            TraceServiceStub(channel).Export(request(2), timeout=20)

        assert [received.body for received in receiver.journalled()] == [body_of(1), body_of(2)]


def test_the_process_may_open_as_many_files_as_it_takes_clients(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, before[1]))
    try:
        with running(tmp_path, max_connections=1_000):
            assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 1_256  # and 256 for all else
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
