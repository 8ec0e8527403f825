"""Upkeep: the one asset that changes files and no content."""

import dagster as dg

from evalpipe.defs.resources import HomeResource
from evalpipe.defs.retries import asset
from evalpipe.defs.spec import OWNERS
from evalpipe.defs.tell import preview
from evalpipe.upkeep import upkeep


@asset(
    description="Small files of every table compacted, files that no kept version needs and expired segments removed.",
    group_name="upkeep",
    kinds={"deltalake"},
    owners=OWNERS,
    code_version="1",
    pool="lake_upkeep",
)
def lake_upkeep(home: HomeResource) -> dg.MaterializeResult:
    done = upkeep(home.open(), home.now())
    return dg.MaterializeResult(
        metadata={
            "tables": preview(done.tables, n_rows=done.tables.height),
            "n_files": int(done.tables["n_files_after"].sum()),
            "n_removed_files": int(done.tables["n_removed"].sum()),
            "n_expired_segments": len(done.expired),
        }
    )
