"""Case files: what is a case, and what is refused."""

import gzip
import json
from contextlib import suppress
from datetime import UTC, datetime

import polars as pl
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from evalpipe.errors import InputError
from evalpipe.gate.cases import Refused, case_rejections, read_cases
from evalpipe.redaction.redactor import Redactor
from evalpipe.settings import ObserveSettings
from evalpipe.tables import TRACES
from evalpipe.traces.prices import load_prices
from evalpipe.traces.spans import Reading
from evalpipe.traces.view import view_frame
from evalpipe_tests.gate.made import case_file

GOOD = {"id": "good", "input": "q", "output": "a"}


def read(folder, *cases, name="cases.jsonl"):
    return read_cases(case_file(folder, *cases, name=name), is_strict=True).traces


def steps(frame: pl.DataFrame, row: int = 0) -> list[tuple]:
    return [(m["role"], m["tool"], m["content"]) for m in frame["transcript"][row]]


def test_a_case_becomes_a_trace_that_evaluators_can_judge(tmp_path):
    frame = read(tmp_path, {"id": "a", "input": "Where is it?", "output": "On its way."})
    assert frame.schema == TRACES.schema
    assert steps(frame) == [("user", None, "Where is it?"), ("assistant", None, "On its way.")]
    view = view_frame(frame)
    assert view.select("trace_id", "request", "final", "n_tool_calls").row(0) == ("a", "Where is it?", "On its way.", 0)


def test_tool_calls_stand_before_the_answer(tmp_path):
    call = {"name": "lookup", "arguments": {"order": 7}, "result": "not found", "is_error": True}
    frame = read(tmp_path, {"input": "q", "output": "sorry", "tool_calls": [call]})
    assert steps(frame) == [
        ("user", None, "q"),
        ("tool_call", "lookup", '{"order":7}'),
        ("tool_result", "lookup", "not found"),
        ("assistant", None, "sorry"),
    ]
    assert frame.select("n_tool_calls", "n_tool_errors").row(0) == (1, 1)
    assert view_frame(frame)["tool_sequence"][0] == "\x1flookup:err\x1f"


def test_openai_messages_are_understood(tmp_path):
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "Where is it?"}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "track", "arguments": '{"id": 1}'}}],
        },
        {"role": "tool", "tool_call_id": "t1", "content": "in Bern"},
        {"role": "assistant", "content": "It is in Bern."},
    ]
    frame = read(tmp_path, {"messages": messages})
    assert steps(frame) == [
        ("system", None, "Be kind."),
        ("user", None, "Where is it?"),
        ("tool_call", "track", '{"id": 1}'),
        ("tool_result", "track", "in Bern"),
        ("assistant", None, "It is in Bern."),
    ]


def test_input_and_output_that_the_messages_hold_are_not_repeated(tmp_path):
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    frame = read(tmp_path, {"input": "q", "output": "a", "messages": messages})
    assert steps(frame) == [("user", None, "q"), ("assistant", None, "a")]


def test_a_question_that_was_answered_before_is_asked_again(tmp_path):
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "first"}]
    frame = read(tmp_path, {"input": "q", "output": "second", "messages": messages})
    assert [content for _, _, content in steps(frame)] == ["q", "first", "q", "second"]


def test_what_is_said_before_a_tool_call_is_no_answer(tmp_path):
    messages = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "let me look"},
        {"role": "tool_call", "tool": "look", "content": "{}"},
        {"role": "tool_result", "tool": "look", "content": "42"},
    ]
    frame = read(tmp_path, {"input": "q", "output": "42", "messages": messages})
    assert [role for role, _, _ in steps(frame)] == ["user", "assistant", "tool_call", "tool_result", "assistant"]


def test_metadata_reaches_the_trace(tmp_path):
    metadata = {
        "service": "shop",
        "version": 1.2,
        "session_id": "s",
        "n_input_tokens": 3,
        "duration_s": 1.5,
        "other": [],
    }
    frame = read(tmp_path, {"input": "q", "output": "a", "metadata": metadata})
    assert frame.select("service_name", "service_version", "session_id", "n_input_tokens", "duration_ns").row(0) == (
        "shop",
        "1.2",
        "s",
        3,
        1_500_000_000,
    )


def test_a_case_without_a_service_is_judged_by_every_evaluator(tmp_path):
    assert read(tmp_path, {"input": "q", "output": "a"})["service_name"][0] == "unknown_service"


def test_cases_without_an_id_are_named_by_their_content(tmp_path):
    case = {"input": "q", "output": "a"}
    first = read(tmp_path, case, {"input": "q", "output": "b"}, case)["trace_id"].to_list()
    again = read(tmp_path, {"output": "a", "input": "q"})["trace_id"].to_list()
    assert first[0] == again[0]
    assert len(set(first)) == 3  # the same case twice is two cases
    assert first[2].startswith(first[0])


