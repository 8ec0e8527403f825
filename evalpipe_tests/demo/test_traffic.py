import json
import re
from collections import Counter, defaultdict
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path

import pytest

from evalpipe.demo.plan import BAD_CANDIDATE, FIXED_AND_RETURNED, FIXED_FOR_GOOD, GOOD_CANDIDATE, FailureMode
from evalpipe.demo.traffic import DemoPlan, release_cases, week_of_traffic, write_cases
from evalpipe.errors import InputError, StateError
from evalpipe.gate.cases import read_cases
from evalpipe_tests.demo.conftest import PLAN, SMALL_PLAN, Demo
from evalpipe_tests.demo.wire import WireTrace, attributes, traces_in

WRITES = {"issue_refund", "update_address", "cancel_order", "send_email"}


def test_the_same_plan_gives_the_same_bytes_and_the_same_truth(tmp_path: Path) -> None:
    first = week_of_traffic(SMALL_PLAN, 1, tmp_path / "first")
    again = week_of_traffic(SMALL_PLAN, 1, tmp_path / "again")
    assert [path.read_bytes() for path in first.paths] == [path.read_bytes() for path in again.paths]
    assert first.truth == again.truth


def test_writing_a_week_again_replaces_its_files(tmp_path: Path) -> None:
    first = week_of_traffic(SMALL_PLAN, 0, tmp_path)
    before = [path.read_bytes() for path in first.paths]
    again = week_of_traffic(SMALL_PLAN, 0, tmp_path)
    assert [path.read_bytes() for path in again.paths] == before


@pytest.mark.parametrize(
    "other",
    [
        DemoPlan(SMALL_PLAN.start_day, n_weeks=2, sessions_per_day=5, seed=1),
        DemoPlan(date(2026, 11, 2), n_weeks=2, sessions_per_day=5),
    ],
)
def test_another_seed_or_start_shares_no_trace_and_no_session(other: DemoPlan, tmp_path: Path) -> None:
    mine = week_of_traffic(SMALL_PLAN, 0, tmp_path / "mine")
    theirs = week_of_traffic(other, 0, tmp_path / "theirs")
    assert not mine.truth.keys() & theirs.truth.keys()
    assert not _session_ids(mine.paths) & _session_ids(theirs.paths)


def test_what_happens_does_not_depend_on_the_date(tmp_path: Path) -> None:
    later = replace(SMALL_PLAN, start_day=date(2027, 3, 1))
    happened = []
    for plan in (SMALL_PLAN, later):
        week = week_of_traffic(plan, 1, tmp_path / str(plan.start_day))
        traces = traces_in(week.paths)
        happened.append([(week.truth[i], t.request, [call[0] for call in t.calls]) for i, t in traces.items()])
    assert happened[0] == happened[1]


def test_otel_variables_of_the_machine_do_not_change_the_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = week_of_traffic(SMALL_PLAN, 0, tmp_path / "plain")
    monkeypatch.setenv("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "5")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=other")
    configured = week_of_traffic(SMALL_PLAN, 0, tmp_path / "configured")
    assert [p.read_bytes() for p in plain.paths] == [p.read_bytes() for p in configured.paths]


def test_a_disabled_sdk_is_said_plainly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    with pytest.raises(StateError, match="OTEL_SDK_DISABLED"):
        week_of_traffic(SMALL_PLAN, 0, tmp_path)


def test_a_plan_starts_on_a_monday() -> None:
    with pytest.raises(InputError, match=r"2026-10-21 is not a Monday.*Start on 2026-10-19"):
        DemoPlan(date(2026, 10, 21))


def test_a_week_outside_the_plan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="week 8 is not in 0, 1, 2, 3, 4, 5, 6, 7"):
        week_of_traffic(PLAN, 8, tmp_path)


def test_the_truth_has_exactly_the_traces_of_the_files(demo: Demo) -> None:
    assert demo.traces.keys() == demo.truth.keys()
    assert sum(week.n_traces for week in demo.weeks) == len(demo.truth)
    # 280 sessions a week of 2.2 to 2.5 traces
    assert all(570 <= week.n_traces <= 760 for week in demo.weeks)


def test_every_trace_is_one_agent_span_with_model_and_tool_calls_directly_below(demo: Demo) -> None:
    for trace in demo.traces.values():
        root = trace.root
        assert len(root.trace_id) == 16
        assert attributes(root)["gen_ai.operation.name"] == "invoke_agent"
        assert len({span.span_id for span in trace.spans}) == len(trace.spans)
        for span in trace.spans:
            assert len(span.span_id) == 8
            assert root.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
            assert span.end_time_unix_nano <= root.end_time_unix_nano
            assert span is root or span.parent_span_id == root.span_id


