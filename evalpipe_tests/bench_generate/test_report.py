from evalpipe_tests.bench_generate.baselines import BASELINES
from evalpipe_tests.bench_generate.makers import Stated
from evalpipe_tests.bench_generate.peers import Judged
from evalpipe_tests.bench_generate.report import judges_table, later_table, prospective_table, whole_table
from evalpipe_tests.bench_generate.runs import ALL, CHOICE, JUDGE, KINDS, frame_of
from evalpipe_tests.bench_generate.test_coverage import made
from evalpipe_tests.bench_generate.whole import OutOfFold


def columns(text: str) -> set[int]:
    return {line.count("|") for line in text.splitlines()}


def test_seeds_are_averaged_and_what_differs_is_counted():
    runs = [made(evaluator=name, seed=seed, later_mcc=0.5 * seed) for seed in (1, 2) for name in ALL]
    runs[len(ALL)] = runs[len(ALL)]._replace(kind="learned", later_mcc=None)

    text = prospective_table(frame_of(runs))

    # By choice: later 0.5 and undefined, which counts as 0; the rule alone: 0.5 and 1.
    assert "| `loop` | 10 + 40 | 2 | learned 1, rule 1 | active | 0.80 [0.50, 0.90] | 1.00 | **0.25** | 0.60 |" in text
    assert "| 0.80, 0.75 |" in text
    assert len(columns(text)) == 1


def test_a_judge_has_a_column_where_there_is_one():
    runs = [made(evaluator=name) for name in (*ALL, JUDGE)]

    for show in (prospective_table, later_table):
        assert "judge alone: held-out, later" in show(frame_of(runs))
        assert "judge" not in show(frame_of(runs[:-1]))
        assert len(columns(show(frame_of(runs)))) == 1


def test_every_evaluator_of_the_whole_set_has_a_heading():
    names = (CHOICE, *KINDS, *BASELINES)
    figures = [OutOfFold(name, "rule", "active", Stated(0.5, 0.25, 0.75, None), 1.0) for name in names]

    text = whole_table([("shop", "loop", 12, 60, figures)])

    assert "| shop `loop` | 12 of 60 | rule | active | **0.50** [0.25, 0.75] | - | 0.50 [0.25, 0.75] |" in text
    assert len(columns(text)) == 1


def test_a_judge_is_a_line():
    assert judges_table([Judged("ours", 0.1, None, 12, 3.4, 20)]).endswith("| ours | 20 | 0.10 | **-** | 12 | 3 |")
