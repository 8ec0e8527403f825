from collections import Counter
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalpipe.errors import InputError
from evalpipe.review.queues import Reviewer, candidate_frame, cycle_days, cycle_of, load_reviewers
from evalpipe.settings import ReviewSettings
from evalpipe_tests.review.made import CYCLE, made_id, signals, traces

NOBODY = pl.DataFrame(schema={"trace_id": pl.String, "reviewer": pl.String})
ADA = Reviewer("ada", 20)
SETTINGS = ReviewSettings()


def queue(scores: list[float], *, reviewers=(ADA,), reviewed=NOBODY, shape=None, using=SETTINGS, cycle=CYCLE):
    rows = traces(len(scores)) if shape is None else shape
    return candidate_frame(cycle, signals(scores), rows, reviewed, list(reviewers), using)


def read(*pairs: tuple[int, str]) -> pl.DataFrame:
    return pl.DataFrame([(made_id(i), name) for i, name in pairs], schema=NOBODY.schema, orient="row")


def test_a_tenth_of_the_capacity_is_drawn_from_all_traces_with_its_probability():
    found = queue([0.9] * 40 + [0.1] * 60)
    control = found.filter(pl.col("arm") == "control")
    assert found.height == 20
    assert control.height == 2
    assert control["inclusion_probability"].unique().to_list() == [2 / 100]
    assert found.filter(pl.col("arm") == "anomaly")["inclusion_probability"].unique().to_list() == [1.0]


def test_the_control_draw_is_uniform_over_all_traces():
    """100 cycles of 4 out of 20: each trace is drawn 20 times, give or take four sigmas of sqrt(100 * 0.2 * 0.8)."""
    drawn = Counter(
        trace_id
        for week in range(100)
        for trace_id in queue(
            [0.9] * 10 + [0.1] * 10, cycle=f"cycle {week}", using=ReviewSettings(control_share=0.2)
        ).filter(pl.col("arm") == "control")["trace_id"]
    )
    assert len(drawn) == 20
    assert all(abs(n - 20) < 4 * 4 for n in drawn.values())


def test_the_seed_and_the_cycle_decide_the_draw_and_nothing_else():
    def drawn(**changes) -> list[str]:
        return queue([0.1] * 200, **changes).filter(pl.col("arm") == "control")["trace_id"].to_list()

    assert drawn() == drawn()
    assert drawn() != drawn(cycle="2026-W11")
    assert drawn() != drawn(using=ReviewSettings(seed=1))


def test_no_trace_is_in_both_arms():
    found = queue([0.9] * 15)
    assert found.height == 15
    assert found["trace_id"].is_unique().all()


def test_frequent_patterns_come_before_rare_ones_and_the_most_anomalous_first():
    """Thirty lost searches and one refund: where one pattern may take the whole arm of 3, the frequent one does."""
    shape = pl.concat([traces(30), traces(31, tool="refund").tail(1)])
    using = ReviewSettings(control_share=0, max_pattern_share=1)
    found = queue(
        [0.8 + i / 1000 for i in range(30)] + [0.99], shape=shape, reviewers=[Reviewer("ada", 3)], using=using
    )
    assert found.sort("rank")["trace_id"].to_list() == [made_id(29), made_id(28), made_id(27)]
    assert found["pattern_frequency"].unique().to_list() == [30]


def test_one_pattern_takes_its_share_and_no_more_while_anything_else_is_left():
    """Anomaly arm of 18 of which a quarter is 4; the rest goes to unflagged traces of other patterns."""
    shape = pl.concat([traces(50), *(traces(i + 1, tool=f"tool {i}").tail(1) for i in range(50, 80))])
    found = queue([0.9] * 50 + [0.2] * 30, shape=shape).filter(pl.col("arm") == "anomaly")
    assert found.height == 18
    assert found.group_by("pattern_id").len()["len"].max() == 4


def test_one_pattern_fills_up_when_nothing_else_is_left():
    assert queue([0.9] * 50).height == 20


def test_the_highest_anomaly_scores_fill_up_a_small_pool():
    shape = pl.concat([traces(i + 1, tool=f"tool {i}").tail(1) for i in range(30)])
    found = queue([0.9, *[0.01 * i for i in range(29)]], shape=shape, using=ReviewSettings(control_share=0))
    assert set(found["trace_id"]) == {made_id(0), *(made_id(i) for i in range(11, 30))}
    assert all(found["reasons"].list.len() == 1)


def test_a_pattern_is_spread_over_the_reading_order():
    """Two patterns of nine each: they take turns."""
    shape = pl.concat([traces(9), *(traces(i + 1, tool="refund").tail(1) for i in range(9, 18))])
    using = ReviewSettings(control_share=0, max_pattern_share=0.5)
    found = queue([0.9] * 9 + [0.85] * 9, shape=shape, reviewers=[Reviewer("ada", 18)], using=using).sort("rank")
    assert found["pattern_id"].rle_id().max() == 17


def test_everyone_gets_traces_of_their_own_up_to_their_capacity():
    found = queue([0.9] * 100, reviewers=[Reviewer("ada", 20), Reviewer("bo", 5), Reviewer("cy", 0)])
    assert dict(found.group_by("reviewer").len().rows()) == {"ada": 20, "bo": 5}
    assert found["trace_id"].is_unique().all()
    assert found.filter(pl.col("reviewer") == "bo")["rank"].to_list() == [1, 2, 3, 4, 5]