def test_model_spans_carry_the_conversation_and_its_tokens(demo: Demo) -> None:
    trace = next(trace for trace in demo.traces.values() if len(trace.tools) == 3)
    chats = [span for span in trace.spans if attributes(span)["gen_ai.operation.name"] == "chat"]
    messages = [json.loads(attributes(span)["gen_ai.input.messages"]) for span in chats]
    # One message asks; each of three calls adds the call and its result.
    assert [len(history) for history in messages] == [1, 3, 5, 7]
    assert messages[0][0]["parts"][0]["content"] == trace.request
    final = json.loads(attributes(chats[-1])["gen_ai.output.messages"])
    assert final[0]["parts"][0]["content"] == trace.answer
    assert all(attributes(span)["gen_ai.usage.input_tokens"] > 0 for span in chats)
    assert all(attributes(span)["gen_ai.usage.output_tokens"] > 0 for span in chats)


def test_a_failed_tool_call_has_an_error_status_and_no_result(demo: Demo) -> None:
    failed = [span for trace in demo.traces.values() for span in trace.tools if span.status.code == 2]
    assert len(failed) > 50
    for span in failed:
        assert span.status.message
        assert attributes(span)["error.type"]
        assert "gen_ai.tool.call.result" not in attributes(span)
        assert [event.name for event in span.events] == ["exception"]


def test_sessions_have_one_to_six_traces_that_do_not_overlap_and_stay_in_their_day(demo: Demo) -> None:
    sessions = defaultdict(list)
    for trace in demo.traces.values():
        sessions[attributes(trace.root)["session.id"]].append(trace.root)
    sizes = Counter(map(len, sessions.values()))
    assert set(sizes) == {1, 2, 3, 4, 5, 6}
    assert 2.0 < len(demo.traces) / len(sessions) < 2.6
    for roots in sessions.values():
        roots.sort(key=lambda root: root.start_time_unix_nano)
        for earlier, later in pairwise(roots):
            assert earlier.end_time_unix_nano < later.start_time_unix_nano
        first, last = roots[0].start_time_unix_nano, roots[-1].end_time_unix_nano
        assert datetime.fromtimestamp(first / 1e9, UTC).date() == datetime.fromtimestamp(last / 1e9, UTC).date()


def test_each_failure_mode_is_rare_but_there(demo: Demo) -> None:
    for mode in FailureMode:
        fixed_in = {FIXED_AND_RETURNED: {3, 4, 5, 6}, FIXED_FOR_GOOD: {3, 4, 5, 6, 7}}.get(mode, set())
        weeks = [week for n, week in enumerate(demo.weeks) if n not in fixed_in]
        n_traces = sum(week.n_traces for week in weeks)
        n_failures = sum(planted == mode for week in weeks for planted in week.truth.values())
        assert 0.01 <= n_failures / n_traces <= 0.08, mode


def test_one_release_fixes_a_mode_and_the_next_brings_it_back(demo: Demo) -> None:
    # By what the spans say, not by the truth: the same call four times or more.
    n_loops = Counter(trace.version for trace in demo.traces.values() if is_loop(trace))
    assert {trace.version for trace in demo.traces.values()} == {"1.0.0", "1.1.0", "1.2.0"}
    assert n_loops["1.0.0"] >= 20
    assert n_loops["1.1.0"] == 0
    assert n_loops["1.2.0"] >= 15


def test_the_mode_that_is_fixed_for_good_is_not_seen_again(demo: Demo) -> None:
    planted = [Counter(week.truth.values())[FIXED_FOR_GOOD] for week in demo.weeks]
    assert min(planted[:3]) > 0
    assert planted[3:] == [0, 0, 0, 0, 0]


def test_a_plan_that_tells_the_whole_story_ends_with_a_quiet_week_much_later() -> None:
    plan = DemoPlan(start_day=date(2026, 3, 2))
    assert plan.weeks == (0, 1, 2, 3, 4, 5, 6, 7, 8, 22)
    assert plan.sessions_in(22) < plan.sessions_in(0)
    assert plan.days_of(22)[0] == date(2026, 8, 3)
    with pytest.raises(InputError):
        plan.days_of(9)


def test_customers_who_were_not_helped_ask_again(demo: Demo) -> None:
    turns = defaultdict(list)
    for trace_id, trace in demo.traces.items():
        turns[attributes(trace.root)["session.id"]].append((trace.root.start_time_unix_nano, trace_id))
    n_asked_again = Counter[bool]()
    n_turns = Counter[bool]()
    for session in turns.values():
        ordered = [trace_id for _, trace_id in sorted(session)]
        for trace_id, next_id in zip(ordered, [*ordered[1:], None], strict=True):
            is_failure = demo.truth[trace_id] is not None
            n_turns[is_failure] += 1
            if next_id and demo.traces[trace_id].request in demo.traces[next_id].request:
                n_asked_again[is_failure] += 1
    assert n_asked_again[True] / n_turns[True] > 5 * n_asked_again[False] / n_turns[False] > 0


def is_unchecked_refund(trace: WireTrace) -> bool:
    names = [name for name, _, _ in trace.calls]
    return "issue_refund" in names and "check_refund_policy" not in names[: names.index("issue_refund")]


def is_loop(trace: WireTrace) -> bool:
    return max(Counter((name, arguments) for name, arguments, _ in trace.calls).values(), default=0) >= 4


