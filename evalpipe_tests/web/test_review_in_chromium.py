"""The review page as a reviewer uses it: in a real browser, mostly without a mouse, sometimes without a network."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from evalpipe.home import Home
from evalpipe.review.desk.tokens import issue_token
from evalpipe.tables import ANNOTATIONS, REVIEW_EVENTS
from evalpipe_tests.review.made import CYCLE, NOON
from evalpipe_tests.web.chromium import LOW_CONTRASTS, NAMELESS, TWICE, Opened
from evalpipe_tests.web.reviewed import HEDGED, MODES, REQUESTS, address_of, opinions, review_home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return review_home(tmp_path)


def is_at(page: Page, number: int) -> None:
    """Waits until trace `number` is the one on the page."""
    expect(page.locator("h1")).to_have_text(f"Trace {number + 1} of 6")


def test_a_queue_is_annotated_from_the_keyboard_alone(home: Home, opened: Opened):
    with opened() as page:
        keys = page.keyboard
        expect(page.locator(".items li")).to_have_count(6)
        keys.press("Enter")
        is_at(page, 0)

        keys.press("g")
        expect(page.locator("#said")).to_have_text("Saved.")
        is_at(page, 1)

        keys.press("b")
        keys.press("2")  # in the empty box: the second suggestion
        expect(page.locator("#failure_mode")).to_have_value(MODES[1])
        keys.press("Enter")
        is_at(page, 2)

        keys.press("p")
        keys.type("lang")
        expect(page.locator("#modes [aria-selected=true]")).to_contain_text(MODES[2])
        keys.press("Enter")
        keys.press("Enter")
        is_at(page, 3)

        keys.press("b")
        keys.type("Says nothing about returns")
        expect(page.locator("#modes [aria-selected=true]")).to_have_text("new: “Says nothing about returns”")
        keys.press("Enter")
        keys.press("Escape")
        keys.press("n")
        keys.press("n")
        expect(page.locator("mark.at")).to_have_text(HEDGED)
        keys.press("e")
        expect(page.locator("#evidence")).to_have_value(HEDGED)
        keys.press("c")
        keys.type("It can be returned\nwithin 30 days.")
        keys.press("Control+Enter")
        is_at(page, 4)

        keys.press("s")
        keys.press("ArrowDown")
        keys.press("Enter")
        is_at(page, 5)

        keys.press("3")  # picks a failure mode and with it "bad"
        keys.press("u")  # not typed: the box has the focus
        keys.press("Backspace")
        keys.press("Control+Enter")
        expect(page.locator("h1")).to_have_text(f"Your queue, week {CYCLE}")
        expect(page.locator(".lead")).to_contain_text("All 6 are done")

    new = "Says nothing about returns"
    assert opinions(home) == {
        0: ("good", None), 1: ("bad", MODES[1]), 2: ("partial", MODES[2]), 3: ("bad", new), 5: ("bad", MODES[2]),
    }  # fmt: skip
    (said,) = home.lake.read(ANNOTATIONS).filter(failure_mode=new).to_dicts()
    assert said["evidence"] == HEDGED
    assert said["correction"] == "It can be returned\nwithin 30 days."
    assert home.lake.read(REVIEW_EVENTS)["reason"].to_list() == ["Something is missing from it"]


def test_undo_brings_the_trace_back_with_what_was_written(home: Home, opened: Opened):
    with opened(address_of(0)) as page:
        page.keyboard.press("1")
        page.keyboard.press("Enter")
        is_at(page, 1)
        page.keyboard.press("u")
        is_at(page, 0)
        expect(page.locator("#failure_mode")).to_have_value(MODES[0])
        expect(page.locator("[name=verdict][value=bad]")).to_be_checked()
        assert opinions(home) == {}
        page.keyboard.press("j")
        is_at(page, 1)
        page.keyboard.press("k")
        is_at(page, 0)


def test_a_selected_passage_is_quoted_as_evidence_and_only_from_the_conversation(opened: Opened):
    with opened(address_of(0)) as page:
        page.locator(".step.user .body").select_text()
        page.keyboard.press("e")
        expect(page.locator("#evidence")).to_have_value(REQUESTS[0])
        page.locator("#why").select_text()
        page.keyboard.press("e")
        expect(page.locator("#said")).to_contain_text("Select the passage")
        expect(page.locator("#evidence")).to_have_value(REQUESTS[0])


def test_a_long_text_is_folded_until_it_is_asked_for(opened: Opened):
    with opened(address_of(4)) as page:
        text = page.locator(".step.user .body")
        folded = text.bounding_box()
        page.locator(".step.user").get_by_role("button", name="Show all").click()
        unfolded = text.bounding_box()
        assert folded
        assert unfolded
        assert folded["height"] * 2 < unfolded["height"]


def test_a_failure_is_not_sent_without_a_word_on_it(home: Home, opened: Opened):
    with opened(address_of(0)) as page:
        page.keyboard.press("Enter")
        expect(page.locator("#said")).to_contain_text("Choose first")
        page.keyboard.press("b")
        page.keyboard.press("Control+Enter")
        expect(page.locator("#mode-hint")).to_be_visible()
        expect(page.locator("#failure_mode")).to_be_focused()
        assert opinions(home) == {}


def test_a_draft_survives_a_reload_and_belongs_to_one_reviewer(opened: Opened):
    with opened(address_of(0)) as page:
        page.keyboard.press("p")
        page.keyboard.type("half of it")
        page.keyboard.press("Escape")
        page.keyboard.press("Escape")
        page.keyboard.press("c")
        page.keyboard.type("the other half")
        page.reload()
        expect(page.locator("#failure_mode")).to_have_value("half of it")
        expect(page.locator("#correction")).to_have_value("the other half")
        expect(page.locator("[name=verdict][value=partial]")).to_be_checked()
        expect(page.locator("#draft")).to_contain_text("not saved yet")

        page.get_by_role("button", name="Sign out").click()
        page.get_by_role("button", name="ben").click()
        page.goto(address_of(0))
        expect(page.locator("#failure_mode")).to_have_value("")


def test_an_answer_given_offline_is_sent_when_the_connection_is_back(home: Home, opened: Opened):
    with opened(address_of(0)) as page:
        page.context.set_offline(True)
        page.keyboard.press("g")
        expect(page.locator("#unsent")).to_contain_text("1 answer is not saved yet (offline)")
        assert opinions(home) == {}
        page.context.set_offline(False)
        is_at(page, 1)
        expect(page.locator("#unsent")).to_be_hidden()
        assert opinions(home) == {0: ("good", None)}


def test_leaving_with_an_unsent_answer_asks_first(opened: Opened):
    with opened(address_of(0)) as page:
        asked: list[str] = []
        page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
        page.context.set_offline(True)
        page.keyboard.press("g")
        expect(page.locator("#unsent")).to_be_visible()
        with page.expect_event("close"):
            page.close(run_before_unload=True)
        assert asked == ["beforeunload"]


def test_an_answer_whose_reply_was_lost_is_saved_once(home: Home, opened: Opened):
    with opened(address_of(0)) as page:

        def lose_the_reply(route):
            route.fetch()
            route.abort("connectionreset")

        page.route(f"**{address_of(0)}", lose_the_reply, times=1)
        page.keyboard.press("g")
        is_at(page, 1)
        expect(page.locator("#unsent")).to_be_hidden()
    assert home.lake.read(ANNOTATIONS).height == 1


def test_two_windows_of_one_reviewer_lead_to_a_choice(home: Home, opened: Opened):
    with opened(address_of(0)) as page:
        other = page.context.new_page()
        other.goto(address_of(0))
        page.keyboard.press("g")
        is_at(page, 1)
        other.keyboard.press("1")
        other.keyboard.press("Enter")
        expect(other.locator("h1")).to_contain_text("another window")
        assert opinions(home) == {0: ("good", None)}
        other.get_by_role("button", name="Save this instead").click()
        is_at(other, 1)
    assert opinions(home) == {0: ("bad", MODES[0])}


def test_two_reviewers_at_once_never_overwrite_each_other(home: Home, opened: Opened):
    with opened(address_of(0), reviewer="maria") as maria, opened(address_of(0), reviewer="ben") as ben:
        for number in range(3):
            maria.keyboard.press("g")
            ben.keyboard.press("2")
            ben.keyboard.press("Enter")
            is_at(maria, number + 1)
            is_at(ben, number + 1)
    assert opinions(home, "maria") == dict.fromkeys(range(3), ("good", None))
    assert opinions(home, "ben") == dict.fromkeys(range(3), ("bad", MODES[1]))


def test_hostile_text_runs_nothing_and_calls_nobody(opened: Opened):
    with opened() as page:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address_of(1))
        assert page.title() == "2 of 6 · evalpipe review"
        expect(page.locator("#conversation")).to_contain_text("<script>document.title='owned'</script>")
        assert page.locator("#page script, #page img").count() == 0
        assert all("/review/" in url for url in asked)
        page.goto(address_of(4))
        expect(page.locator(".invisible").first).to_have_text("U+202E")


def test_an_invitation_signs_in_and_leaves_no_key_in_the_address(home: Home, site: str, browser: Browser):
    token = issue_token(home.review_tokens, "ben", NOON)
    page = browser.new_page(base_url=site)
    page.goto(f"/review/sign-in#{token}")
    expect(page.locator("h1")).to_contain_text("Your queue")
    assert token not in page.url
    page.go_back()
    assert token not in page.url
    page.close()


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (820, 1180), (390, 844)])
@pytest.mark.parametrize("path", [f"/review/{CYCLE}", address_of(4)])
def test_no_page_scrolls_sideways(opened: Opened, path: str, width: int, height: int):
    with opened(path, viewport={"width": width, "height": height}) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_finger_hits_what_it_aims_at_on_a_tablet(opened: Opened):
    with opened(address_of(0), viewport={"width": 820, "height": 1180}, has_touch=True) as page:
        page.locator(".verdicts .bad").tap()
        sizes = page.evaluate(
            """[...document.querySelectorAll('button, .button, .verdicts label, #modes li, #main summary')]
               .filter((one) => one.checkVisibility()).map((one) => [one.textContent.trim(), one.clientHeight])"""
        )
        assert len(sizes) > 10
        assert [(text, size) for text, size in sizes if size < 42] == []  # 44 with the border


def test_everything_has_a_name_and_a_place(opened: Opened):
    """By hand what axe would say: landmarks, one first heading, a name for every control, a live region."""
    for path in (f"/review/{CYCLE}", address_of(0)):
        with opened(path) as page:
            assert page.evaluate(NAMELESS) == []
            assert page.evaluate(TWICE) == []
            assert page.locator("h1").count() == page.get_by_role("main").count() == 1
            assert page.get_by_role("banner").count() == 1
            assert page.locator("html").get_attribute("lang") == "en"
            expect(page.locator("#said")).to_have_attribute("aria-live", "polite")


def test_the_box_of_failure_modes_tells_a_screen_reader_what_it_does(opened: Opened):
    with opened(address_of(0)) as page:
        box = page.get_by_role("combobox", name="What went wrong?")
        page.keyboard.press("b")
        expect(box).to_be_focused()
        expect(box).to_have_attribute("aria-expanded", "true")
        page.keyboard.press("ArrowDown")
        expect(box).to_have_attribute("aria-activedescendant", "mode-1")
        expect(page.get_by_role("option", selected=True)).to_contain_text(MODES[0])
        page.keyboard.press("Enter")
        expect(box).to_have_attribute("aria-expanded", "false")


def test_before_a_new_mode_is_made_those_that_are_near_to_it_are_offered(home: Home, opened: Opened):
    with opened(address_of(0)) as page:
        page.keyboard.press("b")
        page.keyboard.type("ignoring that tools failed")
        expect(page.locator("#modes [aria-selected=true]")).to_have_text("new: “ignoring that tools failed”")
        expect(page.get_by_role("option").filter(visible=True).last).to_contain_text(MODES[1])
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        expect(page.locator("#failure_mode")).to_have_value(MODES[1])
        page.keyboard.press("Control+Enter")
        is_at(page, 1)
    assert opinions(home) == {0: ("bad", MODES[1])}


def test_single_keys_can_be_turned_off(home: Home, opened: Opened):
    with opened(address_of(0)) as page:
        page.keyboard.press("?")
        page.get_by_label("Single keys do things").uncheck()
        page.keyboard.press("Escape")
        page.reload()
        page.keyboard.press("g")
        page.keyboard.press("b")
        assert page.locator("[name=verdict]:checked").count() == 0
        is_at(page, 0)
    assert opinions(home) == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(opened: Opened, scheme: str):
    for path in (f"/review/{CYCLE}", address_of(0)):
        with opened(path, color_scheme=scheme) as page:
            assert page.evaluate(LOW_CONTRASTS) == []
            assert len(page.screenshot()) > 20_000  # bytes; an empty page of this size has 5,000
