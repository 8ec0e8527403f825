"""Upkeep of the Delta tables: compact small files, remove those that no kept version needs. Content never changes.

It may run beside anything that writes: a commit of its own that comes second is tried again on what it finds then.
"""

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from evalpipe.lake.store import COMPACTED, Lake
from evalpipe.tables import TABLES, Table

_MAX_ATTEMPTS = 5
_ENFORCED_HOURS = 168  # deltalake's own floor, which a shorter retention has to switch off


def maintain(lake: Lake, retention_hours: int) -> pl.DataFrame:
    """One row a table: files before, after, and removed. Readers of versions older than the retention lose them."""
    rows = [
        (table.name, *_maintained(lake, table, handle, retention_hours))
        for table in TABLES.values()
        if (handle := lake.handle(table)) is not None
    ]
    schema = {"table": pl.String, "n_files_before": pl.Int64, "n_files_after": pl.Int64, "n_removed": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _maintained(lake: Lake, table: Table, handle: DeltaTable, retention_hours: int) -> tuple[int, int, int]:
    n_before = len(handle.file_uris())
    for attempt in Retrying(
        retry=retry_if_exception_type(CommitFailedError),
        stop=stop_after_attempt(_MAX_ATTEMPTS),
        wait=wait_random_exponential(multiplier=0.1, max=5),
        reraise=True,
    ):
        with attempt:
            handle = lake.handle(table) or handle
            handle.optimize.compact(writer_properties=COMPACTED)
    handle.update_incremental()
    removed = handle.vacuum(
        retention_hours=retention_hours,
        dry_run=False,
        enforce_retention_duration=retention_hours >= _ENFORCED_HOURS,
    )
    handle.create_checkpoint()
    return n_before, len(handle.file_uris()), len(removed)
