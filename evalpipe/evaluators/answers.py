"""Answers of models, kept by the content of their questions, so that no question is paid for twice.

One SQLite file, for all threads of this process and for other processes; what was kept survives a kill. What counts
as the same question is said in llm.py.
"""

import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path
from threading import RLock
from typing import NamedTuple, TypeVar

from evalpipe.errors import SettingsError

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_WAIT_S = 30.0  # for another process that writes
_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY,
    text TEXT NOT NULL,
    n_input_tokens INTEGER NOT NULL,
    n_output_tokens INTEGER NOT NULL,
    cost_usd REAL
) WITHOUT ROWID
"""


class StoredAnswer(NamedTuple):
    """What a model said, and what that took. cost_usd is None when the model has no price."""

    text: str
    n_input_tokens: int
    n_output_tokens: int
    cost_usd: float | None


class AnswerCache:
    """The answers in one file; in memory alone where there is no file."""

    def __init__(self, path: Path | None) -> None:
        """A file that is not a sound database is set aside, next to it, and a new one begun.

        Raises SettingsError when no file can be made there.
        """
        self._path = path
        self._lock = RLock()
        self._connection = self._opened()

    def get(self, key: str) -> StoredAnswer | None:
        """The answer that is kept under this key."""

        def read() -> StoredAnswer | None:
            row = self._connection.execute(
                "SELECT text, n_input_tokens, n_output_tokens, cost_usd FROM answers WHERE key = ?", (key,)
            ).fetchone()
            return None if row is None else StoredAnswer(*row)

        return self._safely(read, otherwise=None)

    def keep(self, key: str, answer: StoredAnswer) -> StoredAnswer:
        """Keep an answer; the one that is kept: of two askers at once, the first one's, for both."""

        def write() -> StoredAnswer:
            with self._connection:
                self._connection.execute("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?)", (key, *answer))
            return self.get(key) or answer

        return self._safely(write, otherwise=answer)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._connection.close()

    def _safely(self, act: Callable[[], _T], *, otherwise: _T) -> _T:
        """What `act` gives. A file that turns out to be damaged is replaced; a busy or a full disk costs an answer its
        place in the cache and nothing else."""
        with self._lock:
            try:
                return act()
            except sqlite3.OperationalError as error:
                _log.warning("answers: %s cannot be used now: %s", self._path, error)
                return otherwise
            except sqlite3.DatabaseError as error:
                self._connection.close()
                self._set_aside(error)
                self._connection = self._opened()
                return otherwise

    def _opened(self) -> sqlite3.Connection:
        try:
            if self._path is not None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
            return self._connected()
        except (sqlite3.OperationalError, OSError) as error:
            raise SettingsError(
                f"answers cannot be kept in {self._path}: {error}. "
                "Set EVALPIPE_LLM__CACHE to a file that can be written"
            ) from error
        except sqlite3.DatabaseError as error:
            self._set_aside(error)
            return self._connected()

    def _connected(self) -> sqlite3.Connection:
        name = ":memory:" if self._path is None else str(self._path)
        connection = sqlite3.connect(name, timeout=_WAIT_S, check_same_thread=False)
        try:
            # Written ahead and synced at checkpoints: readers never wait, and a kill loses nothing that was kept.
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(_SCHEMA)
        except sqlite3.DatabaseError:
            connection.close()
            raise
        return connection

    def _set_aside(self, error: sqlite3.DatabaseError) -> None:
        assert self._path is not None
        n = 1
        while (aside := self._path.with_name(f"{self._path.name}.damaged-{n}")).exists():
            n += 1
        for suffix in ("", "-wal", "-shm"):
            part = self._path.with_name(self._path.name + suffix)
            if part.exists():
                part.replace(aside.with_name(aside.name + suffix))
        _log.warning("answers: %s is damaged (%s); it is now %s, and a new one is begun", self._path, error, aside)
