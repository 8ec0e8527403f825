import gzip
import json
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from evalpipe.demo.plan import DemoPlan
from evalpipe.demo.traffic import week_of_traffic
from evalpipe.tables import TRACES
from evalpipe_tests.bench_triage.worlds import MONDAY, TRUTH, annotated_worlds, demo_worlds, thinned


def made(rows: list[tuple[str, str, list[str]]]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Traces t0, t1, ... of (session, service, modes), and their truth."""
    traces = pl.DataFrame(
        [(f"t{n}", session, service) for n, (session, service, _) in enumerate(rows)],
        ["trace_id", "session_id", "service_name"],
        orient="row",
    )
    return traces, pl.DataFrame([(f"t{n}", modes) for n, (_, _, modes) in enumerate(rows)], TRUTH, orient="row")


def test_thinning_keeps_all_sessions_without_a_failure_and_drops_the_others_whole():
    good = [(f"good {n}", "shop", []) for n in range(95)]
    mixed = [(f"mixed {n}", "shop", modes) for n in range(20) for modes in (["loop"], [])]
    traces, truth = made([*good, *mixed])

    kept = thinned(traces, truth, 0.05, seed=1)

    # 95 + 2 k traces, k of them failures: k = 5 gives 5 / 105 = 0.048, k = 6 gives 6 / 107 = 0.056.
    sizes = dict(kept["session_id"].value_counts().rows())
    assert sum(session.startswith("good") for session in sizes) == 95
    assert [n for session, n in sizes.items() if session.startswith("mixed")] == [2] * 5
    assert kept.equals(thinned(traces, truth, 0.05, seed=1))
    assert not kept.equals(thinned(traces, truth, 0.05, seed=2))


def test_each_service_is_thinned_alone():
    rows = [(f"{service} {n}", service, ["loop"] if n < 10 else []) for service in ("a", "b") for n in range(29)]
    traces, truth = made(rows)

    kept = thinned(traces, truth, 0.05, seed=3).join(truth, on="trace_id")

    # 19 good ones each: one failure makes 1 / 20.
    failing = kept.filter(pl.col("modes").list.len() > 0)["service_name"].value_counts().sort("service_name")
    assert failing.rows() == [("a", 1), ("b", 1)]


def test_worlds_of_the_demo_share_no_trace_and_know_what_was_planted():
    worlds = list(demo_worlds(n_worlds=2, n_weeks=1, sessions_per_day=8, failing_share=0.05))

    ids = [set(world.traces["trace_id"]) for world in worlds]
    assert not ids[0] & ids[1]
    for world in worlds:
        known = TRACES.conform(world.traces).join(world.truth, on="trace_id")
        assert known.height == world.traces.height
        assert 0 < (known["modes"].list.len() > 0).sum() <= 0.05 * known.height
        assert world.is_drawn_anew


@pytest.fixture
def annotated(tmp_path: Path) -> Path:
    """A folder in the form that is read: half a service's traces are good, one is bad, one is partial."""
    traffic = week_of_traffic(DemoPlan(date(2026, 3, 2), 1, 5, 1), 0, tmp_path / "made")
    (tmp_path / "traces").mkdir()
    (tmp_path / "annotations").mkdir()
    lines = b"".join(path.read_bytes() for path in traffic.paths if path.suffix == ".jsonl")
    (tmp_path / "traces" / "shop.otlp.jsonl.gz").write_bytes(gzip.compress(lines))
    exported = {
        span["traceId"]
        for line in lines.splitlines()
        for resource in json.loads(line)["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    }
    said = [
        {"trace_id": trace_id, "verdict": verdict, "failure_mode": None if verdict == "good" else "loop"}
        for trace_id, verdict in zip(sorted(exported), ["bad", "partial", *["good"] * 10], strict=False)
    ]
    (tmp_path / "annotations" / "shop.jsonl").write_text("".join(json.dumps(row) + "\n" for row in said))
    return tmp_path


def test_annotated_traces_are_those_with_a_label(annotated: Path):
    (world,) = annotated_worlds(annotated, n_worlds=1, failing_share=0.5)

    assert (world.traces["day"] >= MONDAY).all()
    known = world.traces.join(world.truth, on="trace_id")["modes"].to_list()
    assert sorted(known) == [[]] * 10 + [["loop"]] * 2
    assert not world.is_drawn_anew
