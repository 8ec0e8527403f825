"""Generation over real tables: what is read beside the labels, what is remembered, and two at once."""

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from evalpipe.errors import EvaluatorFaultError, StateError
from evalpipe.evaluators.artifact import Artifact
from evalpipe.generation import generate as generating
from evalpipe.generation.on_lake import attempts, generate_for_issue
from evalpipe.generation.triggers import issues_due
from evalpipe.home import Home
from evalpipe.settings import GenerationSettings, LlmSettings
from evalpipe.tables import EVALUATOR_QUALITY, EVALUATORS, ISSUES, LABELS, PREVALENCE, TRACES
from evalpipe_tests.generation.planted import ISSUE, NOW, planted

QUICK = GenerationSettings(n_folds=5)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Forty labelled traces of one issue, and sixty that nobody read."""
    home = Home.open(tmp_path / "home")
    made = planted("ordering", 20, 80, seed=1)
    read = pl.concat([made.labels.filter("is_failure").head(12), made.labels.filter(~pl.col("is_failure")).head(28)])
    home.lake.append_new(TRACES, made.traces)
    home.lake.append_new(LABELS, read)
    issue = {"issue_id": ISSUE, "name": "refunds first", "state": "active", "flags": [], "services": ["support"]}
    times = dict.fromkeys(("first_seen_at", "last_seen_at", "updated_at"), NOW)
    home.lake.append_new(ISSUES, pl.DataFrame([{**issue, "n_failures": 12, **times}], schema_overrides=ISSUES.schema))
    return home


def settings_of(home: Home, **changes: object):
    return home.settings.model_copy(update={"generation": QUICK, **changes})


def generated(home: Home, **changes: object):
    return generate_for_issue(home.lake, home.artifacts, ISSUE, settings=settings_of(home, **changes), now=NOW)


def test_an_evaluator_is_kept_with_its_figures_and_its_file(home: Home):
    made = generated(home)
    row = home.lake.read(EVALUATORS).row(0, named=True)
    assert (row["version"], row["status"], row["n_positives"], row["n_negatives"]) == (1, "active", 12, 28)
    assert Artifact.from_json(row["artifact"]) == made.artifact
    assert set(home.lake.read(EVALUATOR_QUALITY)["split"]) == {"held_out", "in_sample"}
    assert (home.artifacts / "evaluators" / ISSUE / "1.json").exists()


def test_the_estimated_share_of_traffic_gives_the_figure_of_production(home: Home):
    day = NOW.date()
    estimate = {"issue_id": ISSUE, "first_day": day - timedelta(days=28), "last_day": day, "prevalence": 0.02}
    counts = {"n_traces": 100, "n_reviewed": 50, "n_failures": 1, "confidence": 0.9}
    home.lake.append_new(PREVALENCE, pl.DataFrame([{**estimate, **counts}]))
    artifact = generated(home).artifact
    assert artifact is not None
    assert artifact.quality["at_production"]["prevalence"] == 0.02


def test_an_unknown_issue_is_told(home: Home):
    with pytest.raises(StateError, match="there is no issue iss_x"):
        generate_for_issue(home.lake, home.artifacts, "iss_x", settings=settings_of(home), now=NOW)


def test_labels_that_are_all_disputed_are_no_evidence(home: Home):
    home.lake.replace(LABELS, home.lake.read(LABELS).with_columns(is_disputed=pl.lit(True)))
    made = generated(home)
    assert made.artifact is None
    assert "10 more failures, 10 more good traces" in made.reason


def test_nothing_is_due_again_until_labels_change(home: Home):
    def due() -> list[str]:
        known = attempts(home.lake, [ISSUE])
        tables = (home.lake.read(table) for table in (LABELS, ISSUES, EVALUATORS))
        return [one.reason for one in issues_due(*tables, known, QUICK)]

    assert len(due()) == 1
    generated(home)
    assert due() == []


def test_a_model_that_fails_leaves_a_rule_and_is_tried_again(home: Home, monkeypatch: pytest.MonkeyPatch):
    def down(*_: object) -> None:
        raise EvaluatorFaultError("the model is down")

    monkeypatch.setattr(generating, "_with_model", down)
    doubting = {"generation": QUICK.model_copy(update={"judge_below": 1.0})}  # whatever is found, a model is asked
    llm = LlmSettings(judge_model="hosted_vllm/none")
    first, second = generated(home, llm=llm, **doubting), generated(home, llm=llm, **doubting)
    assert first.replaces
    assert first.is_interrupted
    assert "the model is down" in first.reason
    assert not second.replaces  # the same rule again is no new version
    assert attempts(home.lake, [ISSUE])[ISSUE].n_interrupted == 2
    monkeypatch.undo()
    generated(home)
    assert attempts(home.lake, [ISSUE])[ISSUE].n_interrupted == 0


def test_two_processes_at_once_make_one_version(home: Home):
    program = (
        "import sys; from pathlib import Path; from evalpipe.home import Home\n"
        "from evalpipe_tests.generation.test_on_lake import generated\n"
        "print(generated(Home.open(Path(sys.argv[1]))).reason)"
    )
    command = [sys.executable, "-c", program, str(home.root)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = sorted(process.communicate()[0] for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert home.lake.read(EVALUATORS)["version"].to_list() == [1]
    assert ["first version" in text for text in said].count(True) == 1
    assert ["Version 1 stays" in text for text in said].count(True) == 1
