from datetime import date

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalpipe.errors import InputError
from evalpipe.review.queue.arms import UNSURENESS
from evalpipe.review.queue.queues import Past, candidate_frame
from evalpipe.review.queue.reviewers import Reviewer
from evalpipe.settings import ReviewSettings
from evalpipe.tables import CANDIDATES
from evalpipe_tests.review.made import CYCLE, made_id, signals, traces

NOBODY = pl.DataFrame(schema={"trace_id": pl.String, "reviewer": pl.String})
ADA = Reviewer("ada", 20)
SETTINGS = ReviewSettings()


def queue(scores: list[float], *, reviewers=(ADA,), reviewed=NOBODY, shape=None, using=SETTINGS, cycle=CYCLE, **past):
    rows = traces(len(scores)) if shape is None else shape
    return candidate_frame(cycle, signals(scores), rows, reviewed, list(reviewers), using, Past(**past))


def read(*pairs: tuple[int, str]) -> pl.DataFrame:
    return pl.DataFrame([(made_id(i), name) for i, name in pairs], schema=NOBODY.schema, orient="row")


def test_a_tenth_of_the_capacity_is_drawn_from_all_traces_with_its_probability():
    found = queue([0.9] * 40 + [0.1] * 60)
    control = found.filter(pl.col("arm") == "control")
    assert found.height == 20
    assert control.height == 2
    assert control["inclusion_probability"].unique().to_list() == [2 / 100]
    assert found.filter(pl.col("arm") == "anomaly")["inclusion_probability"].unique().to_list() == [1.0]


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


def test_everyone_reads_up_to_their_capacity():
    """30 places, of which 30 * 0.1 / 1.1 = 2.7, so 3, are second opinions."""
    found = queue([0.9] * 100, reviewers=[Reviewer("ada", 20), Reviewer("bo", 10), Reviewer("cy", 0)])
    assert dict(found.group_by("reviewer").len().rows()) == {"ada": 20, "bo": 10}
    assert found.filter(pl.col("reviewer") == "bo")["rank"].to_list() == list(range(1, 11))
    assert found["is_second_opinion"].sum() == 3
    assert found.filter(~pl.col("is_second_opinion"))["trace_id"].is_unique().all()


def test_a_second_opinion_is_somebody_elses():
    found = queue([0.9] * 100, reviewers=[Reviewer("ada", 50), Reviewer("bo", 50)])
    readers = found.group_by("trace_id").agg("reviewer", "is_second_opinion")
    twice = readers.filter(pl.col("reviewer").list.len() == 2)
    assert twice.height == 9  # 100 * 0.1 / 1.1 = 9.1
    assert (twice["reviewer"].list.n_unique() == 2).all()
    assert (twice["is_second_opinion"].list.sum() == 1).all()


def test_a_lone_reviewer_reads_no_second_opinions():
    assert not queue([0.9] * 100)["is_second_opinion"].any()


@pytest.mark.parametrize("n_read", [0, 7, 20])
def test_what_was_read_stays_and_nothing_moves_when_the_queue_is_built_again(n_read: int):
    reviewers = [ADA, Reviewer("bo", 20)]
    first = queue([0.9] * 50 + [0.3] * 50, reviewers=reviewers)
    done = first.sort("rank").head(n_read).select("trace_id", "reviewer")
    again = queue([0.9] * 50 + [0.3] * 50, reviewers=reviewers, reviewed=done, queued=first)
    assert again.filter(pl.col("status") == "reviewed").height == n_read
    unread = [
        rows.join(done, on=["trace_id", "reviewer"], how="anti").drop("status", "rank") for rows in (first, again)
    ]
    assert unread[0].equals(unread[1])
    assert (
        again.select("trace_id", "reviewer").sort(pl.all()).equals(first.select("trace_id", "reviewer").sort(pl.all()))
    )


def test_what_was_read_keeps_its_place_when_the_traffic_has_grown():
    first = queue([0.8] * 30)
    done = first.select("trace_id", "reviewer").head(12)
    again = queue([0.8] * 30 + [0.99] * 300, reviewed=done, queued=first)
    assert again.height == 20
    assert set(done["trace_id"]) <= set(again["trace_id"])


