import dataclasses
import multiprocessing
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from evalpipe.errors import InputError, StateError
from evalpipe.lake.maintenance import maintain
from evalpipe.lake.store import Lake
from evalpipe.tables import VERDICTS, Table

MONDAY, TUESDAY = date(2026, 1, 5), date(2026, 1, 6)


def verdicts(ids: list[str], day: date = MONDAY, outcome: str = "pass") -> pl.DataFrame:
    return pl.DataFrame(
        {
            "evaluator_id": "ev_a",
            "version": 1,
            "trace_id": ids,
            "day": day,
            "issue_id": "iss_a",
            "outcome": outcome,
            "inclusion_probability": 1.0,
        }
    )


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def test_a_table_that_was_never_written_reads_as_empty_with_its_columns(lake: Lake):
    assert lake.read(VERDICTS).schema == VERDICTS.schema
    assert lake.version(VERDICTS) is None


def test_appending_the_same_rows_again_adds_none_and_makes_no_version(lake: Lake):
    assert lake.append_new(VERDICTS, verdicts(["t1", "t2"])) == 2
    version = lake.version(VERDICTS)
    assert lake.append_new(VERDICTS, verdicts(["t2", "t1"])) == 0
    assert lake.version(VERDICTS) == version


def test_the_first_delivery_of_a_key_wins_also_within_one_frame(lake: Lake):
    both = pl.concat([verdicts(["t1"], outcome="fail"), verdicts(["t1"], outcome="pass")])
    assert lake.append_new(VERDICTS, both) == 1
    lake.append_new(VERDICTS, verdicts(["t1"], outcome="pass"))
    assert lake.read(VERDICTS)["outcome"].to_list() == ["fail"]


def test_a_replaced_day_leaves_the_other_days_alone(lake: Lake):
    lake.append_new(VERDICTS, pl.concat([verdicts(["t1", "t2"], MONDAY), verdicts(["t3"], TUESDAY)]))
    lake.replace(VERDICTS, verdicts(["t9"], MONDAY), partition=MONDAY)
    assert sorted(lake.read(VERDICTS)["trace_id"]) == ["t3", "t9"]
    lake.replace(VERDICTS, VERDICTS.empty(), partition=MONDAY)
    assert lake.read(VERDICTS)["trace_id"].to_list() == ["t3"]


def test_rows_are_replaced_within_their_partition_and_the_others_stay(lake: Lake):
    lake.append_new(VERDICTS, pl.concat([verdicts(["t1", "t2"]), verdicts(["t3"], TUESDAY)]))
    by_trace = dataclasses.replace(VERDICTS, key=("trace_id", "evaluator_id", "version"))
    changed = verdicts(["t2", "t4"], outcome="fail")
    lake.replace_rows(by_trace, changed, keys=["t2", "t4", "t9"], partitions=[MONDAY], made_from=5)
    assert lake.read(VERDICTS).sort("trace_id").select("trace_id", "outcome").rows() == [
        ("t1", "pass"),
        ("t2", "fail"),
        ("t3", "pass"),
        ("t4", "fail"),
    ]
    assert lake.made_from(VERDICTS) == {"all": 5}


def test_a_key_with_no_row_left_is_removed(lake: Lake):
    by_trace = dataclasses.replace(VERDICTS, key=("trace_id", "evaluator_id", "version"))
    lake.append_new(VERDICTS, verdicts(["t1", "t2"]))
    lake.replace_rows(by_trace, VERDICTS.empty(), keys=["t1"], partitions=[MONDAY])
    assert lake.read(VERDICTS)["trace_id"].to_list() == ["t2"]


def test_a_key_that_looks_like_a_condition_is_only_a_key(lake: Lake):
    by_trace = dataclasses.replace(VERDICTS, key=("trace_id", "evaluator_id", "version"))
    hostile = "t' OR 'a'='a"
    lake.append_new(VERDICTS, verdicts([hostile, "t1"]))
    lake.replace_rows(by_trace, verdicts([hostile], outcome="fail"), keys=[hostile], partitions=[MONDAY])
    assert dict(lake.read(VERDICTS).select("trace_id", "outcome").rows()) == {hostile: "fail", "t1": "pass"}


def without(table: Table, *names: str) -> Table:
    return dataclasses.replace(table, columns=tuple(c for c in table.columns if c.name not in names))


def test_a_table_of_an_older_version_opens_and_gains_the_new_column(lake: Lake):
    older = without(VERDICTS, "explanation")
    lake.append_new(older, verdicts(["t1"]))
    assert lake.read(VERDICTS)["explanation"].to_list() == [None]
    lake.append_new(VERDICTS, verdicts(["t2"]).with_columns(explanation=pl.lit("why")))
    assert dict(lake.read(VERDICTS).select("trace_id", "explanation").rows()) == {"t1": None, "t2": "why"}


def test_a_table_of_a_newer_version_is_refused_with_what_to_do(lake: Lake):
    lake.append_new(VERDICTS, verdicts(["t1"]))
    older = without(VERDICTS, "explanation")
    for use in (lake.read, lake.version, lambda table: lake.append_new(table, verdicts(["t2"]))):
        with pytest.raises(
            StateError, match=r"columns explanation, which this version does not know\. Upgrade, or move"
        ):
            use(older)