def test_other_json_values_are_kept_as_json(tmp_path):
    frame = read(tmp_path, {"input": {"b": 1, "a": [True]}, "output": 3})
    assert steps(frame) == [("user", None, '{"a":[true],"b":1}'), ("assistant", None, "3")]


def test_a_value_that_nests_deeply_is_a_case_too(tmp_path):
    deep = "[" * 500 + "]" * 500
    assert read(tmp_path, f'{{"input": {deep}, "output": "a"}}')["request"].to_list() == [deep]
    too_deep = "[" * 1_020 + "]" * 1_020  # orjson reads up to 1,024
    cases = read_cases(case_file(tmp_path, GOOD, f'{{"input": {too_deep}, "output": "a"}}'))
    assert [one.reason for one in cases.refused] == ["nests too deeply"]


def test_a_csv_file_of_cases(tmp_path):
    text = 'id,input,output,service,n_output_tokens\n1,"Where, please?","line one\nline two",shop,12\n2,q,a,,\n'
    frame = read(tmp_path, text, name="cases.csv")
    assert frame["trace_id"].to_list() == ["1", "2"]
    assert steps(frame) == [("user", None, "Where, please?"), ("assistant", None, "line one\nline two")]
    assert frame["service_name"].to_list() == ["shop", "unknown_service"]
    assert frame["n_output_tokens"].to_list() == [12, None]


def test_a_byte_order_mark_and_blank_lines_are_no_cases(tmp_path):
    assert read(tmp_path, '\ufeff{"input": "q", "output": "a"}', "", "  ").height == 1


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{not json", "is not JSON"),
        ('"text"', "is not a JSON object"),
        ('[{"input": "q", "output": "a"}]', "jq"),
        ('{"output": "a"}', "has no input"),
        ('{"input": "q"}', "has no output"),
        ('{"input": "q", "output": "a", "id": true}', "id is True"),
        ('{"input": "q", "output": "a", "id": ""}', "id is ''"),
        ('{"input": "q", "output": "a", "id": "good"}', "is also on line 1"),
        ('{"input": "q", "output": "a", "messages": {}}', "messages is not a list"),
        ('{"input": "q", "output": "a", "messages": [{"role": "wizard"}]}', "role 'wizard'"),
        ('{"input": "q", "output": "a", "messages": [1]}', "messages holds something"),
        ('{"input": "q", "output": "a", "tool_calls": [{}]}', "without a name"),
        ('{"input": "q", "output": "a", "tool_calls": [{"name": "t", "is_error": "yes"}]}', "is_error"),
        ('{"input": "q", "output": "a", "metadata": [1]}', "metadata is not an object"),
        ('{"input": "q", "output": "a", "metadata": {"version": {}}}', "metadata.version"),
        ('{"input": "q", "output": "a", "metadata": {"n_input_tokens": 1.5}}', "whole number"),
        ('{"input": "q", "output": "a", "metadata": {"cost_usd": -1}}', "metadata.cost_usd"),
        ('{"input": "q", "output": "a", "metadata": {"n_input_tokens": 9223372036854775808}}', "too large"),
        ('{"input": "q", "output": "a", "metadata": {"duration_s": 1e300}}', "too large"),
        ('{"input": "q", "output": "a", "issues": [1]}', "names no issue"),
        ('{"resourceSpans": []}', "OTLP"),
    ],
)
def test_a_line_that_is_no_case_is_reported_and_the_others_are_judged_or_strictly_none(tmp_path, line, says):
    path = case_file(tmp_path, GOOD, line, {"id": "last", "input": "q", "output": "a"})
    cases = read_cases(path)
    assert cases.traces["trace_id"].to_list() == ["good", "last"]
    assert cases.about["line"].to_list() == [1, 3]
    assert [(one.line, one.content) for one in cases.refused] == [(2, line)]
    assert says in cases.refused[0].reason
    with pytest.raises(InputError, match=r"1 of 3 cases.*line 2") as refused:
        read_cases(path, is_strict=True)
    assert says in str(refused.value)


def test_metadata_that_says_nothing_is_none(tmp_path):
    assert read(tmp_path, GOOD | {"metadata": []})["service_name"].to_list() == ["unknown_service"]


def test_issues_are_ids_or_what_an_export_says_of_them(tmp_path):
    exported = {"issue_id": "iss_b", "failure_mode": "shouts", "is_failure": True}
    cases = read_cases(
        case_file(tmp_path, GOOD | {"issues": [exported, "iss_a", "iss_a"]}, {"input": "q", "output": "a"})
    )
    assert cases.about["issue_ids"].to_list() == [["iss_a", "iss_b"], []]


def test_a_file_of_more_cases_than_are_framed_at_once_is_one_frame_in_its_order(tmp_path, monkeypatch):
    monkeypatch.setattr("evalpipe.gate.cases._CHUNK_CASES", 2)
    cases = read_cases(case_file(tmp_path, *({"id": n, "input": "q", "output": str(n)} for n in range(5))))
    assert cases.traces["response"].to_list() == cases.about["trace_id"].to_list() == list("01234")