def test_a_draw_that_was_read_and_is_none_any_more_leaves_the_sample():
    """Two of 20 are drawn and read; then 2,000 traces more come: those drawn now have 2 in 2,020."""
    first = queue([0.3] * 20)
    drawn = first.filter(pl.col("arm") == "control").select("trace_id", "reviewer")
    again = queue([0.3] * 2_020, reviewed=drawn, queued=first)
    control = again.filter(pl.col("arm") == "control")
    assert control["inclusion_probability"].to_list() == pytest.approx([2 / 2_020] * 2)
    lapsed = again.join(drawn, on="trace_id", how="semi").filter(pl.col("arm") != "control")
    assert lapsed["arm"].to_list() == ["anomaly"] * lapsed.height
    assert set(drawn["trace_id"]) <= set(again["trace_id"])


def test_the_second_reader_is_the_first_where_only_they_have_read():
    reviewers = [Reviewer("ada", 20), Reviewer("bo", 20)]
    first = queue([0.9] * 60, reviewers=reviewers)
    second = first.filter("is_second_opinion").head(1).select("trace_id", "reviewer")
    again = queue([0.9] * 60, reviewers=reviewers, reviewed=second, queued=first)
    rows = again.join(second, on="trace_id", how="semi")
    assert rows.filter(~pl.col("is_second_opinion")).select("trace_id", "reviewer").equals(second)


def test_a_trace_goes_to_the_narrowest_domain_it_fits():
    shape = pl.concat([traces(10), *(traces(i + 1, tool="refund").tail(1) for i in range(10, 20))])
    reviewers = [Reviewer("ada", 15), Reviewer("bo", 15, tools=("ref*",)), Reviewer("cy", 15, services=("bank",))]
    found = queue([0.9] * 20, shape=shape, reviewers=reviewers, using=ReviewSettings(second_share=0))
    assert set(found.filter(pl.col("reviewer") == "bo")["trace_id"]) == {made_id(i) for i in range(10, 20)}
    assert set(found["reviewer"]) == {"ada", "bo"}


def test_what_lies_in_nobodys_domain_is_everybodys():
    found = queue([0.9] * 20, reviewers=[Reviewer("bo", 5, words=("refund",)), Reviewer("cy", 5, services=("bank",))])
    assert found.group_by("reviewer").len().sort("reviewer").rows() == [("bo", 5), ("cy", 5)]


def test_the_control_draw_knows_no_domains():
    """Ada may read refunds only, of which there are none, and bo has no time: the draw is hers nevertheless."""
    reviewers = [Reviewer("ada", 20, words=("refund",)), Reviewer("bo", 0)]
    plain = queue([0.9] * 100).filter(pl.col("arm") == "control")
    found = queue([0.9] * 100, reviewers=reviewers).filter(pl.col("arm") == "control")
    assert set(found["trace_id"]) == set(plain["trace_id"])


def before(cycle: str, *rows: tuple[int, str], **changes: object) -> pl.DataFrame:
    """CANDIDATES of an earlier cycle: (trace, reviewer), all of one strong pattern of the anomaly arm."""
    usual = {"cycle": cycle, "day": date(2026, 2, 23), "service_name": "shop", "queue": "hedging", "rank": 1,
             "priority": 50.0, "reasons": ["because"], "pattern_id": "pat_old", "pattern_frequency": 9,
             "arm": "anomaly", "inclusion_probability": 1.0, "is_second_opinion": False,
             "status": "queued"}  # fmt: skip
    return CANDIDATES.conform(
        pl.DataFrame([{**usual, "trace_id": made_id(trace), "reviewer": name, **changes} for trace, name in rows])
    )


def test_what_nobody_read_competes_in_the_next_cycle_and_then_expires():
    found = queue([0.9] * 30, queued=before("2026-W09", (900, "ada")))
    row = found.filter(pl.col("trace_id") == made_id(900)).to_dicts()[0]
    assert (row["carried_from"], row["reviewer"], row["priority"]) == ("2026-W09", "ada", 50.0)
    assert (row["arm"], row["inclusion_probability"]) == ("anomaly", 1.0)
    for gone in (
        {"queued": before("2026-W08", (900, "ada"))},  # two cycles ago
        {"queued": before("2026-W09", (900, "ada"), carried_from="2026-W08")},  # first queued two cycles ago
        {"queued": before("2026-W09", (900, "ada"), arm="control")},  # draws expire
        {"queued": before("2026-W09", (900, "ada")), "reviewed": read((900, "ada"))},
        {"queued": before("2026-W09", (900, "ada")), "reviewed": read((900, "program"))},
    ):
        assert made_id(900) not in set(queue([0.9] * 30, **gone)["trace_id"])