def is_ignored_error(trace: WireTrace) -> bool:
    last = trace.calls[-1] if trace.calls else ("", "", False)
    admits = re.search(r"ticket|did not go through|system (refused|did not accept)|could not complete", trace.answer)
    return last[0] in WRITES and last[2] and not admits


def is_empty_promise(trace: WireTrace) -> bool:
    claims = re.search(
        r"(issued|processed|sent) (your|the) refund|is on its way back|has been refunded to your|refund of \S+ (has"
        r" been processed|went through)|has been returned to|was sent back to|(credited|refunded) €",
        trace.answer,
    )
    return bool(claims) and "issue_refund" not in [name for name, _, _ in trace.calls]


def is_asked_again(trace: WireTrace) -> bool:
    return bool(re.search(r"SO-\d{5}", trace.request)) and bool(
        re.search(r"order number( please)?[,?;]|order number or the email", trace.answer)
    )


@pytest.mark.parametrize(
    ("mode", "rule"),
    [
        (FailureMode.REFUND_WITHOUT_POLICY_CHECK, is_unchecked_refund),
        (FailureMode.REPEATED_IDENTICAL_TOOL_CALL, is_loop),
        (FailureMode.IGNORED_TOOL_ERROR, is_ignored_error),
        (FailureMode.PROMISED_REFUND_NOT_ISSUED, is_empty_promise),
        (FailureMode.ASKED_AGAIN_FOR_ORDER_NUMBER, is_asked_again),
    ],
)
def test_the_spans_alone_show_what_was_planted(demo: Demo, mode: FailureMode, rule) -> None:
    found = {trace_id for trace_id, trace in demo.traces.items() if rule(trace)}
    planted = {trace_id for trace_id, planted in demo.truth.items() if planted == mode}
    assert found == planted


@pytest.mark.parametrize(
    ("mode", "resembles"),
    [
        (FailureMode.REFUND_WITHOUT_POLICY_CHECK, lambda t: "issue_refund" in [name for name, _, _ in t.calls]),
        (
            FailureMode.REPEATED_IDENTICAL_TOOL_CALL,
            lambda t: max(Counter(c[0] for c in t.calls).values(), default=0) > 3,
        ),
        (
            FailureMode.REPEATED_IDENTICAL_TOOL_CALL,
            lambda t: max(Counter(c[:2] for c in t.calls).values(), default=0) == 3,
        ),
        (FailureMode.IGNORED_TOOL_ERROR, lambda t: any(is_error and name in WRITES for name, _, is_error in t.calls)),
        (FailureMode.PROMISED_REFUND_NOT_ISSUED, lambda t: "efund of €" in t.answer),
        (FailureMode.INVENTED_POLICY, lambda t: re.search(r"voucher|warranty|days|%", t.answer)),
        (FailureMode.UNHELPFUL_DEFLECTION, lambda t: re.search(r"may|might|usually|can't", t.answer)),
        (FailureMode.ASKED_AGAIN_FOR_ORDER_NUMBER, lambda t: re.search(r"order number", t.answer)),
    ],
)
def test_healthy_traces_resemble_each_failure(demo: Demo, mode: FailureMode, resembles) -> None:
    n_alike = sum(1 for i, trace in demo.traces.items() if demo.truth[i] is None and resembles(trace))
    assert n_alike >= 20, mode


def test_the_planted_truth_is_in_no_file(demo: Demo) -> None:
    data = b"".join(path.read_bytes() for week in demo.weeks for path in week.paths)
    assert not [
        mode for mode in FailureMode if mode.value.encode() in data or mode.value.replace("_", " ").encode() in data
    ]


def test_the_gate_reads_the_cases_and_only_the_bad_candidate_is_broken(tmp_path: Path) -> None:
    good = release_cases(PLAN, GOOD_CANDIDATE, 150, seed=3)
    bad = release_cases(PLAN, BAD_CANDIDATE, 150, seed=3)
    assert good == release_cases(PLAN, GOOD_CANDIDATE, 150, seed=3)
    assert _loop_share(good) <= 0.02
    assert 0.27 <= _loop_share(bad) <= 0.45
    frame = read_cases(write_cases(tmp_path / "cases" / "bad.jsonl", bad)).traces
    assert frame["trace_id"].to_list() == [case["id"] for case in bad]
    assert frame["request"].to_list() == [case["input"] for case in bad]
    assert frame["n_tool_calls"].to_list() == [len(case["tool_calls"]) for case in bad]
    assert frame["service_version"].unique().to_list() == ["2.0.0-bad"]


def _session_ids(paths: list[Path]) -> set[str]:
    return {attributes(trace.root)["session.id"] for trace in traces_in(paths).values()}


def _loop_share(cases: list[dict]) -> float:
    most = [
        max(Counter((c["name"], json.dumps(c["arguments"])) for c in case["tool_calls"]).values(), default=0)
        for case in cases
    ]
    return sum(n >= 4 for n in most) / len(cases)
