"""The Delta tables: read, append, replace. The only Delta writer; compaction is in maintenance.py.

Every write may say what it was made from, as an integer fingerprint of its inputs. It is kept as a Delta
application transaction in the very commit that writes the data, so a table and the record of its inputs
cannot disagree; `made_from` reads it back, and staleness needs no second ledger.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, TableNotFoundError
from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from evalpipe.errors import LakeConflictError, StateError
from evalpipe.tables import Table

_WRITER = WriterProperties(
    compression="ZSTD",
    compression_level=1,  # level 3 costs a third more CPU for 12 % size
    dictionary_page_size_limit=64 * 1024,  # texts and ids outgrow any dictionary: the default, 1 MiB, saves nothing
)
COMPACTED = WriterProperties(compression="ZSTD", compression_level=3)  # written once, read often
_CONFIGURATION = {"delta.checkpointInterval": "10"}  # replaying 100 commits costs three times a checkpoint
_MAX_ATTEMPTS = 8  # pools keep two runs off one table, so a conflict is a person or a second machine: short and rare
_WHOLE = "all"  # scope of a table that is made as a whole


class Lake:
    """All tables under one folder or object-store prefix."""

    def __init__(self, uri: str | Path, storage_options: Mapping[str, str] | None = None) -> None:
        self.uri = str(uri).rstrip("/")
        self.storage_options = dict(storage_options) if storage_options else None
        self._readable: set[tuple[Table, str]] = set()  # tables with the schemas in which they were found readable

    def table_uri(self, table: Table) -> str:
        """Where the table lives."""
        return f"{self.uri}/{table.name}"

    def handle(self, table: Table) -> DeltaTable | None:
        """The table as it is now; None before its first write. Raises StateError when this version cannot read it."""
        try:
            handle = DeltaTable(self.table_uri(table), storage_options=self.storage_options)
        except TableNotFoundError:
            return None
        found = (table, handle.schema().to_json())
        if found not in self._readable:
            self._require_readable(table, handle)
            self._readable.add(found)
        return handle

    def version(self, table: Table) -> int | None:
        """The Delta version of the table now; None before its first write."""
        handle = self.handle(table)
        return None if handle is None else handle.version()

    def made_from(self, table: Table, scopes: Sequence[str] = (_WHOLE,)) -> dict[str, int | None]:
        """For each scope (a partition, or 'all'), the fingerprint of the inputs it was last made from."""
        handle = self.handle(table)
        if handle is None:
            return dict.fromkeys(scopes)
        return {scope: handle.transaction_version(f"{table.name}/{scope}") for scope in scopes}

    def scan(self, table: Table) -> pl.LazyFrame:
        """The table, lazily, with predicate and projection pushdown; an empty frame before its first write."""
        handle = self.handle(table)
        if handle is None:
            return table.empty().lazy()
        frame = pl.scan_delta(handle)
        present = set(frame.collect_schema().names())
        return frame.select(c.name if c.name in present else pl.lit(None, c.dtype).alias(c.name) for c in table.columns)

    def read(self, table: Table, *predicates: pl.Expr) -> pl.DataFrame:
        """The rows that satisfy all predicates, in memory."""
        frame = self.scan(table)
        return (frame.filter(*predicates) if predicates else frame).collect()

    def append_new(
        self,
        table: Table,
        frame: pl.DataFrame,
        *,
        scope: str = _WHOLE,
        made_from: int | None = None,
        also: Mapping[str, int] | None = None,
    ) -> int:
        """Append the rows whose key is not in the table yet (first one wins); returns how many were new.

        Reads only the key columns of the partitions that `frame` touches. A concurrent writer is noticed and
        the write repeated on what it left. `also` remembers further scopes beside `scope`. Raises LakeConflictError
        when another writer keeps getting in first.
        """
        rows = table.conform(frame).unique(table.key, keep="first", maintain_order=True)
        has_news = made_from is not None or bool(also)
        if not rows.height and not has_news:
            return 0

        def attempt(handle: DeltaTable) -> int:
            new = rows.join(self._keys(table, handle, rows), on=list(table.key), how="anti") if rows.height else rows
            if new.height or has_news:
                self._write(table, handle, new, mode="append", scope=scope, made_from=made_from, also=also)
            return new.height

        return self._retrying(table, attempt)

    def append_at(self, table: Table, frame: pl.DataFrame, version: int | None) -> int | None:
        """Append `frame` if the table still is at `version`; the version that makes.

        None, and nothing is written, when another writer got in first or the table was only made now: what was
        decided by its rows has to be decided again.
        """
        handle = self.handle(table)
        if handle is None:
            self._created(table)
            return None
        if handle.version() != version:
            return None
        try:
            self._write(table, handle, table.conform(frame), mode="append", scope=_WHOLE, made_from=None)
        except CommitFailedError:
            return None
        return handle.version()

    def replace(
        self,
        table: Table,
        frame: pl.DataFrame,
        *,
        partition: Any = None,
        made_from: int | None = None,
        also: Mapping[str, int] | None = None,
    ) -> int:
        """Make one partition (or, without `partition`, the whole table) exactly `frame`; returns its height.

        With a partition every row of `frame` must lie in it. `also` remembers further scopes.
        """
        rows = table.conform(frame)

        predicate = None if partition is None else f"{table.partition} = '{partition}'"

        def attempt(handle: DeltaTable) -> int:
            scope = _WHOLE if partition is None else str(partition)
            self._write(
                table, handle, rows, mode="overwrite", scope=scope, made_from=made_from, predicate=predicate, also=also
            )
            return rows.height

        return self._retrying(table, attempt)

    def replace_rows(
        self,
        table: Table,
        frame: pl.DataFrame,
        *,
        keys: Sequence[str],
        partitions: Sequence[Any],
        scope: str = _WHOLE,
        made_from: int | None = None,
        also: Mapping[str, int] | None = None,
    ) -> int:
        """Within `partitions`, make the rows whose first key column is one of `keys` exactly `frame`, in one commit.

        Every row of `frame` must have one of these keys and lie in one of these partitions. Rewrites only the files
        that hold such a row. Returns the height of `frame`.
        """
        rows = table.conform(frame)
        inside = f"{table.partition} IN ({_literals(partitions)}) AND {table.key[0]} IN ({_literals(keys)})"

        def attempt(handle: DeltaTable) -> int:
            remembered: dict[str, Any] = {"scope": scope, "made_from": made_from, "also": also}
            if keys:
                self._write(table, handle, rows, mode="overwrite", predicate=inside, **remembered)
            else:
                self._write(table, handle, rows, mode="append", **remembered)
            return rows.height

        return self._retrying(table, attempt)

    def _created(self, table: Table) -> DeltaTable:
        """The table without rows. Where two create it at once, one of them makes an empty commit."""
        write_deltalake(
            self.table_uri(table),
            table.empty(),
            mode="append",
            partition_by=table.partition,
            description=table.meaning,
            configuration=_CONFIGURATION,
            storage_options=self.storage_options,
        )
        return DeltaTable(self.table_uri(table), storage_options=self.storage_options)

    def _require_readable(self, table: Table, handle: DeltaTable) -> None:
        """A table that another version of evalpipe wrote opens when this one only added columns to it."""
        written = pl.scan_delta(handle).collect_schema()
        partition = [table.partition] if table.partition is not None else []
        changed = [n for n, dtype in table.schema.items() if n in written and written[n] != dtype]
        if unknown := [name for name in written if name not in table.schema]:
            problem, remedy = f"it has the columns {', '.join(unknown)}, which this version does not know", "Upgrade"
        elif changed:
            problem, remedy = f"another version of evalpipe gave {', '.join(changed)} another type", "Use that version"
        elif handle.metadata().partition_columns != partition:
            problem, remedy = "another version of evalpipe partitioned it otherwise", "Use that version"
        else:
            return
        raise StateError(
            f"table {table.name}: {problem}. {remedy}, or move {self.table_uri(table)} away: "
            "what is made from landed traces and annotation files is made again by evalpipe run"
        )

    def _keys(self, table: Table, handle: DeltaTable, rows: pl.DataFrame) -> pl.DataFrame:
        keys = pl.scan_delta(handle)
        if table.partition is not None:
            keys = keys.filter(pl.col(table.partition).is_in(rows[table.partition].unique().to_list()))
        return keys.select(table.key).collect()

    def _write(
        self,
        table: Table,
        handle: DeltaTable,
        rows: pl.DataFrame,
        *,
        mode: Any,
        scope: str,
        made_from: int | None,
        predicate: str | None = None,
        also: Mapping[str, int] | None = None,
    ) -> None:
        write_deltalake(
            handle,
            rows,
            mode=mode,
            predicate=predicate,
            schema_mode="merge",  # a table of an older version gains the new columns
            storage_options=self.storage_options,
            writer_properties=_WRITER,
            commit_properties=self._commit(table, handle, scope, made_from, also),
        )

    def _commit(
        self,
        table: Table,
        handle: DeltaTable,
        scope: str,
        made_from: int | None,
        also: Mapping[str, int] | None,
    ) -> CommitProperties:
        # The writer transaction makes an append optimistic: two writers that read the same keys cannot both commit.
        writer = f"{table.name}/writer"
        transactions = [Transaction(writer, (handle.transaction_version(writer) or 0) + 1)]
        remembered = dict(also or {}) | ({} if made_from is None else {scope: made_from})
        transactions += [Transaction(f"{table.name}/{name}", inputs) for name, inputs in remembered.items()]
        return CommitProperties(app_transactions=transactions)

    def _retrying(self, table: Table, attempt: Callable[[DeltaTable], int]) -> int:
        try:
            for turn in Retrying(
                retry=retry_if_exception_type(CommitFailedError),
                stop=stop_after_attempt(_MAX_ATTEMPTS),
                wait=wait_random_exponential(multiplier=0.05, max=2),
            ):
                with turn:
                    return attempt(self.handle(table) or self._created(table))
        except RetryError as error:
            raise LakeConflictError(
                f"table {table.name}: another writer got in first {_MAX_ATTEMPTS} times. "
                "Stop the other run (see the Dagster UI, Runs) and start this one again."
            ) from error
        raise AssertionError("Retrying either returns or raises")


def _literals(values: Sequence[Any]) -> str:
    """Values as SQL literals; a quote within one is doubled, so that untrusted text stays a value."""
    return ", ".join("'" + str(value).replace("'", "''") + "'" for value in values)
