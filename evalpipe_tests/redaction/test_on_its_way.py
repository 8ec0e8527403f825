"""Redaction on the whole way: what comes in is nowhere on disk, or nowhere but in the raw landing."""

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from evalpipe.home import Home
from evalpipe.settings import RedactionSettings, load_settings
from evalpipe.tables import REJECTIONS, SPANS
from evalpipe.traces.on_lake import take_in_day
from evalpipe_tests.otlp.made import Application, bare_span, json_bytes, request_of

EMAIL = "ann.example@example.com"
NOW = datetime(2026, 3, 1, tzinfo=UTC)
DAY = date(2026, 2, 16)


def home_of(root: Path, **redaction) -> Home:
    return Home(load_settings(root).model_copy(update={"redaction": RedactionSettings(**redaction)}))


def taken_in(home: Home, tmp_path: Path) -> Home:
    app = Application()
    with app.span("ask", {"input.value": f"write to {EMAIL}", "output.value": "done", "mine": EMAIL, "user.id": EMAIL}):
        pass
    file = tmp_path / "traces.jsonl"
    bad = request_of(bare_span(1), bare_span(2, trace_id=b"", name=EMAIL))
    file.write_bytes(json_bytes(app.request()) + b"\n" + json_bytes(bad) + b"\n")
    home.ingest([file], now=NOW)
    take_in_day(home.landing, home.lake, DAY, reading=home.reading, now=NOW, made_from=lambda ids: len(ids))
    return home


def everything_in(home: Home) -> str:
    spans, refused = home.lake.read(SPANS), home.lake.read(REJECTIONS)
    return spans.write_json() + refused.write_json()


def landed_bytes(home: Home) -> bytes:
    ids = home.landing.ledger()["segment_id"]
    return b"".join(payload.body for segment_id in ids for payload in home.landing.payloads(segment_id))


def test_nothing_is_redacted_unless_asked_for(tmp_path: Path):
    home = taken_in(home_of(tmp_path / "home"), tmp_path)
    assert everything_in(home).count(EMAIL) == 4  # input, attribute, user, and the refused span
    assert not (tmp_path / "home" / "redaction.key").exists()


def test_the_tables_hold_placeholders_and_the_raw_landing_what_came(tmp_path: Path):
    every = frozenset({"email"})
    home = taken_in(home_of(tmp_path / "home", content=every, attributes=every, identity=every), tmp_path)
    assert EMAIL not in everything_in(home)
    (row,) = home.lake.read(SPANS).filter(name="ask").to_dicts()
    shown = row["user_id"]
    assert shown.startswith("[email:")
    assert row["input"] == f"write to {shown}"  # the same value stays the same
    assert shown in row["attributes"]
    assert landed_bytes(home).count(EMAIL.encode()) == 4


def test_before_landing_the_original_is_nowhere(tmp_path: Path):
    home = taken_in(home_of(tmp_path / "home", content=frozenset({"email"}), before_landing=True), tmp_path)
    assert EMAIL not in everything_in(home)
    assert landed_bytes(home).count(b"[email:") == 4
    assert EMAIL.encode() not in landed_bytes(home)


def test_another_home_has_other_placeholders(tmp_path: Path):
    every = {"identity": frozenset({"email"})}
    shown = {
        taken_in(home_of(tmp_path / name, **every), tmp_path).lake.read(SPANS)["user_id"].drop_nulls().item()
        for name in ("a", "b")
    }
    assert len(shown) == 2


@pytest.mark.parametrize("n_times", [1, 2])
def test_landing_the_same_file_again_adds_nothing(tmp_path: Path, n_times: int):
    home = home_of(tmp_path / "home", content=frozenset({"email"}), before_landing=True)
    for _ in range(n_times):
        taken_in(home, tmp_path)
    assert home.landing.ledger().height == 1
    assert home.lake.read(SPANS).height == 2
