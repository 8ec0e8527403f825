"""A small table held in memory as it is now, and rows added to it on the strength of what it says.

Large tables are not held. How a table is read and written is in store.py.
"""

from collections.abc import Callable
from threading import RLock
from typing import NamedTuple

import polars as pl

from evalpipe.errors import LakeConflictError
from evalpipe.lake.store import Lake
from evalpipe.tables import Table

_MAX_ATTEMPTS = 8  # as of every other write to the lake


class Held(NamedTuple):
    """Rows of a table, at least as new as `version` (None: it was never written)."""

    version: int | None
    rows: pl.DataFrame


class Followed:
    """The rows of `table` that satisfy `predicates`; read again when somebody else has written. Thread-safe."""

    def __init__(self, lake: Lake, table: Table, *predicates: pl.Expr) -> None:
        self._lake = lake
        self._table = table
        self._predicates = predicates
        self._lock = RLock()
        self._handle = lake.handle(table)
        self._held = Held(None, table.empty())

    def now(self) -> Held:
        """The table as it is now. Only news is looked for: that takes a millisecond, opening the table five."""
        with self._lock:
            if self._handle is None:
                self._handle = self._lake.handle(self._table)
            else:
                self._handle.update_incremental()
            version = None if self._handle is None else self._handle.version()
            if version != self._held.version:
                self._held = Held(version, self._lake.read(self._table, *self._predicates))
            return self._held

    def add(self, rows_of: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
        """Append `rows_of(the rows now)`, durable on return. It is called again when another writer got in between.

        Nothing is written for an empty frame, or when it raises. Raises LakeConflictError when others never stop.
        """
        with self._lock:
            for _ in range(_MAX_ATTEMPTS):
                version, rows = self.now()
                new = rows_of(rows)
                if not new.height:
                    return
                made = self._lake.append_at(self._table, new, version)
                if made is not None:
                    if made == (version or 0) + 1:  # so nobody else's rows are in it
                        self._held = Held(made, pl.concat([rows, new]))
                    return
        raise LakeConflictError(
            f"table {self._table.name}: another writer got in first {_MAX_ATTEMPTS} times. Try again in a moment."
        )
