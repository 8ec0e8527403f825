"""OTLP over gRPC: TraceService/Export into the same intake as HTTP. Messages stay bytes here; otlp/ reads them.

Source: opentelemetry-proto, docs/specification.md, "OTLP/gRPC".
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from urllib.parse import unquote

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckResponse

from evalpipe.errors import SettingsError
from evalpipe.otlp import answers
from evalpipe.otlp.journal import Received
from evalpipe.settings import IngestSettings
from evalpipe.web.intake import Intake
from evalpipe.web.problems import RequestError, UnauthorisedError
from evalpipe.web.tokens import is_authorised

SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"
DRAIN_S = 5.0  # requests in flight at the end are answered within this, or their clients send them again


class GrpcReceiver(grpc.GenericRpcHandler):
    """TraceService, without the stubs: what is not Export, gRPC itself answers with UNIMPLEMENTED."""

    def __init__(self, intake: Intake, digests: Sequence[bytes]) -> None:
        self._intake = intake
        self._digests = digests
        self._handler = grpc.unary_unary_rpc_method_handler(self._export)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        return self._handler if handler_call_details.method == f"/{SERVICE}/Export" else None

    async def _export(self, body: bytes, context: grpc.aio.ServicerContext) -> bytes:
        try:
            if not is_authorised(context.invocation_metadata() or (), self._digests):
                raise UnauthorisedError("no valid token came with the request; send authorization: Bearer TOKEN")
            self._intake.require_room()
            with self._intake.room() as hold:
                hold(len(body))
                accepted = await self._intake.accept(
                    Received(body, "protobuf", False, self._intake.clock_ns(), _source(context.peer()))
                )
        except RequestError as problem:
            await context.abort(problem.rpc_status, str(problem), _trailers(problem))
        if accepted.n_rejected:
            return answers.partial("protobuf", accepted.n_rejected, accepted.message)
        return answers.success("protobuf")


@asynccontextmanager
async def serving_grpc(intake: Intake, digests: Sequence[bytes]) -> AsyncIterator[int]:
    """Serve on the address of the settings; the port comes out. At the end, what is in flight is answered first.

    Raises SettingsError when the address cannot be had. gRPC's own health service answers probes.
    """
    ingest = intake.settings.ingest
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", intake.settings.observe.max_payload_bytes),  # inflated, too
            ("grpc.so_reuseport", 0),  # a port in use is an error, not half of the requests
            ("grpc.server_handshake_timeout_ms", int(ingest.request_timeout_s * 1000)),
        ]
    )
    probes = health.aio.HealthServicer()  # pyright: ignore[reportAttributeAccessIssue]
    health_pb2_grpc.add_HealthServicer_to_server(probes, server)
    server.add_generic_rpc_handlers((GrpcReceiver(intake, digests),))
    port = _listen(server, ingest)
    await server.start()
    await probes.set(SERVICE, HealthCheckResponse.SERVING)
    try:
        yield port
    finally:
        await probes.enter_graceful_shutdown()
        await server.stop(DRAIN_S)


def _listen(server: grpc.aio.Server, ingest: IngestSettings) -> int:
    host = f"[{ingest.host}]" if ":" in ingest.host else ingest.host
    address = f"{host}:{ingest.grpc_port}"
    try:
        if ingest.tls_certificate is None or ingest.tls_key is None:
            return server.add_insecure_port(address)
        pair = (ingest.tls_key.read_bytes(), ingest.tls_certificate.read_bytes())
        return server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
    except RuntimeError as error:
        raise SettingsError(
            f"{address} cannot be listened on: is another program using it? Stop that, or set "
            "EVALPIPE_INGEST__GRPC_PORT or EVALPIPE_INGEST__HOST to another."
        ) from error


def _trailers(problem: RequestError) -> tuple[tuple[str, bytes], ...]:
    """Where clients look for the google.rpc.Status and its RetryInfo; the SDK for Python looks for that one alone."""
    status = answers.failure("protobuf", problem.rpc_code, str(problem), retry_after_s=problem.retry_after_s)
    trailers = (("grpc-status-details-bin", status),)
    if problem.retry_after_s is None:
        return trailers
    return (*trailers, ("google.rpc.retryinfo-bin", answers.retry_info(problem.retry_after_s)))


def _source(peer: str) -> str:
    """`ipv4:10.0.0.7:51234` -> `grpc 10.0.0.7`: the port is another one each time."""
    return f"grpc {unquote(peer).partition(':')[2].rpartition(':')[0].strip('[]')}"
