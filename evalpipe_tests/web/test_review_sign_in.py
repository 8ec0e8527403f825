"""Who gets in, as whom, and which requests are not heard at all."""

import httpx
import pytest
from starlette.testclient import TestClient

from evalpipe.review.desk.tokens import issue_token, revoke
from evalpipe.web.review_pages import review_of
from evalpipe_tests.review.made import CYCLE, NOON
from evalpipe_tests.web.reviewed import address_of, client, opinions, review_home
from evalpipe_tests.web.serving import serving


@pytest.fixture
def home(tmp_path):
    return review_home(tmp_path, n=2)


@pytest.fixture
def token(home):
    return issue_token(home.review_tokens, "maria", NOON)


def open_page(home) -> TestClient:
    return client(home, None)


def test_a_stranger_is_led_to_the_door_and_saves_nothing(home):
    browser = open_page(home)
    assert browser.get(f"/review/{CYCLE}").headers["location"] == "/review/sign-in"
    assert browser.post(address_of(0), data={"verdict": "good"}).status_code == 401
    assert opinions(home) == {}


def test_on_ones_own_machine_a_name_from_the_list_is_enough(home):
    browser = open_page(home)
    assert "maria" in browser.get("/review/sign-in").text
    assert browser.post("/review/sign-in", data={"reviewer": "mallory"}).status_code == 403
    assert browser.post("/review/sign-in", data={"reviewer": "ben"}).headers["location"] == "/review"
    assert browser.get(f"/review/{CYCLE}").status_code == 200


def test_once_a_token_was_issued_a_name_is_not_enough(home, token):
    browser = open_page(home)
    assert browser.post("/review/sign-in", data={"reviewer": "maria"}).status_code == 403
    assert browser.post("/review/sign-in", data={"token": "wrong"}).status_code == 403
    assert browser.post("/review/sign-in", data={"token": token}).status_code == 303
    assert browser.get(f"/review/{CYCLE}").status_code == 200


def test_a_name_taken_before_the_first_token_lets_nobody_in_after_it(home):
    browser = client(home, "maria")
    issue_token(home.review_tokens, "ben", NOON)
    assert browser.get(f"/review/{CYCLE}").status_code == 303


def test_a_revoked_token_is_out_at_once(home, token):
    browser = open_page(home)
    browser.post("/review/sign-in", data={"token": token})
    issue_token(home.review_tokens, "ben", NOON)
    revoke(home.review_tokens, "maria")
    assert browser.get(f"/review/{CYCLE}").headers["location"] == "/review/sign-in"


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(home, token):
    signed_in = open_page(home).post("/review/sign-in", data={"token": token})
    cookie = signed_in.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "path=/review" in cookie
    assert "secure" not in cookie
    over_tls = TestClient(review_of(home), base_url="https://localhost", follow_redirects=False)
    assert "secure" in over_tls.post("/review/sign-in", data={"token": token}).headers["set-cookie"].lower()


def test_a_token_in_the_address_does_not_stay_there(home, token):
    moved = open_page(home).get("/review/sign-in", params={"token": token})
    assert moved.headers["location"] == f"/review/sign-in#{token}"


def test_signing_out_forgets_who_it_was(home):
    browser = client(home)
    browser.post("/review/sign-out", headers={"content-type": "application/x-www-form-urlencoded"})
    assert browser.get(f"/review/{CYCLE}").status_code == 303


def test_every_page_forbids_foreign_scripts_frames_and_copies(home):
    headers = client(home).get(address_of(0)).headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert client(home).get("/review/static/review.js").headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost.evil.example"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "origin": "http://localhost"},
    ],
)
def test_a_form_of_another_site_is_not_heard(home, headers):
    browser = client(home)
    assert browser.post(address_of(0), data={"verdict": "good"}, headers=headers).status_code == 403
    assert opinions(home) == {}


@pytest.mark.parametrize("headers", [{"origin": "http://localhost"}, {"sec-fetch-site": "same-origin"}])
def test_its_own_form_is_heard(home, headers):
    assert client(home).post(address_of(0), data={"verdict": "good"}, headers=headers).status_code == 303


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "", "[::"])
def test_a_page_on_loopback_answers_to_no_other_name(home, host):
    assert client(home).get("/review/sign-in", headers={"host": host}).status_code == 403


@pytest.mark.parametrize("host", ["localhost:4318", "127.0.0.1:4318", "[::1]:4318"])
def test_a_page_on_loopback_answers_to_the_names_of_this_machine(home, host):
    assert client(home).get("/review/sign-in", headers={"host": host}).status_code == 200


def test_a_page_that_others_can_reach_is_closed_until_somebody_is_invited(tmp_path):
    home = review_home(tmp_path, n=1, host="0.0.0.0", tokens=["for spans"])
    browser = TestClient(review_of(home), base_url="http://review.example", follow_redirects=False)
    for path in ("/review", "/review/sign-in", address_of(0)):
        closed = browser.get(path)
        assert closed.status_code == 403
        assert "evalpipe reviewers invite NAME" in closed.text
    token = issue_token(home.review_tokens, "maria", NOON)
    assert browser.post("/review/sign-in", data={"token": token}).status_code == 303
    assert browser.get(f"/review/{CYCLE}").status_code == 200


def test_it_is_served_beside_the_receivers(tmp_path):
    review_home(tmp_path, n=1)
    with serving(tmp_path) as server:
        assert httpx.get(f"{server.http}/review").headers["location"] == "/review/sign-in"
        assert "maria" in httpx.get(f"{server.http}/review/sign-in").text
        assert httpx.get(f"{server.http}/review/static/htmx.min.js").status_code == 200
        with httpx.Client(base_url=server.http) as browser:
            browser.post("/review/sign-in", data={"reviewer": "maria"})
            for path in (f"/review/{CYCLE}", address_of(0), "/review/issues"):
                assert browser.get(path).status_code == 200
        assert httpx.get(f"{server.http}/elsewhere").headers["content-type"] == "application/json"
        server.end()