@pytest.mark.parametrize(("pack", "suffix"), [(gzip.compress, "gz"), (zstandard.compress, "zst")])
def test_cases_may_be_compressed(tmp_path, pack, suffix):
    for name, text in (("cases.jsonl", json.dumps(GOOD)), ("cases.csv", "id,input,output\ngood,q,a\n")):
        path = tmp_path / f"{name}.{suffix}"
        path.write_bytes(pack(text.encode()))
        assert read_cases(path).traces.select("trace_id", "request", "response").rows() == [("good", "q", "a")]


def test_of_a_file_that_is_cut_off_what_stands_before_is_judged(tmp_path):
    path = tmp_path / "cases.jsonl.gz"
    lines = "".join(json.dumps(GOOD | {"id": str(n), "output": f"{n * n:x}"}) + "\n" for n in range(2_000))
    path.write_bytes(gzip.compress(lines.encode())[:-2_000])
    cases = read_cases(path)
    assert 0 < cases.traces.height < 2_000
    assert "cut off" in cases.refused[-1].reason


def test_a_line_above_the_limit_is_passed_over(tmp_path):
    reading = Reading(ObserveSettings(max_payload_bytes=60), load_prices(), Redactor())
    cases = read_cases(case_file(tmp_path, GOOD | {"output": "a" * 100}, GOOD), reading=reading)
    assert cases.traces["trace_id"].to_list() == ["good"]
    assert "longer than 60 bytes" in cases.refused[0].reason


def test_what_is_refused_becomes_rejections_once(tmp_path):
    now = datetime(2026, 3, 2, tzinfo=UTC)
    cases = read_cases(case_file(tmp_path, GOOD, '{"input": "q"}'))
    assert cases.refused == (Refused(2, "has no output", '{"input": "q"}'),)
    rows = case_rejections(cases, source="cases.jsonl", now=now)
    assert rows.select("kind", "source", "location", "reason", "content").rows() == [
        ("case", "cases.jsonl", "line 2", "has no output", '{"input": "q"}')
    ]
    assert case_rejections(cases, source="cases.jsonl", now=now).equals(rows)


def test_of_many_bad_lines_the_first_are_named_and_all_are_counted(tmp_path):
    with pytest.raises(InputError, match=r"9 of 9 cases.*line 5.*and 4 more"):
        read(tmp_path, *["nonsense"] * 9)


@pytest.mark.parametrize(
    ("text", "name", "says"),
    [
        ("", "cases.jsonl", "no cases"),
        ("", "cases.csv", "no cases"),
        ("input,output\n", "cases.csv", "no cases"),
        ("input,answer\nq,a\n", "cases.csv", "no column output"),
        ("input,output\nq,a,b\n", "cases.csv", "line 2: has more or fewer cells"),
        ("input,output\nq\n", "cases.csv", "line 2: has more or fewer cells"),
        ('input,output\nq,"open\n', "cases.csv", "line 2: unexpected end of data"),
        ("input,output,cost_usd\nq,a,much\n", "cases.csv", "cost_usd is 'much'"),
    ],
)
def test_a_file_that_holds_no_cases_says_what_is_wrong(tmp_path, text, name, says):
    with pytest.raises(InputError) as refused:
        read(tmp_path, text, name=name)
    assert says in str(refused.value)


def test_a_file_that_is_not_there_or_no_text_says_so(tmp_path):
    with pytest.raises(InputError, match="there is no such file"):
        read_cases(tmp_path / "missing.jsonl")
    with pytest.raises(InputError, match="cannot be opened"):
        read_cases(tmp_path)
    for content, says in (
        (b"\x0a\xff\x00\x81", "cannot be judged"),
        (b"\x89PNG\r\n\x1a\n", "no OTLP"),
        ('{"input": "q"}'.encode("utf-16"), "UTF-16"),
        (b'{"input": "caf\xe9", "output": "a"}', "line 1: is not JSON"),
    ):
        path = tmp_path / "cases"
        path.write_bytes(content)
        with pytest.raises(InputError, match=says):
            read_cases(path)
    latin = tmp_path / "cases.csv"
    latin.write_bytes(b"input,output\ncaf\xe9,a\n")
    with pytest.raises(InputError, match="is not UTF-8"):
        read_cases(latin)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from(["input", "output", "messages", "tool_calls", "metadata", "id"])


@given(st.dictionaries(keys, json_values))
def test_whatever_a_line_holds_it_is_a_case_or_an_input_error(tmp_path_factory, case):
    path = tmp_path_factory.mktemp("cases") / "cases.jsonl"
    path.write_text(json.dumps(case), encoding="utf-8")
    with suppress(InputError):
        assert read_cases(path, is_strict=True).traces.height == 1
