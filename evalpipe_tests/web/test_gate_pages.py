"""The list of gates and the page of one, as a reviewer gets them."""

import pytest
from playwright.sync_api import expect

from evalpipe.tables import GATE_RUNS
from evalpipe_tests.gate.made import answers, flags, judge, suite
from evalpipe_tests.web.chromium import LOW_CONTRASTS, NAMELESS, TWICE, Opened
from evalpipe_tests.web.reviewed import client, review_home


@pytest.fixture
def home(tmp_path):
    return review_home(tmp_path / "home", n=2)


def test_gates_are_listed_and_only_those_with_a_page_lead_to_it(home, tmp_path):
    assert "Nothing has been gated yet" in client(home).get("/review/gates").text
    gates = [judge(answers(tmp_path, said), suite(flags(1, "no")), release=said) for said in ("<b>one</b>", "two")]
    for gate in gates:
        home.lake.append_new(GATE_RUNS, gate.run)
    path = home.artifacts / "gates" / gates[1].gate_id / "gate.html"
    path.parent.mkdir(parents=True)
    path.write_text("<!doctype html><style>p{}</style><p>the page</p>")
    listed = client(home).get("/review/gates").text
    assert "&lt;b&gt;one&lt;/b&gt;" in listed
    assert listed.count('href="/review/gates/gate_') == 1
    shown = client(home).get(f"/review/gates/{gates[1].gate_id}")
    assert "the page" in shown.text
    policy = shown.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy


@pytest.mark.parametrize("gate_id", ["gate_0", "..", "%2e%2e", "..%2f..%2fsecret", "a" * 200])
def test_a_gate_without_a_page_is_not_found(home, gate_id: str):
    assert client(home).get(f"/review/gates/{gate_id}").status_code in (303, 404)


def test_a_stranger_is_sent_to_sign_in(home):
    assert client(home, None).get("/review/gates/gate_0").headers["location"] == "/review/sign-in"


@pytest.mark.parametrize("width", [390, 1280])
def test_the_list_fits_its_screen_and_leads_to_each_page(home, opened: Opened, tmp_path, width: int):
    gate = judge(answers(tmp_path, "no"), suite(flags(1, "no")), release="a-long-name-of-a-release-" * 5)
    home.lake.append_new(GATE_RUNS, gate.run)
    path = home.artifacts / "gates" / gate.gate_id / "gate.html"
    path.parent.mkdir(parents=True)
    path.write_text("<!doctype html><title>One</title><style>h1{color:red}</style><h1>Must not ship</h1>")
    with opened(viewport={"width": width, "height": 800}) as page:
        page.get_by_role("link", name="Gates").click()
        expect(page.get_by_role("heading", name="Gates")).to_be_visible()
        for asked in (NAMELESS, TWICE, LOW_CONTRASTS):
            assert page.evaluate(asked) == []
        assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
        page.get_by_role("link", name="a-long-name").click()
        expect(page.get_by_role("heading", name="Must not ship")).to_have_css("color", "rgb(255, 0, 0)")
