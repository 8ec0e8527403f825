"""The page of a gate, as it is written and in a real browser."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser

import polars as pl
import pytest
from playwright.sync_api import Browser, sync_playwright

from evalpipe.gate.cases import read_cases
from evalpipe.gate.judge import GateOutcome
from evalpipe.gate.render.links import Links
from evalpipe.gate.render.page import gate_page
from evalpipe_tests.gate.made import after, answers, case_file, flags, judge, suite
from evalpipe_tests.gate.render.made import (
    HOSTILE,
    REFUND,
    SORRY,
    blocked_gate,
    faulted_gate,
    passed_gate,
    worse_gate,
)
from evalpipe_tests.web.chromium import LOW_CONTRASTS, NAMELESS, TWICE

CHROMIUM = next((path for name in ("chromium", "google-chrome", "chrome") if (path := shutil.which(name))), None)
in_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine; .ci/run installs Debian's")


def page(outcome: GateOutcome, *earlier: GateOutcome, **options) -> str:
    return gate_page(replace(outcome, history=after(*earlier)) if earlier else outcome, **options)


class Words(HTMLParser):
    """The text of a page, and its tags."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.tags, self.marks = "", [("", {})], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.tags[-1][0] == "mark":
            self.marks.append(data)
        if self.tags[-1][0] != "style":
            self.text += data


def hostile_gate(folder) -> GateOutcome:
    """Everything that a stranger can write into a case or an issue."""
    case = {
        "id": f"x{HOSTILE}",
        "input": HOSTILE + "</details></style><style>*{display:none}</style><img src=x onerror=alert(1)>",
        "output": "sorry " + HOSTILE + "W" * 3_000 + "\n" + "long " * 4_000,
        "messages": [{"role": "system", "content": HOSTILE}],
        "tool_calls": [{"name": HOSTILE, "arguments": {"a": HOSTILE}, "result": HOSTILE, "is_error": True}],
    }
    fine = {"input": "q", "output": "fine"}
    path = case_file(folder, case, fine, "<not json>", *[fine] * 5)
    return judge(read_cases(path), suite(flags(1, "sorry", failure_mode=HOSTILE), REFUND), release=HOSTILE)


def test_it_says_the_decision_the_reasons_and_what_to_do(tmp_path):
    words = Words(page(blocked_gate(tmp_path)))
    assert "Must not ship" in words.text
    assert "2 of 4 cases show it" in words.text
    assert "fix what they show" in words.text
    assert words.text.index("Why") < words.text.index("An evaluator checks") < words.text.index("Failing cases")


@pytest.mark.parametrize("made", [passed_gate, worse_gate, faulted_gate])
def test_every_outcome_has_a_page(tmp_path, made):
    outcome = made(tmp_path)
    assert outcome.decision.headline.split(": ")[0] in Words(page(outcome)).text


def test_a_gate_that_could_not_decide_has_a_page(tmp_path):
    assert "Could not decide" in Words(page(judge(answers(tmp_path, "a"), suite(SORRY, mcc=None, mcc_lower=None)))).text


def test_the_evidence_is_marked_in_the_conversation(tmp_path):
    path = case_file(tmp_path, {"input": "q", "output": "I am sorry for that"})
    words = Words(page(judge(read_cases(path), suite(SORRY))))
    assert "sorry" in words.marks


def test_what_blocks_comes_first_and_the_first_case_of_it_is_open(tmp_path):
    outputs = ["a refund"] * 5 + ["sorry"] + ["fine"] * 4  # half refund; one of ten is sorry, which passes
    words = Words(page(judge(answers(tmp_path, *outputs), suite(flags(1, "sorry"), REFUND))))
    shown = words.text[words.text.index("Failing cases") :]
    assert shown.index("says refund") < shown.index("says sorry")
    assert [("open" in attributes) for tag, attributes in words.tags if tag == "details"] == [True, *[False] * 5]


def test_of_many_failing_cases_twenty_are_shown_and_the_rest_is_counted(tmp_path):
    words = Words(page(judge(answers(tmp_path, *["a refund"] * 33), suite(REFUND))))
    assert sum(tag == "details" for tag, _ in words.tags) == 20
    assert "13 more failing cases are not shown" in words.text


