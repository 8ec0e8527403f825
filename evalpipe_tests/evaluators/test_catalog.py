from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from evalpipe.errors import ArtifactError, StateError
from evalpipe.evaluators.artifact import Artifact
from evalpipe.evaluators.catalog import current_evaluators, load, read_artifact, write_artifact
from evalpipe.tables import EVALUATORS
from evalpipe_tests.evaluators.made import rule_artifact

NEVER = {"op": "constant", "value": False}


def evaluator_rows(*versions: tuple[str, int, str]) -> pl.DataFrame:
    """EVALUATORS rows of (evaluator_id, version, status)."""
    made = rule_artifact(NEVER)
    rows = [
        {
            "evaluator_id": evaluator_id,
            "version": version,
            "issue_id": evaluator_id.replace("ev", "iss"),
            "failure_mode": "f",
            "kind": "rule",
            "status": status,
            "artifact": made.to_json(),
            "artifact_sha256": made.sha256,
            "n_positives": 10,
            "n_negatives": 10,
            "labels_fingerprint": 1,
            "created_at": datetime(2026, 3, 2, tzinfo=UTC),
            "reason": "first",
        }
        for evaluator_id, version, status in versions
    ]
    return EVALUATORS.conform(pl.DataFrame(rows))


def test_the_newest_version_of_each_evaluator_is_current():
    rows = evaluator_rows(
        ("ev_b", 10, "active"), ("ev_a", 1, "active"), ("ev_b", 9, "active"), ("ev_a", 2, "candidate")
    )
    assert current_evaluators(rows).select("evaluator_id", "version").rows() == [("ev_a", 2), ("ev_b", 10)]


def test_an_evaluator_whose_newest_version_is_retired_is_gone():
    # Its older version was replaced for a reason; it does not come back.
    rows = evaluator_rows(("ev_a", 1, "active"), ("ev_a", 2, "retired"), ("ev_b", 1, "monitoring"))
    assert current_evaluators(rows)["evaluator_id"].to_list() == ["ev_b"]
    assert current_evaluators(EVALUATORS.empty()).is_empty()


def test_an_artifact_is_read_back_as_it_was_written(tmp_path: Path):
    made = rule_artifact(NEVER)
    path = write_artifact(tmp_path, made)
    assert path == tmp_path / "evaluators" / "iss_1" / "1.json"
    assert read_artifact(tmp_path, "iss_1") == made
    assert load(made.to_json(), made.sha256) == made


def test_the_last_version_written_is_the_current_one(tmp_path: Path):
    first, second = rule_artifact(NEVER), rule_artifact(NEVER, version=2)
    write_artifact(tmp_path, first)
    write_artifact(tmp_path, second)
    write_artifact(tmp_path, second)
    assert read_artifact(tmp_path, "iss_1") == second
    assert read_artifact(tmp_path, "iss_1", 1) == first
    files = sorted(path.name for path in (tmp_path / "evaluators" / "iss_1").iterdir())
    assert files == ["1.json", "2.json", "CURRENT"]  # and nothing half-written beside them


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_artifact(tmp_path, rule_artifact(NEVER))

    def no_space(_: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(OSError, match="no space"):
        write_artifact(tmp_path, rule_artifact(NEVER, version=2))
    monkeypatch.undo()
    assert read_artifact(tmp_path, "iss_1").version == 1
    assert len(list((tmp_path / "evaluators" / "iss_1").iterdir())) == 2


def test_an_artifact_that_was_changed_after_it_was_made_is_refused(tmp_path: Path):
    made = rule_artifact(NEVER)
    with pytest.raises(ArtifactError, match="it was changed"):
        load(made.to_json().replace('"tp":3', '"tp":9'), made.sha256)
    path = write_artifact(tmp_path, made)
    path.write_text(path.read_text().replace('"value":false', '"value":true'))
    with pytest.raises(ArtifactError, match="another program"):
        read_artifact(tmp_path, "iss_1")


@pytest.mark.parametrize("issue", ["..", "../x", "a/b", "", ".hidden", "x" * 129])
def test_an_id_that_is_no_file_name_never_meets_a_path(tmp_path: Path, issue: str):
    with pytest.raises(ArtifactError, match="no file name"):
        read_artifact(tmp_path, issue)
    # A constructed artifact skips validation; the catalog does not rely on it.
    smuggled = rule_artifact(NEVER).model_copy(update={"issue_id": issue})
    assert isinstance(smuggled, Artifact)
    with pytest.raises(ArtifactError, match="no file name"):
        write_artifact(tmp_path, smuggled)
    assert list(tmp_path.iterdir()) == []


def test_an_issue_without_evaluator_and_a_damaged_file_say_what_to_do(tmp_path: Path):
    with pytest.raises(StateError, match="evalpipe generate iss_1"):
        read_artifact(tmp_path, "iss_1")
    write_artifact(tmp_path, rule_artifact(NEVER))
    with pytest.raises(StateError, match="version 3"):
        read_artifact(tmp_path, "iss_1", 3)
    (tmp_path / "evaluators" / "iss_1" / "CURRENT").write_text("one")
    with pytest.raises(ArtifactError, match="damaged"):
        read_artifact(tmp_path, "iss_1")
