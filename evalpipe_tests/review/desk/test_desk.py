import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from evalpipe.errors import ConflictError, InputError, StateError
from evalpipe.lake.store import Lake
from evalpipe.review.annotations import effective_annotations, read_annotations
from evalpipe.review.desk.desk import Answer, Desk
from evalpipe.settings import Settings
from evalpipe.tables import ANNOTATIONS, CANDIDATES, REVIEW_EVENTS, SPANS, TRACE_SIGNALS, TRACES
from evalpipe_tests.review.made import CYCLE, DAY, NOON, annotation, annotations, made_id, signals, traces, written

GOOD = Answer("good")
BAD = Answer("bad", "made up a price", "12 EUR", "twice", "It is lost.")
QUEUE = ("ada", CYCLE)


def queued(n: int, reviewer: str = "ada", first: int = 0, **columns) -> pl.DataFrame:
    """CANDIDATES of traces first, first + 1, ... for one reviewer, in this order."""
    rows = {
        "trace_id": [made_id(first + i) for i in range(n)],
        "rank": range(1, n + 1),
        "reasons": [["because of hedging"]] * n,
    }
    same = {
        "reviewer": reviewer,
        "cycle": CYCLE,
        "day": DAY,
        "service_name": "shop",
        "queue": "hedging",
        "arm": "anomaly",
    }
    more = {"priority": 1.0, "pattern_id": "pat_1", "pattern_frequency": n, "inclusion_probability": 1.0}
    named = {name: pl.lit(value) for name, value in (same | more | {"status": "queued"} | columns).items()}
    return CANDIDATES.conform(pl.DataFrame(rows).with_columns(**named))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Three traces queued for ada, the last of them for ben, too; trace 3 is in no queue."""
    lake = Lake(tmp_path / "lake")
    lake.append_new(TRACES, traces(4))
    lake.append_new(TRACE_SIGNALS, signals([0.9, 0.9, 0.9, 0.1]))
    lake.replace(CANDIDATES, pl.concat([queued(3), queued(1, "ben", first=2)]), partition=CYCLE)
    return lake


@pytest.fixture
def desk(lake: Lake) -> Desk:
    return opened(lake)


def opened(lake: Lake) -> Desk:
    return Desk(lake, Settings())


def answer(
    desk: Desk, trace: int, said: Answer, *, seen: str | None = None, minute: int = 0, reviewer: str = "ada"
) -> str:
    return desk.answer(reviewer, CYCLE, made_id(trace), said, seen=seen, now=NOON + timedelta(minutes=minute))


def statuses(desk: Desk, reviewer: str = "ada") -> list[str]:
    return [item.status for item in desk.overview(reviewer).items]


def test_the_queue_is_read_in_the_order_of_rank(desk: Desk):
    overview = desk.overview("ada")
    assert [item.trace_id for item in overview.items] == [made_id(0), made_id(1), made_id(2)]
    assert (overview.cycle, overview.cycles, overview.next_unread) == (CYCLE, [CYCLE], made_id(0))
    assert (overview.n_total, overview.n_done, overview.n_skipped, overview.n_left) == (3, 0, 0, 3)
    first = overview.items[0]
    assert (first.request, first.reasons, first.pattern_frequency) == ("where is it", ["because of hedging"], 3)


def test_everybody_with_a_queue_is_known_and_nobody_else(desk: Desk):
    assert desk.reviewers() == ["ada", "ben"]
    assert desk.cycles("carl") == []
    with pytest.raises(StateError, match="nothing is queued for 'carl'"):
        desk.overview("carl")


def test_an_empty_home_has_no_queue(tmp_path: Path):
    desk = opened(Lake(tmp_path))
    assert (desk.reviewers(), desk.modes()) == ([], [])


def test_a_sheet_shows_the_trace_and_its_neighbours_in_the_queue(desk: Desk):
    sheet = desk.sheet(*QUEUE, made_id(1))
    assert [step.role for step in sheet.steps] == ["user", "tool", "assistant"]
    assert (sheet.previous, sheet.next) == (made_id(0), made_id(2))
    assert (sheet.mine, sheet.seen) == (None, None)
    assert desk.sheet(*QUEUE, made_id(0)).previous is None
    assert desk.sheet(*QUEUE, made_id(2)).next is None


def test_what_is_not_in_the_queue_can_neither_be_read_nor_answered(desk: Desk):
    with pytest.raises(StateError, match="is not in the queue of 'ada'"):
        desk.sheet(*QUEUE, made_id(3))
    with pytest.raises(StateError, match="is not in the queue of 'ben'"):
        answer(desk, 0, GOOD, reviewer="ben")
    with pytest.raises(StateError, match=f"no queue of 'ada' for '1999-W01'; there are: {CYCLE}"):
        desk.sheet("ada", "1999-W01", made_id(0))


def test_an_answer_is_in_the_table_when_it_returns(desk: Desk, lake: Lake):
    annotation_id = answer(desk, 0, BAD)
    assert lake.read(ANNOTATIONS).row(0, named=True) == {
        "annotation_id": annotation_id,
        "trace_id": made_id(0),
        "verdict": "bad",
        "failure_mode": "made up a price",
        "correction": "12 EUR",
        "comment": "twice",
        "evidence": "It is lost.",
        "annotator": "ada",
        "annotated_at": NOON,
        "label_source": "human",
        "cycle": CYCLE,
        "source": "review page",
    }
    sheet = desk.sheet(*QUEUE, made_id(0))
    assert sheet.mine is not None
    assert (sheet.seen, sheet.mine.failure_mode, sheet.item.status) == (annotation_id, "made up a price", "done")
    overview = desk.overview("ada")
    assert (overview.n_done, overview.n_left, overview.next_unread) == (1, 2, made_id(1))


def test_an_answer_has_the_id_of_the_same_row_in_a_file(desk: Desk, lake: Lake, tmp_path: Path):
    annotation_id = answer(desk, 0, BAD)
    row = lake.read(ANNOTATIONS).row(0, named=True) | {"annotated_at": NOON.isoformat()}
    file = read_annotations(written(tmp_path, "export.jsonl", row), known_traces=set, now=NOON)
    assert file.rows["annotation_id"].to_list() == [annotation_id]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (Answer("bad"), "verdict bad without a failure_mode"),
        (Answer("bad", " \r\n"), "verdict bad without a failure_mode"),
        (Answer("good", "slow"), "verdict good with a failure_mode"),
        (Answer("partial", "?!"), "failure_mode '?!' has no words"),
        (Answer("withdrawn"), "'withdrawn' is none of good, bad, partial"),
        (Answer("fine"), "'fine' is none of good, bad, partial"),
    ],
)
def test_an_answer_passes_the_checks_of_a_file(desk: Desk, lake: Lake, said: Answer, reason: str):
    with pytest.raises(InputError, match=reason.replace("?", r"\?")):
        answer(desk, 0, said)
    assert lake.read(ANNOTATIONS).is_empty()


def test_the_same_submit_sent_again_is_one_answer(desk: Desk, lake: Lake):
    first = answer(desk, 0, BAD)
    spaced = Answer("bad", " made up a price\r\n", "12 EUR", "twice", "It is lost.")
    assert answer(desk, 0, spaced, minute=1) == first
    assert answer(opened(lake), 0, BAD, minute=2) == first
    assert lake.read(ANNOTATIONS).height == 1


def test_a_submit_that_comes_late_does_not_undo_what_was_said_since(desk: Desk):
    first = answer(desk, 0, BAD)
    desk.withdraw(*QUEUE, made_id(0), seen=first, now=NOON)
    with pytest.raises(ConflictError, match="in another window"):
        answer(desk, 0, BAD, minute=1)
    assert statuses(desk) == ["queued"] * 3


def test_two_windows_do_not_overwrite_each_other(desk: Desk, lake: Lake):
    answer(desk, 0, BAD)
    with pytest.raises(ConflictError, match="in another window"):
        answer(opened(lake), 0, GOOD, minute=1)
    mine = desk.sheet(*QUEUE, made_id(0)).mine
    assert mine is not None
    assert mine.verdict == "bad"


def test_a_changed_answer_is_all_that_still_stands(desk: Desk, lake: Lake):
    seen = answer(desk, 0, BAD)
    seen = answer(desk, 0, Answer("bad", "rude"), seen=seen, minute=1)
    stands = effective_annotations(lake.read(ANNOTATIONS))
    assert stands["failure_mode"].to_list() == ["rude"]
    seen = answer(desk, 0, Answer("partial", "Rude!"), seen=seen, minute=2)
    answer(desk, 0, GOOD, seen=seen, minute=3)
    # Nothing is deleted: bad, withdrawn and bad, partial, good.
    said = lake.read(ANNOTATIONS).sort("annotated_at")["verdict"].to_list()
    assert said == ["bad", "withdrawn", "bad", "partial", "good"]
    assert effective_annotations(lake.read(ANNOTATIONS))["verdict"].to_list() == ["good"]


def test_a_clock_that_runs_behind_does_not_lose_an_answer(desk: Desk):
    seen = answer(desk, 0, BAD)
    answer(desk, 0, GOOD, seen=seen, minute=-60)
    mine = desk.sheet(*QUEUE, made_id(0)).mine
    assert mine is not None
    assert (mine.verdict, mine.annotated_at) == ("good", NOON + timedelta(microseconds=1))


def test_withdrawing_makes_a_trace_unread_and_needs_the_newest_answer(desk: Desk):
    seen = answer(desk, 0, BAD)
    with pytest.raises(ConflictError):
        desk.withdraw(*QUEUE, made_id(0), seen=None, now=NOON)
    desk.withdraw(*QUEUE, made_id(0), seen=seen, now=NOON)
    desk.withdraw(*QUEUE, made_id(0), seen=seen, now=NOON)  # sent again
    sheet = desk.sheet(*QUEUE, made_id(0))
    assert (sheet.mine, sheet.item.status) == (None, "queued")
    assert sheet.seen not in (None, seen)
    answer(desk, 0, GOOD, seen=sheet.seen, minute=1)
    assert statuses(desk)[0] == "done"


def test_a_skip_is_kept_with_its_reason_and_can_be_taken_back(desk: Desk, lake: Lake):
    desk.skip(*QUEUE, made_id(1), " not my field ", now=NOON)
    desk.skip(*QUEUE, made_id(1), "not my field", now=NOON + timedelta(minutes=1))  # sent again
    assert lake.read(REVIEW_EVENTS).select("kind", "reason").rows() == [("skipped", "not my field")]
    assert statuses(desk) == ["queued", "skipped", "queued"]
    assert (desk.overview("ada").n_skipped, desk.overview("ada").n_left) == (1, 2)
    desk.unskip(*QUEUE, made_id(1), now=NOON - timedelta(minutes=1))  # by a clock that runs behind
    assert statuses(desk) == ["queued"] * 3


def test_a_skip_needs_a_reason_and_no_answer(desk: Desk):
    with pytest.raises(InputError, match="needs a reason"):
        desk.skip(*QUEUE, made_id(0), "  ", now=NOON)
    answer(desk, 0, GOOD)
    with pytest.raises(ConflictError, match="has your answer"):
        desk.skip(*QUEUE, made_id(0), "too long", now=NOON)


def test_undo_goes_back_act_by_act(desk: Desk):
    answer(desk, 0, GOOD)
    desk.skip(*QUEUE, made_id(1), "too long", now=NOON + timedelta(minutes=1))
    answer(desk, 2, BAD, minute=2)
    undone = [desk.undo(*QUEUE, now=NOON + timedelta(minutes=3)) for _ in range(4)]
    assert undone == [made_id(2), made_id(1), made_id(0), None]
    assert statuses(desk) == ["queued"] * 3


def test_undo_leaves_alone_what_was_not_said_here(desk: Desk, lake: Lake):
    lake.append_new(ANNOTATIONS, annotations(annotation(0, cycle=CYCLE, source="monday.csv")))
    answer(desk, 2, GOOD, reviewer="ben")
    assert desk.undo(*QUEUE, now=NOON) is None
    assert statuses(desk)[0] == "done"


def test_a_reviewer_sees_nobody_elses_opinion(desk: Desk, lake: Lake):
    answer(desk, 2, BAD, reviewer="ben")
    lake.append_new(ANNOTATIONS, annotations(annotation(2, label_source="programmatic")))
    sheet = desk.sheet(*QUEUE, made_id(2))
    assert (sheet.mine, sheet.seen, sheet.item.verdict, sheet.item.status) == (None, None, None, "queued")
    assert {turn.verdict for turn in sheet.session} == {None}


def test_what_was_read_before_the_queue_was_built_is_done(desk: Desk, lake: Lake):
    lake.replace(CANDIDATES, queued(3, status="reviewed"), partition=CYCLE)
    assert statuses(desk) == ["done"] * 3
    seen = answer(desk, 0, GOOD)
    desk.withdraw(*QUEUE, made_id(0), seen=seen, now=NOON)
    assert statuses(desk) == ["queued", "done", "done"]


def test_what_others_write_is_seen_at_once(desk: Desk, lake: Lake):
    assert statuses(desk) == ["queued"] * 3
    answer(opened(lake), 1, GOOD)
    lake.append_new(ANNOTATIONS, annotations(annotation(2, "bad", "rude", source="tuesday.csv")))
    assert statuses(desk) == ["queued", "done", "done"]
    lake.replace(CANDIDATES, queued(2, first=1), partition=CYCLE)
    assert [item.trace_id for item in desk.overview("ada").items] == [made_id(1), made_id(2)]


def test_many_at_once_lose_nothing_and_double_nothing(lake: Lake):
    n = 12
    lake.append_new(TRACES, traces(n))
    lake.replace(CANDIDATES, pl.concat([queued(n), queued(n, "ben")]), partition=CYCLE)
    desks = [opened(lake), opened(lake)]  # as in two processes
    start = threading.Barrier(4)

    def read(desk: Desk, reviewer: str) -> None:
        start.wait()
        for trace in range(n):
            answer(desk, trace, BAD, reviewer=reviewer, minute=trace)

    with ThreadPoolExecutor(4) as pool:  # each reviewer's every submit arrives at both
        list(pool.map(lambda pair: read(*pair), [(desk, name) for desk in desks for name in ("ada", "ben")]))
    said = lake.read(ANNOTATIONS)
    assert said.select("trace_id", "annotator").n_unique() == 2 * n
    assert said.height == 2 * n


def test_facts_and_session_come_from_the_tables(tmp_path: Path):
    lake = Lake(tmp_path)
    second = 10**9
    of_session = traces(3, session_id="s", n_input_tokens=20, n_output_tokens=None, duration_ns=1_500_000_000)
    starts = pl.Series([7 * second, 3 * second, 5 * second])
    lake.append_new(TRACES, of_session.with_columns(start_unix_ns=starts))
    spans = [
        {
            "trace_id": made_id(0),
            "span_id": f"{i:016x}",
            "model": model,
            "parent_span_id": parent,
            "status_message": text,
        }
        for i, (model, parent, text) in enumerate(
            [(None, None, "upstream"), ("b", "1", "no"), ("a", "1", None), ("b", "1", None)]
        )
    ]
    same = {
        "start_unix_ns": 0,
        "end_unix_ns": 1,
        "service_name": "shop",
        "name": "x",
        "operation": "llm",
        "status": "ok",
    }
    more = {"day": DAY, "dialect": "test", "segment_id": "s", "ingested_at": NOON}
    named = {name: pl.lit(value) for name, value in (same | more).items()}
    lake.append_new(SPANS, SPANS.conform(pl.DataFrame(spans).with_columns(**named)))
    lake.replace(CANDIDATES, queued(1, session_id="s"), partition=CYCLE)
    sheet = opened(lake).sheet(*QUEUE, made_id(0))
    assert (sheet.facts.n_tokens, sheet.facts.duration_s, sheet.facts.cost_usd) == (20, 1.5, None)
    assert (sheet.facts.models, sheet.facts.status_message) == (["a", "b"], "upstream")
    assert [(turn.trace_id, turn.is_current) for turn in sheet.session] == [
        (made_id(1), False),
        (made_id(2), False),
        (made_id(0), True),
    ]


def test_a_trace_that_left_the_tables_can_still_be_skipped(desk: Desk, lake: Lake):
    lake.replace(CANDIDATES, queued(1, first=9), partition=CYCLE)
    assert desk.overview("ada").items[0].request is None
    with pytest.raises(StateError, match="no longer in the tables"):
        desk.sheet(*QUEUE, made_id(9))
    desk.skip(*QUEUE, made_id(9), "gone", now=NOON)
    assert statuses(desk) == ["skipped"]


def test_the_turns_of_a_session_carry_the_reviewers_own_verdicts(tmp_path: Path):
    lake = Lake(tmp_path)
    lake.append_new(TRACES, traces(3, session_id="s"))
    lake.append_new(ANNOTATIONS, annotations(annotation(0, "bad", "rude"), annotation(2, annotator="ben")))
    lake.replace(CANDIDATES, queued(1, first=1, session_id="s"), partition=CYCLE)
    turns = opened(lake).sheet(*QUEUE, made_id(1)).session
    assert {turn.trace_id: turn.verdict for turn in turns} == {made_id(0): "bad", made_id(1): None, made_id(2): None}


def test_a_long_session_is_shown_around_the_trace(tmp_path: Path):
    lake = Lake(tmp_path)
    n = 100
    lake.append_new(TRACES, traces(n, session_id="s").with_columns(start_unix_ns=pl.int_range(n)))
    places = (0, 50, 99)
    lake.replace(CANDIDATES, pl.concat(queued(1, first=place, session_id="s") for place in places), partition=CYCLE)
    desk = opened(lake)
    turns = [desk.sheet(*QUEUE, made_id(place)).session for place in places]
    # 40 turns: as many before as after, and as many as there are at either end.
    assert [(shown[0].trace_id, shown[-1].trace_id) for shown in turns] == [
        (made_id(0), made_id(39)),
        (made_id(30), made_id(69)),
        (made_id(60), made_id(99)),
    ]


def test_a_skip_of_what_left_the_queue_is_not_undone(desk: Desk, lake: Lake):
    desk.skip(*QUEUE, made_id(2), "too long", now=NOON)
    lake.replace(CANDIDATES, queued(2), partition=CYCLE)
    assert desk.undo(*QUEUE, now=NOON) is None


def test_a_trace_lies_in_the_newest_cycle_it_was_queued_in_read_or_unread(desk: Desk, lake: Lake):
    lake.replace(CANDIDATES, queued(1, cycle="2026-W11"), partition="2026-W11")
    desk.answer(*QUEUE, made_id(1), GOOD, seen=None, now=NOON)
    places = desk.places("ada", [made_id(number) for number in (0, 1, 3)])
    assert places == {made_id(0): ("2026-W11", False), made_id(1): (CYCLE, True)}
