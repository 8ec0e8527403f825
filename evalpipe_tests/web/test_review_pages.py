"""The pages as plain forms, without any script: what they show, what they save, and how they say no."""

import re
from hashlib import sha256

import pytest

from evalpipe.tables import REVIEW_EVENTS
from evalpipe.web.review_pages import next_to_read
from evalpipe_tests.review.made import CYCLE, made_id
from evalpipe_tests.web.reviewed import HOSTILE, MODES, address_of, client, opinions, review_home

N = 4


@pytest.fixture
def home(tmp_path):
    return review_home(tmp_path, n=N)


def seen_of(page: str) -> str:
    """What the form of a trace page says it has seen."""
    found = re.search(r'id="answer".*?name="seen" value="([^"]*)"', page, re.DOTALL)
    assert found
    return found[1]


def test_signing_in_leads_to_the_newest_queue(home):
    browser = client(home)
    assert browser.get("/review").headers["location"] == f"/review/{CYCLE}"
    page = browser.get(f"/review/{CYCLE}").text
    assert f"{N} traces to read" in page
    assert "2026-W09" in page
    assert "it hedges 6 times in 100 words" in page


def test_a_trace_is_shown_as_a_conversation_with_its_reasons_and_marks(home):
    page = client(home).get(address_of(0)).text
    assert "Where is my order 48213?" in page
    assert "lookup_order" in page
    assert re.search(r'<mark [^>]*data-signal="hedging"[^>]*>might possibly arrive</mark>', page)
    assert re.search(r'<mark [^>]*data-signal="ignored_error"[^>]*>TimeoutError</mark>', page)
    assert all(mode in page for mode in MODES)


def test_trace_text_is_never_html(home):
    page = client(home).get(address_of(1)).text
    assert HOSTILE not in page
    assert "&lt;script&gt;document.title=&#39;owned&#39;&lt;/script&gt;" in page


def test_an_answer_is_saved_and_the_next_unread_trace_comes(home):
    browser = client(home)
    form = {"verdict": "bad", "failure_mode": "Wrong language", "evidence": "a\r\nb", "reviewer": "maria"}
    answered = browser.post(address_of(0), data=form)
    assert (answered.status_code, answered.headers["location"]) == (303, address_of(1))
    assert opinions(home) == {0: ("bad", "Wrong language")}
    assert "a\nb</textarea>" in browser.get(address_of(0)).text


def test_a_good_answer_has_no_failure_mode_even_if_one_was_typed_before(home):
    client(home).post(address_of(0), data={"verdict": "good", "failure_mode": "typed before"})
    assert opinions(home) == {0: ("good", None)}


def test_the_same_answer_sent_twice_is_one_answer(home):
    browser = client(home)
    for _ in range(2):
        assert browser.post(address_of(0), data={"verdict": "good", "seen": ""}).status_code == 303
    assert opinions(home) == {0: ("good", None)}


def test_another_answer_from_an_old_window_shows_both_and_saves_neither(home):
    browser = client(home)
    browser.post(address_of(0), data={"verdict": "good", "seen": ""})
    refused = browser.post(address_of(0), data={"verdict": "bad", "failure_mode": "<b>new</b>", "seen": ""})
    assert refused.status_code == 409
    assert "&lt;b&gt;new&lt;/b&gt;" in refused.text
    assert opinions(home) == {0: ("good", None)}
    # The form on that page has seen what is saved, so it may replace it.
    seen = re.search(r'name="seen" value="([^"]+)"', refused.text)
    assert seen
    form = {"verdict": "bad", "failure_mode": "<b>new</b>", "seen": seen[1]}
    assert browser.post(address_of(0), data=form).status_code == 303
    assert opinions(home) == {0: ("bad", "<b>new</b>")}


def test_two_reviewers_answer_the_same_trace_and_see_only_their_own(home):
    maria, ben = client(home, "maria"), client(home, "ben")
    maria.post(address_of(0), data={"verdict": "good"})
    assert "Saved:" not in ben.get(address_of(0)).text
    ben.post(address_of(0), data={"verdict": "bad", "failure_mode": "Wrong language"})
    assert opinions(home, "maria") == {0: ("good", None)}
    assert opinions(home, "ben") == {0: ("bad", "Wrong language")}


def test_a_page_opened_by_one_reviewer_never_saves_for_another(home):
    refused = client(home, "ben").post(address_of(0), data={"verdict": "good", "reviewer": "maria"})
    assert refused.status_code == 409
    assert "opened by maria, and now ben is signed in" in refused.text
    assert opinions(home, "ben") == opinions(home, "maria") == {}