def test_a_long_text_is_folded_and_opened_where_the_evidence_is_in_it(tmp_path):
    long = "word " * 400
    early, late = f"sorry {long}", f"{long} sorry"
    html = page(judge(answers(tmp_path, early, late), suite(SORRY)))
    folds = re.findall(r"<details( open)?><summary>([\d,]+) more characters", html)
    # 2,006 characters each, of which 900 are shown.
    assert folds == [("", "1,106"), (" open", "1,106")]


def test_the_history_has_the_last_gate_of_each_release_and_of_each_its_pass_rate(tmp_path):
    first = judge(answers(tmp_path, "a refund", "ok"), suite(REFUND), release="1.0")
    second = judge(answers(tmp_path, "ok", "ok"), suite(REFUND), release="1.1", history=after(first))
    third = judge(answers(tmp_path, "ok", "a refund"), suite(REFUND), release="1.2", history=after(first, second))
    # The second is a day younger than the first, and the third than the second.
    dated = [
        GateOutcome(**(vars(one) | {"run": one.run.with_columns(pl.col("decided_at") + pl.duration(days=day))}))
        for day, one in enumerate((first, second, third))
    ]
    text = re.sub(r"\s+", " ", Words(page(dated[2], dated[0], dated[1])).text)
    assert re.search(r"1\.0 ?2 Mar 2026 ?1\.1 ?3 Mar 2026 ?1\.2 ?4 Mar 2026 ?this gate", text)
    assert "✕ failed 50.0% ✓ passed 100% ✕ failed 50.0%".replace(" ", "") in text.replace(" ", "")


def test_it_leads_to_the_page_of_the_issue_where_that_is_known(tmp_path):
    links = [
        a["href"]
        for tag, a in Words(page(blocked_gate(tmp_path), links=Links("https://e.example"))).tags
        if "href" in a
    ]
    assert "https://e.example/review/issues/iss_1" in links
    assert [a["href"] for tag, a in Words(page(blocked_gate(tmp_path))).tags if "href" in a] == ["#main"]


def test_it_has_no_script_and_asks_for_nothing(tmp_path):
    html = page(hostile_gate(tmp_path))
    tags = Words(html).tags
    assert {tag for tag, _ in tags} & {"script", "img", "link", "iframe", "form", "object"} == set()
    assert not any(name.startswith("on") or name == "src" for _, attributes in tags for name in attributes)
    assert "default-src 'none'" in html
    assert "@import" not in html
    assert "url(" not in html


def test_its_size_is_bounded_whatever_the_cases_are(tmp_path):
    huge = [{"input": "q" * 20_000, "output": f"a refund {'x ' * 20_000}"} for _ in range(25)]
    assert len(page(judge(read_cases(case_file(tmp_path, *huge)), suite(REFUND)))) < 2_000_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield started
        started.close()


@in_chromium
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_hostile_text_stays_text_and_nothing_scrolls_sideways(tmp_path, browser: Browser, width, scheme):
    path = tmp_path / "gate.html"
    path.write_text(
        page(hostile_gate(tmp_path), worse_gate(tmp_path), links=Links("https://e.example")), encoding="utf-8"
    )
    asked, complained = [], []
    shown = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    shown.on("request", lambda request: asked.append(request.url))
    shown.on("console", lambda message: complained.append(message.text))
    shown.on("dialog", lambda dialog: complained.append(dialog.message))
    shown.goto(path.as_uri())
    for summary in shown.locator("summary").all():
        if summary.is_visible() and not summary.evaluate("one => one.parentElement.open"):
            summary.click()
    assert asked == [path.as_uri()]
    assert complained == []
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    assert shown.get_by_text("<script>alert(1)</script>").count() > 3
    assert shown.locator("mark").count() >= 2
    assert shown.evaluate(NAMELESS) == []
    assert shown.evaluate(TWICE) == []
    assert shown.evaluate(LOW_CONTRASTS.replace("#page *", "body *")) == []
    assert shown.locator("h1").count() == shown.get_by_role("main").count() == 1
    shown.close()


@in_chromium
def test_a_case_is_opened_from_the_keyboard(tmp_path, browser: Browser):
    path = tmp_path / "gate.html"
    path.write_text(page(blocked_gate(tmp_path)), encoding="utf-8")
    shown = browser.new_page()
    shown.goto(path.as_uri())
    second = shown.locator("details.case").nth(1)
    assert second.get_attribute("open") is None
    second.locator("> summary").focus()
    shown.keyboard.press("Enter")
    assert second.get_attribute("open") is not None
    shown.close()
