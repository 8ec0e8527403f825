from pathlib import Path

import pytest

from evalpipe.quality.confusion import Confusion, mcc
from evalpipe.settings import LlmSettings, Settings
from evalpipe_tests.bench_generate.runs import ALL, CHOICE, JUDGE, Spec, at_prevalence, run, run_all
from evalpipe_tests.scripted_model import MODEL, scripted_model


def test_error_rates_have_another_mcc_where_failures_are_rarer():
    counts = Confusion(tp=8, fp=4, tn=16, fn=2)

    # TPR 0.8, FPR 0.2. At one half: 0.6 * 0.25 / sqrt(0.25 * 0.5 * 0.5) = 0.6.
    assert at_prevalence(counts, 0.5) == pytest.approx(0.6)
    # At 10 %: flagged 0.08 + 0.18 = 0.26; 0.6 * 0.09 / sqrt(0.09 * 0.26 * 0.74) = 0.41.
    assert at_prevalence(counts, 0.1) == pytest.approx(0.054 / (0.09 * 0.26 * 0.74) ** 0.5)
    # At their own prevalence it is the MCC.
    assert at_prevalence(counts, 1 / 3) == pytest.approx(mcc(counts))


def test_nothing_flagged_or_nothing_to_find_is_undefined():
    assert at_prevalence(Confusion(tp=0, fp=0, tn=16, fn=2), 0.5) is None
    assert at_prevalence(Confusion(tp=0, fp=1, tn=16, fn=0), 0.5) is None


@pytest.fixture(scope="module")
def quick() -> Settings:
    settings = Settings()
    return settings.model_copy(update={"generation": settings.generation.model_copy(update={"n_folds": 2})})


def test_every_evaluator_of_a_run_sees_the_same_examples(quick: Settings):
    runs = run(Spec("planted", "loop", 10, 1, ALL), quick)

    assert [each.evaluator for each in runs] == list(ALL)
    assert {(each.n_positives, each.n_negatives, each.later_n, each.later_n_positives) for each in runs} == {
        (10, 40, 1_500, 300)
    }
    of = {each.evaluator: each for each in runs}
    assert of[CHOICE].status == "active"
    assert of[CHOICE].later_mcc == pytest.approx(1.0)
    assert of["rule"].held_out_mcc == of[CHOICE].held_out_mcc
    assert of["constant"].later_mcc is None


def test_shuffled_labels_are_judged_by_nothing_later(quick: Settings):
    (shuffled,) = run(Spec("planted", "loop", 10, 1, is_permuted=True), quick)

    assert shuffled.later_mcc is None
    assert shuffled.status != "active"


def test_too_little_evidence_is_an_answer(quick: Settings):
    (waiting,) = run(Spec("planted", "loop", 4, 1), quick)

    assert (waiting.status, waiting.held_out_mcc, waiting.later_mcc) == ("waiting", None, None)


def test_other_processes_make_the_same_runs(quick: Settings):
    specs = [Spec("planted", "loop", n, 1, ("rule",)) for n in (10, 12)]

    here, elsewhere = (list(run_all(specs, quick, n_jobs=n_jobs)) for n_jobs in (1, 2))

    assert [[each._replace(seconds=0) for each in runs] for runs in here] == [
        [each._replace(seconds=0) for each in runs] for runs in elsewhere
    ]


def test_a_configured_judge_is_asked_of_some_later_traces(quick: Settings, tmp_path: Path):
    with scripted_model() as server:
        llm = LlmSettings(judge_model=MODEL, api_base=server.url, cache=tmp_path / "answers.sqlite")
        (judge,) = run(Spec("planted", "claim", 20, 1, (JUDGE,)), quick.model_copy(update={"llm": llm}))

    assert (judge.kind, judge.later_n) == ("judge", 300)
    assert judge.held_out_mcc is None or -1 <= judge.held_out_mcc <= 1
    assert server.calls["judge"] > 300
