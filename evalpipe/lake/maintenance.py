"""Upkeep of the Delta tables: compact small files, remove those that no kept version needs. Content never changes."""

import polars as pl
from deltalake import DeltaTable

from evalpipe.lake.store import COMPACTED, Lake
from evalpipe.tables import TABLES


def maintain(lake: Lake, retention_hours: int) -> pl.DataFrame:
    """One row a table: files before, after, and removed. Readers of versions older than the retention lose them."""
    rows = []
    for table in TABLES.values():
        if lake.version(table) is None:
            continue
        handle = DeltaTable(lake.table_uri(table), storage_options=lake.storage_options)
        n_before = len(handle.file_uris())
        handle.optimize.compact(writer_properties=COMPACTED)
        removed = handle.vacuum(
            retention_hours=retention_hours, dry_run=False, enforce_retention_duration=retention_hours >= 168
        )
        handle.create_checkpoint()
        rows.append((table.name, n_before, len(handle.file_uris()), len(removed)))
    schema = {"table": pl.String, "n_files_before": pl.Int64, "n_files_after": pl.Int64, "n_removed": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")
