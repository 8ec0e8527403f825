from pathlib import Path

import polars as pl
import pytest

from evalpipe.errors import ConflictError, LakeConflictError
from evalpipe.lake.followed import Followed
from evalpipe.lake.store import Lake
from evalpipe.tables import ANNOTATIONS
from evalpipe_tests.review.made import annotation, annotations


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


@pytest.fixture
def followed(lake: Lake) -> Followed:
    return Followed(lake, ANNOTATIONS, pl.col("label_source") == "human")


def test_a_table_that_does_not_exist_yet_is_empty_until_it_does(lake: Lake, followed: Followed):
    assert followed.now().version is None
    assert followed.now().rows.is_empty()
    lake.append_new(ANNOTATIONS, annotations(annotation(1), annotation(2, label_source="model")))
    assert followed.now().rows.height == 1


def test_nothing_is_read_again_as_long_as_nothing_is_written(lake: Lake, followed: Followed):
    followed.add(lambda _: annotations(annotation(1)))
    held = followed.now()
    assert followed.now() is held
    lake.append_new(ANNOTATIONS, annotations(annotation(2)))
    assert followed.now().rows.height == 2


def test_own_rows_are_known_without_reading(lake: Lake, followed: Followed, monkeypatch: pytest.MonkeyPatch):
    followed.add(lambda _: annotations(annotation(1)))
    monkeypatch.setattr(lake, "read", lambda *_: pytest.fail("read again"))
    followed.add(lambda _: annotations(annotation(2)))
    assert followed.now().rows.height == 2


def test_what_was_decided_is_decided_again_when_somebody_else_wrote_in_between(lake: Lake, followed: Followed):
    lake.append_new(ANNOTATIONS, annotations(annotation(1)))
    seen = []

    def rows_of(rows: pl.DataFrame) -> pl.DataFrame:
        seen.append(rows.height)
        if len(seen) == 1:
            lake.append_new(ANNOTATIONS, annotations(annotation(2)))
        return annotations(annotation(3))

    followed.add(rows_of)
    assert seen == [1, 2]
    assert lake.read(ANNOTATIONS).height == followed.now().rows.height == 3


def test_nothing_is_written_for_nothing_or_when_it_may_not_be(lake: Lake, followed: Followed):
    lake.append_new(ANNOTATIONS, annotations(annotation(1)))
    version = lake.version(ANNOTATIONS)
    followed.add(lambda rows: rows.clear())

    def may_not(rows: pl.DataFrame) -> pl.DataFrame:
        raise ConflictError(f"{rows.height} rows")

    with pytest.raises(ConflictError):
        followed.add(may_not)
    assert lake.version(ANNOTATIONS) == version


def test_it_gives_up_when_others_never_stop(lake: Lake, followed: Followed, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lake, "append_at", lambda *_: None)
    with pytest.raises(LakeConflictError, match="table annotations: another writer"):
        followed.add(lambda _: annotations(annotation(1)))
