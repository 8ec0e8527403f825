"""The issues page as plain forms, without any script: what it shows, what it decides, and how it says no."""

from pathlib import Path

import polars as pl
import pytest

from evalpipe.home import Home
from evalpipe.ids import issue_id
from evalpipe.tables import ISSUE_EVENTS, ISSUE_PROPOSALS
from evalpipe_tests.review.made import CYCLE
from evalpipe_tests.web.reviewed import (
    HOSTILE,
    LOUD,
    PROMISED,
    UNSENT,
    address_of,
    client,
    issue_names,
    issues_home,
    review_home,
)

ISSUES = "/review/issues"
PAIR = {"issue": issue_id(UNSENT), "other": issue_id(PROMISED)}
MERGE = PAIR | {"do": "merge", "into": issue_id(PROMISED)}
MERGED = [PROMISED.lower(), UNSENT]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return issues_home(tmp_path)


def test_two_ways_to_say_one_thing_stand_side_by_side_with_what_was_written(home):
    page = client(home).get(ISSUES).text
    assert "1 pair to decide" in page
    assert '<b class="shared">Promised</b> a <b class="shared">refund</b>' in page
    assert '<b class="shared">promised</b> <b class="shared">refund</b> was' in page
    assert page.index("note 22") < page.index("note 21") < page.index("note 20")
    assert "Your refund is on its way" in page


def test_the_name_of_the_more_frequent_stays_unless_another_is_chosen(home):
    assert f'value="{issue_id(PROMISED)}" checked' in client(home).get(ISSUES).text
    client(home).post(ISSUES, data=MERGE | {"into": issue_id(UNSENT)})
    assert issue_names(home) == {UNSENT: [UNSENT, PROMISED.lower()], LOUD: ["b shouts b"]}


def test_a_merge_is_an_event_in_the_name_of_who_decides(home):
    done = client(home).post(ISSUES, data=MERGE)
    assert (done.status_code, done.headers["location"]) == (303, ISSUES)
    assert issue_names(home)[PROMISED] == MERGED
    assert home.lake.read(ISSUE_EVENTS, pl.col("kind") == "merged")["author"].to_list() == ["maria"]


def test_what_was_decided_is_said_and_can_be_taken_back_by_who_decided(home):
    maria, ben = client(home, "maria"), client(home, "ben")
    maria.post(ISSUES, data=MERGE)
    assert "Take it back" not in ben.get(ISSUES).text
    page = maria.get(ISSUES).text
    assert "now counts as" in page
    assert "Do these mean the same?" not in page
    act = home.lake.read(ISSUE_EVENTS, pl.col("kind") == "merged")["event_id"].item()
    assert ben.post(ISSUES, data={"do": "undo", "act": act}).status_code == 409
    assert maria.post(ISSUES, data={"do": "undo", "act": act}).status_code == 303
    assert issue_names(home)[UNSENT] == [UNSENT]


def test_an_undo_of_an_old_window_takes_nothing_else_back(home):
    browser = client(home)
    browser.post(ISSUES, data=MERGE)
    refused = browser.post(ISSUES, data={"do": "undo", "act": "0000000000000000"})
    assert refused.status_code == 409
    assert "not your last decision any more" in refused.text
    assert issue_names(home)[PROMISED] == MERGED


def test_what_is_kept_apart_is_not_asked_again_and_stands(home):
    browser = client(home)
    browser.post(ISSUES, data=PAIR | {"do": "apart"})
    page = browser.get(ISSUES).text
    assert "are not proposed again" in page
    assert "This stands" in page
    assert "Take it back" not in page
    assert len(issue_names(home)) == 3


def test_an_issue_is_renamed_and_keeps_what_was_written(home):
    client(home).post(ISSUES, data={"do": "rename", "issue": issue_id(UNSENT), "name": "No money came"})
    assert issue_names(home)["No money came"] == [UNSENT, "no money came"]


def test_a_mode_is_split_off_into_an_issue_of_its_own(home):
    browser = client(home)
    browser.post(ISSUES, data=MERGE)
    assert "Split off" in browser.get(ISSUES).text
    browser.post(ISSUES, data={"do": "split", "issue": issue_id(PROMISED), "mode": UNSENT})
    assert issue_names(home)[UNSENT] == [UNSENT]
    assert "is an issue of its own" in browser.get(ISSUES).text


