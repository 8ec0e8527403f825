import polars as pl
import pytest

from evalpipe.issues import decisions
from evalpipe.issues.board import Board, board_of, open_pairs, shared_places
from evalpipe.issues.grouping import sightings
from evalpipe.issues.replay import Issues, replay
from evalpipe.tables import ISSUE_EVENTS, ISSUE_PROPOSALS, ISSUES
from evalpipe_tests.issues.made import RUDE, SLOW, later, said

SAID = said(
    (1, "slow", 1),
    (2, "Slow!", 2),
    (3, "SLOW", 3),
    (3, "slow", 4),  # the same trace again
    (4, "rude", 5),
    (5, None, 6),
    (6, "slow", 7, "model"),
)
EVENTS = sightings(SAID, ISSUE_EVENTS.empty())
ISSUE = replay(EVENTS)


def board(*events: pl.DataFrame, services: dict[str, list[str]] | None = None, proposals: pl.DataFrame) -> Board:
    issues = states(*events)
    table = pl.DataFrame(
        {"issue_id": list(services or {}), "services": list((services or {}).values())},
        schema={"issue_id": pl.String, "services": ISSUES.schema["services"]},
    )
    return board_of(issues, open_pairs(proposals, issues), SAID, table)


def states(*events: pl.DataFrame) -> Issues:
    return replay(pl.concat([EVENTS, *events]))


def proposed(*pairs: tuple[str, str]) -> pl.DataFrame:
    rows = [
        {"issue_id": one, "into_issue_id": into, "name": "", "into_name": "", "similarity": 0.9 - at / 10}
        | {"shared_words": ["slow"], "reason": "both say 'slow'"}
        for at, (one, into) in enumerate(pairs)
    ]
    return ISSUE_PROPOSALS.conform(pl.DataFrame(rows)) if rows else ISSUE_PROPOSALS.empty()


def merged(now: int = 20) -> pl.DataFrame:
    return decisions.merge(ISSUE[RUDE], ISSUE[SLOW], author="ada", now=later(now))


def test_a_card_counts_what_people_wrote_not_what_models_say():
    slow, rude = board(proposals=proposed()).cards
    # Traces 1, 2 and 3, the last of them twice; "slow" was written twice, "Slow!" and "SLOW" once each.
    assert (slow.issue_id, slow.n_failures, slow.n_people, slow.last_seen_at) == (SLOW, 3, 1, later(4))
    assert [(wording.text, wording.n_traces) for wording in slow.wordings] == [("slow", 3)]
    assert (rude.issue_id, rude.n_failures) == (RUDE, 1)


def test_after_a_merge_there_is_one_card_in_both_peoples_words_and_services():
    (card,) = board(merged(), services={SLOW: ["shop"], RUDE: ["desk"]}, proposals=proposed()).cards
    assert (card.name, card.n_failures) == ("slow", 4)
    assert [wording.mode for wording in card.wordings] == ["slow", "rude"]
    assert card.services == ["desk", "shop"]


def test_a_name_that_nobody_wrote_is_a_wording_without_traces():
    renamed = decisions.rename(ISSUE[SLOW], "takes long", author="ada", now=later(20), issues=ISSUE)
    card = board(renamed, proposals=proposed()).cards[0]
    assert [(wording.text, wording.n_traces) for wording in card.wordings] == [("slow", 3), ("takes long", 0)]


def test_open_issues_come_first_whatever_their_number():
    resolved = decisions.resolve(ISSUE[SLOW], author="ada", now=later(20))
    assert [card.name for card in board(resolved, proposals=proposed()).cards] == ["rude", "slow"]


def test_a_pair_shows_both_issues_with_one_example_for_each_trace_the_newest_first():
    (pair,) = board(proposals=proposed((RUDE, SLOW))).pairs
    assert (pair.issue.name, pair.into.name, pair.shared_words) == ("rude", "slow", ["slow"])
    assert [int(example.trace_id, 16) for example in pair.into.examples] == [3, 2, 1]


def test_examples_are_kept_for_pairs_alone():
    assert all(not card.examples for card in board(proposals=proposed()).cards)


@pytest.mark.parametrize(
    "decided",
    [merged(), decisions.keep_apart(ISSUE[SLOW], ISSUE[RUDE], author="ada", now=later(20))],
    ids=["merged", "kept apart"],
)
def test_a_pair_that_was_decided_on_since_is_not_shown_again(decided: pl.DataFrame):
    assert open_pairs(proposed((RUDE, SLOW)), states(decided)) == []


def test_a_pair_of_which_neither_is_open_is_not_shown():
    both = [decisions.resolve(ISSUE[each], author="ada", now=later(20)) for each in (SLOW, RUDE)]
    assert open_pairs(proposed((RUDE, SLOW)), states(*both)) == []


def test_a_pair_follows_its_issue_through_a_merge_and_is_shown_once():
    more = pl.concat([SAID, said((7, "slowly", 8))])
    events = sightings(more, ISSUE_EVENTS.empty())
    (slowly,) = set(replay(events)) - {SLOW, RUDE}
    pairs = open_pairs(proposed((slowly, RUDE), (slowly, SLOW)), replay(pl.concat([events, merged()])))
    assert [(pair.issue_id, pair.into_issue_id) for pair in pairs] == [(slowly, SLOW)]


def test_a_proposal_of_an_issue_that_is_not_there_is_passed_over():
    assert open_pairs(proposed(("iss_0000000000", SLOW)), states()) == []


@pytest.mark.parametrize(
    ("text", "words", "shown"),
    [
        ("It is MADE UP, a refund", ["invented", "refund"], ["MADE UP", "refund"]),
        ("asks for the refunds", ["asked", "order"], ["asks"]),
        ("never, ever", ["not"], ["never"]),
        ("", ["not"], []),
        ("too slow", [], []),
    ],
)
def test_shared_words_are_found_in_whatever_form_they_were_written(text: str, words: list[str], shown: list[str]):
    assert [text[start:end] for start, end in shared_places(text, words)] == shown
