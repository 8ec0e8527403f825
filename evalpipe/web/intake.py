"""One request on its way to disk: inflated, looked at, appended to the journal as it came, and only then taken.

Many requests share one write: while the disk is busy with a batch, the next one gathers (group commit). What the
answer looks like over HTTP or gRPC is otlp_http.py's and otlp_grpc.py's question. Everything here belongs to one
event loop, except the journal, which belongs to one thread.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import NamedTuple, Self, TypeVar, TypeVarTuple

import polars as pl

from evalpipe.errors import JournalError
from evalpipe.otlp.inflate import OversizeError, inflate
from evalpipe.otlp.journal import Journal, Received
from evalpipe.otlp.payload import Payload, Refused
from evalpipe.otlp.redact_payload import redacted_payload
from evalpipe.otlp.values import MalformedError
from evalpipe.otlp.wire import Contents, decode, inspect
from evalpipe.redaction.redactor import Redactor
from evalpipe.settings import Settings
from evalpipe.web.problems import BadRequestError, BusyError, NotDurableError, RequestError, TooLargeError

_REFUSED_BYTES = 64 * 1024  # of a refused body that are kept: enough to see what it was
_NOT_WRITTEN = "the request could not be written to disk and was not taken; the log of this server says why"
_TICK_S = 1.0  # how often the backlog is measured, and a journal that nobody writes to asked whether it is due

_logger = logging.getLogger(__name__)

_Arguments = TypeVarTuple("_Arguments")
_Result = TypeVar("_Result")


class Accepted(NamedTuple):
    """A request that is durable. Spans that cannot be used are rejected alone; `message` says how many and why."""

    n_rejected: int = 0
    message: str = ""


class Intake:
    """The way into the journal for all receivers of a process; an async context manager, which closes the journal."""

    def __init__(
        self,
        journal: Journal,
        settings: Settings,
        *,
        redactor: Redactor = Redactor(),  # noqa: B008
        backlog_bytes: Callable[[], int],
        clock_ns: Callable[[], int],
    ) -> None:
        self.settings = settings
        self.redactor = redactor
        self.clock_ns = clock_ns
        self.n_waiting_bytes = 0  # received, or being received, and not yet durable
        self.n_backlog_bytes = 0  # durable and not yet in segments, when last measured
        self._journal = journal
        self._backlog_bytes = backlog_bytes
        self._queue: list[tuple[Received, asyncio.Future[None]]] = []
        self._wake = asyncio.Event()
        self._failed_ns: int | None = None  # when the last write failed; None when it did not
        self._is_closing = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")

    async def __aenter__(self) -> Self:
        self._flusher = asyncio.create_task(self._flush())
        self._ticker = asyncio.create_task(self._tick())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._ticker.cancel()
        self._is_closing = True
        self._wake.set()
        await self._flusher
        await self._in_thread(self._journal.close)
        self._thread.shutdown()

    @property
    def has_room(self) -> bool:
        """Whether landing keeps up well enough to take more."""
        return self.n_backlog_bytes <= self.settings.ingest.max_backlog_bytes

    @property
    def is_writing(self) -> bool:
        """Whether the last write worked, or is so long ago that the next may: clients are back by then."""
        pause_ns = 2 * self.settings.ingest.retry_after_s * 10**9
        return self._failed_ns is None or self.clock_ns() - self._failed_ns > pause_ns

    def require_room(self) -> None:
        """Raises BusyError when landing is too far behind to take more."""
        if not self.has_room:
            raise self._busy(f"{self.n_backlog_bytes:,} bytes wait to be landed")

    @contextmanager
    def room(self) -> Iterator[Callable[[int], None]]:
        """A function that counts bytes of one request as in memory until the block ends.

        It raises BusyError, and counts nothing, when with these bytes too many would wait.
        """
        limit = self.settings.ingest.max_waiting_bytes
        n_held = 0

        def hold(n_bytes: int) -> None:
            nonlocal n_held
            if self.n_waiting_bytes + n_bytes > limit:
                raise self._busy(f"{self.n_waiting_bytes:,} bytes wait to be written")
            self.n_waiting_bytes += n_bytes
            n_held += n_bytes

        try:
            yield hold
        finally:
            self.n_waiting_bytes -= n_held

    async def accept(self, received: Received) -> Accepted:
        """Returns when the request is durable. Raises a RequestError when it is not taken.

        A body that is no export request goes into the journal too, as a refusal, so that somebody can see it.
        """
        try:
            verdict = self._verdict(received)
        except RequestError:
            raise
        except Exception as error:
            # A mistake of ours: a client that is told to come back keeps what it has.
            _logger.exception("a request could not be looked at")
            raise NotDurableError(_NOT_WRITTEN, self.settings.ingest.retry_after_s) from error
        if isinstance(verdict, Refused):
            content = verdict.content or b""
            if self.redactor.is_before_landing:
                content = self.redactor.raw(content)
            refusal = received._replace(body=content, is_gzip=False, refusal=verdict.reason)
            with suppress(BusyError):  # The client's mistake stays one where it cannot be remembered.
                await self._write(refusal)
            raise BadRequestError(f"the request was refused: {verdict.reason}")
        if verdict is None:
            return Accepted()
        await self._write(self._redacted(received) if self.redactor.is_before_landing else received)
        return verdict

    def _verdict(self, received: Received) -> Accepted | Refused | None:
        """What the answer will be once the request is durable; None for a sound one without spans."""
        limit = self.settings.observe.max_payload_bytes
        body = received.body
        try:
            if received.is_gzip:
                body = inflate(body, limit)
        except OversizeError as error:
            raise TooLargeError(f"the request was refused: {error}") from error
        except MalformedError as error:
            return Refused("request", str(error), body[:_REFUSED_BYTES])
        payload = Payload(body, received.encoding, "request")
        contents = inspect(payload)
        if isinstance(contents, Refused):
            return contents._replace(content=body[:_REFUSED_BYTES])
        return self._accepted(contents, payload) if contents.n_spans else None

    def _redacted(self, received: Received) -> Received:
        """A sound request as it may be written."""
        body = inflate(received.body, self.settings.observe.max_payload_bytes) if received.is_gzip else received.body
        try:
            body = redacted_payload(body, received.encoding, self.redactor.settings, self.redactor.key)
        except MalformedError as error:
            raise BadRequestError(f"the request was refused: {error}") from error
        return received._replace(body=body, is_gzip=False)

    def _accepted(self, contents: Contents, payload: Payload) -> Accepted:
        """As decoding will find its spans: traces/spans.py refuses what lies outside the same bounds."""
        observe = self.settings.observe
        first = observe.first_start
        last = observe.last_start(datetime.fromtimestamp(self.clock_ns() // 10**9, UTC))
        n_rejected, problem = contents.n_unusable, contents.first_problem
        # Only a day beyond the bounds, or the one in which the last lies, is worth a look at every span.
        if contents.days and (min(contents.days) < first.date() or max(contents.days) >= last.date()):
            start = pl.from_epoch("start_unix_ns", time_unit="ns").dt.replace_time_zone("UTC")
            n_rejected += decode([payload]).spans.filter(~start.is_between(first, last)).height
            problem = problem or f"it does not start between {first:%Y-%m-%d} and {last:%Y-%m-%dT%H:%M:%SZ}"
        if not n_rejected:
            return Accepted()
        return Accepted(n_rejected, f"{n_rejected} of {contents.n_spans} spans rejected; the first: {problem}")

    async def _write(self, received: Received) -> None:
        """Returns when it is durable. Raises NotDurableError, or BusyError at the very end."""
        if self._is_closing:
            raise self._busy("this server is stopping")
        durable = asyncio.get_running_loop().create_future()
        self._queue.append((received, durable))
        self._wake.set()
        await durable

    async def _flush(self) -> None:
        while self._queue or not self._is_closing:
            await self._wake.wait()
            self._wake.clear()
            batch, self._queue = self._queue, []
            if batch:
                is_durable = await self._in_thread(self._append, [received for received, _ in batch])
                self._settle([durable for _, durable in batch], is_durable)
            if self._journal.is_due(self.clock_ns()):
                await self._in_thread(self._rotate)

    def _settle(self, batch: list[asyncio.Future[None]], is_durable: bool) -> None:
        self._failed_ns = None if is_durable else self.clock_ns()
        for durable in batch:
            if durable.done():  # Its client has gone.
                continue
            if is_durable:
                durable.set_result(None)
            else:
                durable.set_exception(NotDurableError(_NOT_WRITTEN, self.settings.ingest.retry_after_s))

    async def _tick(self) -> None:
        while True:
            try:
                self.n_backlog_bytes = self._backlog_bytes()
            except OSError as error:
                _logger.warning("how much waits to be landed is not known: %s", error)
            self._wake.set()
            await asyncio.sleep(_TICK_S)

    # What nobody foresaw is caught in these two as well: without the flusher every client would wait for ever.

    def _append(self, batch: list[Received]) -> bool:
        """Whether the batch is durable."""
        try:
            self._journal.append(batch)
        except JournalError as error:
            _logger.warning("%s requests were not taken: %s", len(batch), error)
            return False
        except Exception:
            _logger.exception("%s requests were not taken", len(batch))
            return False
        return True

    def _rotate(self) -> None:
        try:
            self._journal.rotate()
        except Exception:
            _logger.exception("the journal was not closed; it stays as it is")

    def _in_thread(self, work: Callable[[*_Arguments], _Result], *arguments: *_Arguments) -> asyncio.Future[_Result]:
        return asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    def _busy(self, why: str) -> BusyError:
        return BusyError(f"{why}; this request was not taken", self.settings.ingest.retry_after_s)