def test_a_skip_is_kept_with_its_reason_and_can_be_taken_back(home):
    browser = client(home)
    skipped = browser.post(f"{address_of(0)}/skip", data={"reason": "Another time", "own_reason": "too long"})
    assert skipped.headers["location"] == address_of(1)
    assert home.lake.read(REVIEW_EVENTS)["reason"].to_list() == ["too long"]
    assert "You skipped this one" in browser.get(address_of(0)).text
    browser.post(f"{address_of(0)}/unskip", data={"reviewer": "maria"})
    assert "You skipped this one" not in browser.get(address_of(0)).text


def test_undo_goes_back_to_the_trace_of_the_last_answer(home):
    browser = client(home)
    browser.post(address_of(2), data={"verdict": "good"})
    undo = {"url": f"/review/{CYCLE}/undo", "data": {"reviewer": "maria"}}
    assert browser.post(**undo).headers["location"] == address_of(2)
    assert opinions(home) == {}
    assert browser.post(**undo).status_code == 204


def test_an_answer_can_be_withdrawn_at_its_trace(home):
    browser = client(home)
    browser.post(address_of(0), data={"verdict": "good"})
    seen = seen_of(browser.get(address_of(0)).text)
    assert browser.post(f"{address_of(0)}/withdraw", data={"seen": seen}).headers["location"] == address_of(0)
    assert opinions(home) == {}


def test_after_the_last_trace_comes_the_queue_and_says_so(home):
    browser = client(home)
    for number in range(N):
        last = browser.post(address_of(number), data={"verdict": "good"})
    assert last.headers["location"] == f"/review/{CYCLE}"
    assert f"All {N} are done" in browser.get(f"/review/{CYCLE}").text


def test_reading_goes_on_after_the_trace_and_then_returns_to_what_was_left(home):
    from evalpipe.review.desk.desk import Desk

    desk = Desk(home.lake, home.settings)
    overview = desk.overview("maria", CYCLE)
    assert next_to_read(overview, made_id(1)) == made_id(2)
    assert next_to_read(overview, made_id(N - 1)) == made_id(0)


@pytest.mark.parametrize(
    "path",
    [
        "/review/2026-W51",
        f"/review/2026-W51/{made_id(0)}",
        f"/review/{CYCLE}/{made_id(99)}",
        "/review/../etc/passwd",
        f"/review/{CYCLE}/..%2f..%2fsecret",
        "/review/static/../templates/base.html",
        "/review/nothing",
    ],
)
def test_what_is_not_there_is_a_page_that_leads_back(home, path):
    answer = client(home).get(path)
    assert answer.status_code == 404
    if answer.headers["content-type"].startswith("text/html"):
        assert 'href="/review"' in answer.text


def test_a_trace_that_has_left_the_tables_can_be_skipped(home):
    browser = client(home)
    address = f"/review/2026-W09/{made_id(0)}"
    page = browser.get(address)
    assert page.status_code == 410
    assert "not there any more" in page.text
    assert browser.post(f"{address}/skip", data={"reason": "gone"}).headers["location"] == "/review/2026-W09"


def test_an_answer_that_cannot_be_taken_says_why(home):
    browser = client(home)
    assert browser.post(address_of(0), data={"verdict": "superb"}).status_code == 400
    assert "superb" in browser.post(address_of(0), data={"verdict": "superb"}).text
    assert browser.post(address_of(0), data={"verdict": "bad"}).status_code == 400


def test_a_form_that_is_too_large_or_no_form_is_refused(home):
    browser = client(home)
    assert browser.post(address_of(0), data={"verdict": "good", "comment": "x" * 300_000}).status_code == 413
    assert browser.post(address_of(0), json={"verdict": "good"}).status_code == 415
    many = {f"field{number}": "" for number in range(50)}
    assert browser.post(address_of(0), data=many).status_code == 400
    assert opinions(home) == {}


def test_a_slash_too_many_is_forgiven(home):
    assert client(home).get("/review/").headers["location"].endswith("/review")


def test_htmx_is_the_published_file_and_brings_its_licence(home):
    """Version 2.0.11 of htmx.org on the npm registry, dist/htmx.min.js, unchanged."""
    browser = client(home)
    script = browser.get("/review/static/htmx.min.js").content
    assert sha256(script).hexdigest() == "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717"
    assert "Zero-Clause BSD" in browser.get("/review/static/htmx.LICENSE.txt").text


def test_who_has_no_queue_reads_that_there_is_nothing_to_read(tmp_path):
    from evalpipe.home import Home
    from evalpipe.settings import Settings

    page = client(Home(Settings(home=tmp_path)), None).get("/review/sign-in").text
    assert "nothing to read" in page
    assert "evalpipe queue build" in page