def test_what_a_reviewer_has_read_stays_where_it_was_chosen_and_takes_capacity():
    first = queue([0.9] * 100)
    done = [(trace_id, "ada") for trace_id in first["trace_id"].head(7)]
    again = queue([0.9] * 100, reviewed=pl.DataFrame(done, schema=NOBODY.schema, orient="row"))
    assert set(again["trace_id"]) == set(first["trace_id"])
    assert again.filter(pl.col("status") == "reviewed").height == 7
    assert again.drop("status").equals(first.drop("status"))


def test_no_trace_is_queued_for_someone_who_has_read_it():
    reviewed = read(*[(i, "ada") for i in range(50)], *[(i, "bo") for i in range(50, 100)])
    found = queue([0.9] * 100, reviewers=[ADA, Reviewer("bo", 20)], reviewed=reviewed)
    assert found["status"].unique().to_list() == ["reviewed"]


def test_what_only_a_program_has_judged_is_not_read_again_but_stays_in_the_control_draw():
    reviewed = read(*[(i, "program") for i in range(90)])
    found = queue([0.9] * 100, reviewed=reviewed)
    anomaly, control = (found.filter(pl.col("arm") == arm) for arm in ("anomaly", "control"))
    assert set(anomaly["trace_id"]) <= {made_id(i) for i in range(90, 100)}
    assert control["inclusion_probability"].unique().to_list() == [0.02]
    plain = queue([0.9] * 100).filter(pl.col("arm") == "control")
    assert set(control["trace_id"]) == set(plain["trace_id"])


def test_without_traces_or_capacity_there_is_no_queue():
    assert queue([]).is_empty()
    assert queue([0.9], reviewers=[Reviewer("ada", 0)]).is_empty()


def test_a_reviewer_listed_twice_is_refused():
    with pytest.raises(InputError, match="ada is listed twice"):
        queue([0.9], reviewers=[ADA, ADA])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(0, 1), max_size=40),
    st.lists(st.integers(0, 15), min_size=1, max_size=3),
    st.sets(st.tuples(st.integers(0, 40), st.sampled_from(["r0", "r1", "program"]))),
)
def test_any_queue_keeps_its_promises(scores: list[float], capacities: list[int], done: set):
    reviewers = [Reviewer(f"r{i}", capacity) for i, capacity in enumerate(capacities)]
    found = queue(scores, reviewers=reviewers, reviewed=read(*sorted(done)))
    waiting = found.filter(pl.col("status") == "queued")
    assert found["trace_id"].is_unique().all()
    assert not set(waiting.select("trace_id", "reviewer").rows()) & {(made_id(i), name) for i, name in done}
    assert all(waiting.filter(pl.col("reviewer") == r.name).height <= r.capacity for r in reviewers)
    assert found["inclusion_probability"].is_between(0, 1, closed="right").all()


def test_a_cycle_is_an_iso_week_that_may_begin_in_the_year_before():
    assert cycle_of(date(2026, 11, 23)) == "2026-W48"
    assert cycle_of(date(2025, 12, 29)) == "2026-W01"
    assert cycle_days("2026-W01") == (date(2025, 12, 29), date(2026, 1, 4))


@given(st.dates(date(2000, 1, 1), date(2100, 1, 1)))
def test_every_day_lies_in_its_cycle(day: date):
    first, last = cycle_days(cycle_of(day))
    assert first <= day <= last


@pytest.mark.parametrize("cycle", ["2026-47", "2026-W54", "2025-W53", "2026-W00", "last week", ""])
def test_what_is_no_week_is_refused(cycle: str):
    with pytest.raises(InputError, match="ISO week"):
        cycle_days(cycle)


def test_without_a_file_there_is_one_default_reviewer(tmp_path: Path):
    assert load_reviewers(None, SETTINGS) == [Reviewer("reviewer", 100)]
    assert load_reviewers(tmp_path / "none.yaml", SETTINGS) == [Reviewer("reviewer", 100)]


@pytest.mark.parametrize(
    "text", ["- {name: ada, capacity: 30}\n- name: bo\n", "reviewers:\n- {name: ada, capacity: 30}\n- {name: bo}\n"]
)
def test_a_reviewer_without_a_capacity_has_the_usual_one(tmp_path: Path, text: str):
    path = tmp_path / "reviewers.yaml"
    path.write_text(text)
    assert load_reviewers(path, SETTINGS) == [Reviewer("ada", 30), Reviewer("bo", 100)]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "no list of reviewers"),
        ("reviewers: ada", "no list of reviewers"),
        ("- capacity: 3", "reviewer 1: needs a name"),
        ("- {name: ada, capacity: many}", "capacity must be a whole number"),
        ("- {name: ada, capacity: -1}", "capacity must be a whole number"),
        ("- {name: ada, domain: shop}", "unknown domain"),
        ("- {name: ada}\n- {name: ada}", "ada is listed twice"),
        ("- {name: [", "not YAML"),
        ("- !!python/object/apply:os.system [ls]", "not YAML"),
    ],
)
def test_a_reviewers_file_with_a_mistake_is_refused_by_name_and_place(tmp_path: Path, text: str, what: str):
    path = tmp_path / "reviewers.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=what) as raised:
        load_reviewers(path, SETTINGS)
    assert "reviewers.yaml" in str(raised.value)
