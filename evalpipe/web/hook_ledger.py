"""What the webhook was asked and what it answered, in one SQLite file: durable before anybody is told of it.

It knows requests, their keys and their seals, not what they mean. One process uses it at a time, from any thread.
"""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from threading import RLock
from typing import Literal, NamedTuple

Status = Literal["queued", "done", "refused", "failed"]
"""queued: not answered yet. refused: there is no answer to this question. failed: nobody knows, through our fault."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS requests (
    id TEXT PRIMARY KEY, by TEXT NOT NULL, key TEXT, asked TEXT NOT NULL, question TEXT NOT NULL,
    received_at REAL NOT NULL, status TEXT NOT NULL, n_deaths INTEGER NOT NULL DEFAULT 0, finished_at REAL,
    run_id TEXT, gate_id TEXT, exit_code INTEGER, decision TEXT, error TEXT, has_to_tell INTEGER NOT NULL, told TEXT,
    UNIQUE (by, key)
);
CREATE TABLE IF NOT EXISTS seals (
    by TEXT NOT NULL, seal TEXT NOT NULL, request_id TEXT NOT NULL, PRIMARY KEY (by, seal)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS unfinished ON requests (received_at) WHERE status = 'queued';
"""


class ReplayedError(Exception):
    """The signature was seen before, and the request does not say that it is the same one again."""


class OtherQuestionError(Exception):
    """The key was used before, for another question."""


class Entry(NamedTuple):
    """A request that was taken."""

    id: str
    by: str  # name of the secret
    key: str | None  # what the client calls it; None: it has no name
    asked: str  # digest of the question
    question: str  # JSON, without the cases
    received_at: float  # Unix seconds
    has_to_tell: bool = False  # its decision has to be told elsewhere too
    status: Status = "queued"
    n_deaths: int = 0  # of workers, while they were at it
    finished_at: float | None = None
    run_id: str | None = None  # of Dagster
    gate_id: str | None = None
    exit_code: int | None = None
    decision: str | None = None  # JSON
    error: str | None = None  # in words, of what was refused or failed
    told: str | None = None  # in words, what came of telling; None: nothing yet


class Finished(NamedTuple):
    """How a request ended."""

    status: Status
    run_id: str | None = None
    gate_id: str | None = None
    exit_code: int | None = None
    decision: str | None = None
    error: str | None = None


class Ledger:
    """The file at `path`, made if need be."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = RLock()
        self._file = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        # FULL: a commit is on the disk when it returns. WAL alone would lose the last ones with the power.
        self._file.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; {_SCHEMA}")

    def close(self) -> None:
        with self._lock:
            self._file.close()

    def known(self, *, by: str, seal: str, key: str | None, asked: str) -> Entry | None:
        """The request that this one repeats; None for a new one. Raises ReplayedError and OtherQuestionError."""
        with self._lock:
            first = None if key is None else self._one("by = ? AND key = ?", by, key)
            if first is not None:
                if first.asked != asked:
                    raise OtherQuestionError
                # Stripped of its key, this request would be a new one: so its seal is remembered too.
                self._file.execute("INSERT OR IGNORE INTO seals VALUES (?, ?, ?)", (by, seal, first.id))
                return first
            if self._file.execute("SELECT 1 FROM seals WHERE by = ? AND seal = ?", (by, seal)).fetchone():
                raise ReplayedError
            return None

    def add(self, entry: Entry, *, seal: str) -> None:
        """Durable on return. Raises ReplayedError when another process took it just now."""
        with self._lock:
            self._file.execute("BEGIN IMMEDIATE")
            try:
                marks = ", ".join("?" * len(entry))
                self._file.execute(f"INSERT INTO requests ({', '.join(Entry._fields)}) VALUES ({marks})", entry)
                self._file.execute("INSERT INTO seals VALUES (?, ?, ?)", (entry.by, seal, entry.id))
                self._file.execute("COMMIT")
            except BaseException as error:
                self._file.execute("ROLLBACK")
                if isinstance(error, sqlite3.IntegrityError):
                    raise ReplayedError from error
                raise

    def finish(self, request_id: str, finished: Finished, *, now: float) -> None:
        """Durable on return; what is finished stays as it is."""
        names = ", ".join(f"{name} = ?" for name in Finished._fields)
        with self._lock:
            self._file.execute(
                f"UPDATE requests SET {names}, finished_at = ? WHERE id = ? AND status = 'queued'",
                (*finished, now, request_id),
            )

    def count_death(self, request_id: str) -> int:
        """One more worker died of this request; how many that makes."""
        with self._lock:
            self._file.execute("UPDATE requests SET n_deaths = n_deaths + 1 WHERE id = ?", (request_id,))
            entry = self.get(request_id)
        return 0 if entry is None else entry.n_deaths

    def get(self, request_id: str) -> Entry | None:
        with self._lock:
            return self._one("id = ?", request_id)

    def unfinished(self) -> list[Entry]:
        """The oldest first."""
        with self._lock:
            return list(self._all("status = 'queued' ORDER BY received_at, id"))

    def note_told(self, request_id: str, words: str) -> None:
        """Durable on return."""
        with self._lock:
            self._file.execute("UPDATE requests SET told = ? WHERE id = ?", (words, request_id))

    def untold(self) -> list[Entry]:
        """What is decided and still has to be told, the oldest first."""
        with self._lock:
            return list(self._all("status = 'done' AND has_to_tell AND told IS NULL ORDER BY finished_at, id"))

    def forget(self, *, before: float) -> None:
        """Remove what was received before and is finished."""
        with self._lock, closing(self._file.cursor()) as cursor:
            cursor.execute("BEGIN IMMEDIATE")
            old = "received_at < ? AND status != 'queued'"
            cursor.execute(f"DELETE FROM seals WHERE request_id IN (SELECT id FROM requests WHERE {old})", (before,))
            cursor.execute(f"DELETE FROM requests WHERE {old}", (before,))
            cursor.execute("COMMIT")

    def _one(self, condition: str, *values: object) -> Entry | None:
        return next(iter(self._all(condition, *values)), None)

    def _all(self, condition: str, *values: object) -> Iterable[Entry]:
        rows = self._file.execute(f"SELECT {', '.join(Entry._fields)} FROM requests WHERE {condition}", values)
        return [Entry(*row) for row in rows.fetchall()]
