"""What an asset tells the people who look at it: row counts, a preview, figures that Dagster plots over time."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dagster as dg
import polars as pl

from evalpipe.home import Home
from evalpipe.tables import Table

_PREVIEW_ROWS = 5
_PREVIEW_CHARS = 80  # a cell of a preview is glanced at, not read


def told(home: Home, table: Table, frame: pl.DataFrame, **figures: Any) -> dict[str, Any]:
    """Metadata of one written frame: its row count, where it lives, its first rows and `figures`."""
    return _told(home, table, frame.height, frame, figures)


def told_of(home: Home, table: Table, rows: pl.Expr, **figures: Any) -> dict[str, Any]:
    """Metadata of those rows of a table that are too many to be read for it: they are counted where they lie."""
    inside = home.lake.scan(table).filter(rows)
    n_rows = inside.select(pl.len()).collect().item()
    return _told(home, table, n_rows, inside.head(_PREVIEW_ROWS).collect(), figures)


def _told(home: Home, table: Table, n_rows: int, first: pl.DataFrame, figures: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "dagster/row_count": n_rows,
        "dagster/uri": home.lake.table_uri(table),
        "preview": preview(first),
        **{name: value for name, value in figures.items() if value is not None},
    }


def preview(frame: pl.DataFrame, n_rows: int = _PREVIEW_ROWS) -> dg.TableMetadataValue:
    """The first rows as a table, long texts cut."""
    rows = frame.head(n_rows).to_dicts()
    records = [{name: _short(value) for name, value in row.items()} for row in rows]
    schema = dg.TableSchema([dg.TableColumn(name, "string") for name in frame.columns])
    return dg.MetadataValue.table([dg.TableRecord(record) for record in records], schema=schema)


def column_schema(table: Table) -> dg.TableSchema:
    """The table's columns with their meaning, as Dagster's catalogue shows them."""
    return dg.TableSchema(
        [
            dg.TableColumn(
                column.name,
                type=str(column.dtype),
                description=column.meaning,
                constraints=dg.TableColumnConstraints(nullable=column.is_nullable, unique=table.key == (column.name,)),
            )
            for column in table.columns
        ]
    )


def each_partition(
    context: dg.AssetExecutionContext, keys: Sequence[str], make: Callable[[str], Mapping[str, Any]]
) -> None:
    """Make the partitions of a run one after the other, in order, so that memory holds one at a time."""
    for key in keys:
        context.add_asset_metadata(make(key), asset_key=context.asset_key, partition_key=key)
        context.log.info("%s %s is made", context.asset_key.to_user_string(), key)


def share(flags: pl.Series) -> float | None:
    """Share of true values in [0, 1]; None of nothing."""
    return mean(flags.cast(pl.Float64))


def mean(values: pl.Series) -> float | None:
    """The mean as a plain number, which Dagster plots; None of nothing."""
    return None if values.is_empty() else float(values.mean())  # type: ignore[arg-type]


def _short(value: Any) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= _PREVIEW_CHARS else text[: _PREVIEW_CHARS - 1] + "…"