def test_an_issue_is_merged_into_one_that_is_named_by_hand(home):
    client(home).post(ISSUES, data={"do": "merge", "issue": issue_id(LOUD), "into": PROMISED.upper()})
    assert issue_names(home)[PROMISED] == [PROMISED.lower(), "b shouts b"]


@pytest.mark.parametrize(
    ("form", "said"),
    [
        (MERGE, f"issue “{UNSENT}” is merged"),  # as somebody has just done
        ({"do": "merge", "issue": issue_id(LOUD), "into": "no such"}, "no issue &#39;no such&#39;"),
        ({"do": "merge", "issue": issue_id(LOUD), "into": issue_id(LOUD)}, "merge needs two issues"),
        ({"do": "rename", "issue": issue_id(LOUD), "name": PROMISED}, "is already issue"),
        ({"do": "split", "issue": issue_id(LOUD), "mode": "b shouts b"}, "would have no failure mode left"),
    ],
)
def test_what_cannot_be_done_is_said_in_words_and_changes_nothing(home, form, said):
    client(home, "ben").post(ISSUES, data=MERGE)
    version = home.lake.version(ISSUE_EVENTS)
    refused = client(home).post(ISSUES, data=form)
    assert refused.status_code == 409
    told = refused.text.split('role="alert" data-news>')[1].split("</p>")[0]
    assert said in told
    assert "iss_" not in told
    assert "evalpipe" not in told
    assert home.lake.version(ISSUE_EVENTS) == version


@pytest.mark.parametrize(
    "form", [{"do": ""}, {"do": "drop", "issue": "x"}, {"do": "merge", "issue": ""}, PAIR | {"do": "merge"}]
)
def test_a_form_that_says_nothing_is_refused(home, form):
    assert client(home).post(ISSUES, data=form).status_code == 400


def test_what_others_say_of_a_trace_is_kept_from_who_is_still_to_read_it(home):
    browser = client(home)
    assert "Maria&#39;s eyes" not in browser.get(ISSUES).text
    browser.post(address_of(0), data={"verdict": "good"})
    page = browser.get(ISSUES).text
    assert "Maria&#39;s eyes" in page
    assert f'<a href="{address_of(0)}"' in page


def test_names_and_comments_are_never_html(home):
    client(home).post(ISSUES, data={"do": "rename", "issue": issue_id(UNSENT), "name": HOSTILE})
    page = client(home).get(ISSUES).text
    assert LOUD not in page
    assert HOSTILE not in page
    assert "&lt;script&gt;" in page


def test_the_queue_says_how_many_pairs_wait(home):
    browser = client(home)
    assert 'Issues <span class="count">1' in browser.get(f"/review/{CYCLE}").text
    browser.post(ISSUES, data=MERGE)
    assert 'class="count"' not in browser.get(f"/review/{CYCLE}").text


def test_what_the_pipeline_finds_meanwhile_is_on_the_next_page(home):
    browser = client(home)
    proposals = home.lake.read(ISSUE_PROPOSALS)
    home.lake.replace(ISSUE_PROPOSALS, proposals.clear())
    assert "Do these mean the same?" not in browser.get(ISSUES).text
    home.lake.replace(ISSUE_PROPOSALS, proposals)
    assert "Do these mean the same?" in browser.get(ISSUES).text


def test_a_stranger_decides_nothing(home):
    stranger = client(home, None)
    assert stranger.get(ISSUES).headers["location"] == "/review/sign-in"
    assert stranger.post(ISSUES, data=MERGE).status_code == 401
    assert client(home).post(ISSUES, data=MERGE, headers={"origin": "http://evil.example"}).status_code == 403
    assert client(home, "ben").post(ISSUES, data=MERGE | {"reviewer": "maria"}).status_code == 409
    assert len(issue_names(home)) == 3


def test_before_anything_was_written_the_page_says_where_issues_come_from(tmp_path):
    assert "There is no issue yet" in client(review_home(tmp_path)).get(ISSUES).text