def test_a_skipped_trace_goes_to_somebody_else():
    reviewers = [ADA, Reviewer("bo", 20)]
    kept_from = read(*[(i, "ada") for i in range(100)])
    found = queue([0.9] * 100, reviewers=reviewers, skipped=kept_from)
    assert set(found["reviewer"]) == {"bo"}


def test_a_tie_comes_back_to_a_reader_who_has_not_seen_it_and_is_not_told_who_said_what():
    old = before("2026-W08", (900, "ada"), (900, "bo"))
    past = {"queued": old, "disputed": old.select("trace_id").unique(), "reviewed": read((900, "ada"), (900, "bo"))}
    team = [Reviewer(name, 20) for name in ("ada", "bo", "cy")]
    row = queue([0.9] * 60, reviewers=team, **past).filter(pl.col("trace_id") == made_id(900)).to_dicts()
    assert [(r["reviewer"], r["is_second_opinion"], r["arm"], r["rank"]) for r in row] == [("cy", True, "anomaly", 1)]
    assert row[0]["reasons"] == ["one more opinion decides"]
    assert made_id(900) not in set(queue([0.9] * 60, reviewers=team[:2], **past)["trace_id"])
    assert made_id(900) not in set(queue([0.9] * 60, reviewers=team, cycle="2026-W11", **past)["trace_id"])


def test_what_the_evaluators_are_unsure_of_is_an_arm_of_its_own():
    doubts = [(made_id(i), 1.0, "an evaluator could not judge it") for i in range(50, 100)]
    found = queue([0.9] * 100, unsureness=pl.DataFrame(doubts, schema=UNSURENESS, orient="row"))
    arm = found.filter(pl.col("arm") == "uncertainty")
    assert arm.height in (2, 3)  # 0.15 of 20, less what the control draw has
    assert set(arm["trace_id"]) <= {made_id(i) for i in range(50, 100)}
    # Either arm: 0.02 + 0.98 * 3/50.
    assert arm["inclusion_probability"].to_list() == pytest.approx([0.0788] * arm.height)


NAMES = ["r0", "r1", "program"]
PAIRS = st.sets(st.tuples(st.integers(0, 50), st.sampled_from(NAMES)), max_size=40)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.floats(0, 1), max_size=40), st.lists(st.integers(0, 15), min_size=1, max_size=3), PAIRS, PAIRS, PAIRS
)
def test_any_queue_keeps_its_promises(scores: list[float], capacities: list[int], done: set, skipped: set, old: set):
    reviewers = [Reviewer(f"r{i}", capacity) for i, capacity in enumerate(capacities)]
    earlier = before("2026-W09", *sorted((trace + 500, name) for trace, name in old)) if old else CANDIDATES.empty()
    found = queue(
        scores, reviewers=reviewers, reviewed=read(*sorted(done)), skipped=read(*sorted(skipped)), queued=earlier
    )
    waiting = found.filter(pl.col("status") == "queued")
    assert found.select(CANDIDATES.key).is_unique().all()
    assert found.filter(~pl.col("is_second_opinion"))["trace_id"].is_unique().all()
    barred = {(made_id(trace), name) for trace, name in done | skipped}
    assert not set(waiting.select("trace_id", "reviewer").rows()) & barred
    assert all(waiting.filter(pl.col("reviewer") == r.name).height <= r.capacity for r in reviewers)
    assert found["inclusion_probability"].is_between(0, 1, closed="right").all()
    chances = found.filter(pl.col("arm") == "anomaly")["inclusion_probability"]
    assert (chances == 1).all()
    again = queue(
        scores, reviewers=reviewers, reviewed=read(*sorted(done)), skipped=read(*sorted(skipped)),
        queued=pl.concat([earlier, found]),
    )  # fmt: skip
    assert again.equals(found)
