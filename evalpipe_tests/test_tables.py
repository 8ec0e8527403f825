import polars as pl
import pytest

from evalpipe.errors import InputError
from evalpipe.tables import SESSIONS, TABLES


def test_every_key_and_partition_is_a_column_that_is_never_null():
    for table in TABLES.values():
        required = {column.name for column in table.columns if not column.is_nullable}
        assert set(table.key) <= required
        assert table.partition is None or table.partition in required


def test_every_column_says_what_it_means():
    assert all(column.meaning for table in TABLES.values() for column in table.columns)


def test_conform_orders_casts_and_adds_what_may_be_missing():
    table = TABLES["gate_results"]
    columns = [column for column in table.columns if not column.is_nullable]
    frame = pl.DataFrame({c.name: pl.Series([], dtype=c.dtype) for c in reversed(columns)})
    assert table.conform(frame).schema == table.schema


def test_conform_refuses_rather_than_guesses():
    with pytest.raises(InputError, match=r"sessions.*no column"):
        SESSIONS.conform(pl.DataFrame({"session_id": ["a"]}))