def test_a_table_with_another_type_or_partition_is_refused_with_what_to_do(lake: Lake):
    lake.append_new(VERDICTS, verdicts(["t1"]))
    columns = [dataclasses.replace(c, dtype=pl.String) if c.name == "version" else c for c in VERDICTS.columns]
    with pytest.raises(StateError, match="gave version another type"):
        lake.read(dataclasses.replace(VERDICTS, columns=tuple(columns)))
    with pytest.raises(StateError, match="partitioned it otherwise"):
        lake.read(dataclasses.replace(VERDICTS, partition=None))


def test_a_partition_remembers_what_it_was_made_from_through_compaction(lake: Lake):
    for day, inputs in ((MONDAY, 11), (TUESDAY, 22), (MONDAY, 10)):  # a smaller number may follow a larger one
        lake.replace(VERDICTS, verdicts(["t1"], day), partition=day, made_from=inputs)
    for n in range(12):  # past a checkpoint, which lies every 10 commits
        lake.append_new(VERDICTS, verdicts([f"more{n}"], TUESDAY))
    maintain(lake, retention_hours=168)
    assert lake.made_from(VERDICTS, [str(MONDAY), str(TUESDAY), "2026-01-07"]) == {
        "2026-01-05": 10,
        "2026-01-06": 22,
        "2026-01-07": None,
    }


def test_an_empty_append_still_remembers_what_it_was_made_from(lake: Lake):
    lake.append_new(VERDICTS, VERDICTS.empty(), scope=str(MONDAY), made_from=5)
    assert lake.made_from(VERDICTS, [str(MONDAY)]) == {str(MONDAY): 5}
    assert lake.read(VERDICTS).is_empty()


def test_maintenance_changes_no_row(lake: Lake):
    for n in range(5):
        lake.append_new(VERDICTS, verdicts([f"t{n}"]))
    before = lake.read(VERDICTS).sort("trace_id")
    done = maintain(lake, retention_hours=168)
    assert lake.read(VERDICTS).sort("trace_id").equals(before)
    assert done.row(0, named=True)["n_files_after"] == 1


def test_a_null_key_and_a_missing_column_are_refused_by_name(lake: Lake):
    with pytest.raises(InputError, match="null in trace_id"):
        lake.append_new(VERDICTS, verdicts(["t1"]).with_columns(trace_id=pl.lit(None, pl.String)))
    with pytest.raises(InputError, match="no column outcome"):
        lake.append_new(VERDICTS, verdicts(["t1"]).drop("outcome"))
    with pytest.raises(InputError, match="does not fit"):
        lake.append_new(VERDICTS, verdicts(["t1"]).with_columns(version=pl.lit("one")))


def _append_same_and_own(arguments: tuple[str, int]) -> None:
    uri, writer = arguments
    lake = Lake(uri)
    for n in range(4):
        lake.append_new(VERDICTS, pl.concat([verdicts([f"shared{n}"]), verdicts([f"own{writer}-{n}"])]))


def test_writers_that_create_a_table_at_once_write_no_row_twice(tmp_path: Path):
    for n in range(3):
        uri = str(tmp_path / f"lake{n}")
        with multiprocessing.get_context("spawn").Pool(3) as pool:
            pool.map(_append_same_and_own, [(uri, writer) for writer in range(3)])
        ids = Lake(uri).read(VERDICTS)["trace_id"]
        assert ids.n_unique() == ids.len() == 4 + 3 * 4


def test_concurrent_writers_lose_no_row_and_write_none_twice(tmp_path: Path):
    lake = Lake(tmp_path / "lake")
    lake.append_new(VERDICTS, verdicts(["first"]))
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        pool.map(_append_same_and_own, [(lake.uri, writer) for writer in range(3)])
    ids = lake.read(VERDICTS)["trace_id"]
    assert ids.n_unique() == ids.len() == 1 + 4 + 3 * 4  # the first, those all write, and each writer's own


def _maintain_again_and_again(uri: str) -> None:
    for _ in range(6):
        maintain(Lake(uri), retention_hours=24)


def test_compaction_beside_running_writers_loses_no_row_and_stops_none(tmp_path: Path):
    lake = Lake(tmp_path / "lake")
    lake.append_new(VERDICTS, verdicts(["first"]))
    context = multiprocessing.get_context("spawn")
    upkeep = context.Process(target=_maintain_again_and_again, args=(lake.uri,))
    upkeep.start()
    with context.Pool(2) as pool:
        pool.map(_append_same_and_own, [(lake.uri, writer) for writer in range(2)])
    upkeep.join()
    assert upkeep.exitcode == 0
    ids = lake.read(VERDICTS)["trace_id"]
    assert ids.n_unique() == ids.len() == 1 + 4 + 2 * 4


def test_rows_that_rest_on_a_version_are_appended_to_no_other(lake: Lake):
    assert lake.append_at(VERDICTS, verdicts(["a"]), None) is None  # only made now: look again
    version = lake.version(VERDICTS)
    assert version is not None
    assert lake.append_at(VERDICTS, verdicts(["a"]), version) == version + 1
    assert lake.append_at(VERDICTS, verdicts(["b"]), version) is None
    assert lake.read(VERDICTS)["trace_id"].to_list() == ["a"]
