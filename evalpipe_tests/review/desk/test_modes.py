from typing import Any

import polars as pl

from evalpipe.ids import issue_id
from evalpipe.review.desk.modes import Mode, Modes
from evalpipe.tables import CANDIDATES, ISSUES
from evalpipe_tests.review.made import CYCLE, DAY, NOON, annotation, annotations, made_id


def issue(name: str, n: int = 1, state: str = "active", **columns: Any) -> dict[str, Any]:
    times = {"first_seen_at": NOON, "last_seen_at": NOON, "updated_at": NOON}
    row = {"issue_id": issue_id(name), "name": name, "state": state, "n_failures": n, "services": ["shop"], "flags": []}
    return {**row, **times, "merged_into": None, **columns}


def issues(*rows: dict[str, Any]) -> pl.DataFrame:
    return ISSUES.conform(pl.DataFrame(list(rows), schema=ISSUES.schema))


def queued(trace: int, **columns: Any) -> pl.DataFrame:
    row = {
        "cycle": CYCLE, "trace_id": made_id(trace), "reviewer": "ada", "day": DAY, "service_name": "shop",
        "queue": "hedging", "rank": 1, "priority": 1.0, "reasons": ["so"], "pattern_id": "pat_1",
        "pattern_frequency": 1, "arm": "anomaly", "inclusion_probability": 1.0, "status": "queued",
    }  # fmt: skip
    return CANDIDATES.conform(pl.DataFrame([row | columns]))


def names(modes: Modes, service_name: str | None = "shop") -> list[str]:
    return [mode.name for mode in modes.of(service_name)]


def test_open_ones_come_first_then_the_services_own_then_the_frequent():
    modes = Modes(
        issues(
            issue("settled", 99, "resolved"),
            issue("elsewhere", 50, services=["bank"]),
            issue("rare", 1, "candidate"),
            issue("often", 9),
        ),
        annotations(),
        CANDIDATES.empty(),
    )
    assert names(modes) == ["often", "rare", "elsewhere", "settled"]
    assert names(modes, "bank") == ["elsewhere", "often", "rare", "settled"]
    assert names(modes, None) == ["elsewhere", "often", "rare", "settled"]


def test_words_without_an_issue_are_offered_as_new_with_their_traces():
    said = annotations(
        annotation(1, "bad", "Made up a price"),
        annotation(2, "partial", "made up a price!", minute=1, comment="12 EUR is nowhere"),
        annotation(3, "bad", "rude"),
        annotation(3, "withdrawn", minute=1),
    )
    (mode,) = Modes(ISSUES.empty(), said, queued(1)).of("shop")
    assert mode == Mode("made up a price!", "12 EUR is nowhere", 2, None, "new")


def test_an_issue_is_described_by_what_a_person_said_of_it_last_also_through_a_merge():
    taken_over = issue("invents fees", state="merged", merged_into=issue_id("made up a price"))
    said = annotations(
        annotation(1, "bad", "Made up a price", comment="first"),
        annotation(2, "bad", "invents fees", minute=1, comment="x" * 500),
        annotation(3, "bad", "invents fees", minute=2),
    )
    (mode,) = Modes(issues(issue("made up a price", 7), taken_over), said, CANDIDATES.empty()).of(None)
    # 160 characters of a description are shown.
    assert mode == Mode("made up a price", "x" * 160, 7, issue_id("made up a price"), "active")


def test_a_comment_on_a_trace_that_two_people_read_is_kept_from_the_other():
    said = annotations(annotation(1, "bad", "rude", comment="this very trace"))
    (mode,) = Modes(ISSUES.empty(), said, queued(1, is_second_opinion=True)).of("shop")
    assert (mode.description, mode.n_failures) == ("", 1)


def test_without_anything_there_is_nothing_to_offer():
    assert Modes(ISSUES.empty(), annotations(), CANDIDATES.empty()).of("shop") == []
