import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalpipe.errors import InputError
from evalpipe.review.annotations import (
    AnnotationFile,
    effective_annotations,
    file_rejection,
    inbox_files,
    read_annotations,
    settle,
)
from evalpipe.tables import ANNOTATIONS
from evalpipe_tests.review.made import NOON, annotation, annotations, made_id, written

NOW = NOON + timedelta(days=1)
GOOD = {"trace_id": made_id(1), "verdict": "good", "annotator": "ada", "annotated_at": "2026-03-02T10:00:00Z"}
BAD = {**GOOD, "verdict": "bad", "failure_mode": "made up a price"}
OPINIONS = [("good", None), ("bad", "slow"), ("bad", "rude"), ("withdrawn", None)]


def everything(trace_ids: list[str]) -> set[str]:
    return set(trace_ids)


def take(path: Path, now: datetime = NOW, **options) -> AnnotationFile:
    return read_annotations(path, known_traces=options.pop("known_traces", everything), now=now, **options)


def refusal(tmp_path: Path, row: dict | str, **options) -> str:
    taken = take(written(tmp_path, "a.jsonl", row), **options)
    assert taken.rows.is_empty()
    assert taken.rejections["location"].to_list() == ["1"]
    return taken.rejections["reason"].item()


def test_a_row_becomes_an_annotation(tmp_path: Path):
    row = BAD | {
        "correction": "12 EUR",
        "comment": "twice",
        "label_source": "programmatic",
        "cycle": "2026-W10",
        "step": 3,
    }
    taken = take(written(tmp_path, "monday.jsonl", row))
    assert (taken.n_rows, taken.rejections.height) == (1, 0)
    assert taken.rows.drop("annotation_id").row(0, named=True) == {
        "trace_id": made_id(1),
        "verdict": "bad",
        "failure_mode": "made up a price",
        "correction": "12 EUR",
        "comment": "twice",
        "evidence": None,
        "annotator": "ada",
        "annotated_at": datetime(2026, 3, 2, 10, tzinfo=UTC),
        "label_source": "programmatic",
        "cycle": "2026-W10",
        "source": "monday.jsonl",
    }


def test_evidence_is_taken_in_and_makes_another_annotation(tmp_path: Path):
    rows = take(written(tmp_path, "a.jsonl", BAD, BAD | {"evidence": " 12 EUR "}, BAD | {"evidence": " "})).rows
    assert rows["evidence"].to_list() == [None, "12 EUR"]


def test_an_annotation_without_evidence_has_the_id_it_had_before_there_was_evidence(tmp_path: Path):
    """The ids of version 0.1: an old file that is dropped again brings nothing new."""
    old = written(
        tmp_path, "a.jsonl", BAD | {"correction": "12 EUR", "comment": "twice"}, GOOD | {"annotated_at": None}
    )
    assert take(old).rows["annotation_id"].to_list() == ["d79e71557f9ce764", "ac9d1638feabb449"]


def test_a_withdrawal_needs_no_failure_mode_and_takes_none(tmp_path: Path):
    withdrawn = GOOD | {"verdict": "Withdrawn"}
    assert take(written(tmp_path, "a.jsonl", withdrawn)).rows["verdict"].to_list() == ["withdrawn"]
    assert "verdict withdrawn with a failure_mode" in refusal(tmp_path, withdrawn | {"failure_mode": "slow"})


def test_ids_and_verdicts_are_read_in_any_case_and_white_space(tmp_path: Path):
    rows = take(written(tmp_path, "a.jsonl", GOOD | {"trace_id": f" {'AB' * 16} ", "verdict": " Good"})).rows
    assert rows.select("trace_id", "verdict").row(0) == ("ab" * 16, "good")


def test_a_row_without_a_source_is_a_persons(tmp_path: Path):
    assert take(written(tmp_path, "a.jsonl", GOOD)).rows["label_source"].item() == "human"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("{not json", "not JSON"),
        ('{"verdict": "\\ud800"}', "not JSON"),
        (GOOD | {"trace_id": None}, "no trace_id"),
        (GOOD | {"trace_id": "17"}, "trace_id '17' is not 32 hex digits"),
        (GOOD | {"trace_id": ["a"]}, "is not 32 hex digits"),
        (GOOD | {"trace_id": "0" * 32}, "is not 32 hex digits"),
        (GOOD | {"verdict": ""}, "no verdict: say good, bad or partial"),
        (GOOD | {"verdict": "fine"}, "verdict 'fine' is none of good, bad, partial"),
        (GOOD | {"verdict": "bad"}, "verdict bad without a failure_mode"),
        (GOOD | {"verdict": "partial", "failure_mode": "  "}, "verdict partial without a failure_mode"),
        (GOOD | {"failure_mode": "slow"}, "verdict good with a failure_mode"),
        (BAD | {"failure_mode": "?!"}, "failure_mode '?!' has no words"),
        (GOOD | {"label_source": "guess"}, "label_source 'guess' is none of human, programmatic, model"),
        (GOOD | {"annotator": None}, "no annotator"),
        (GOOD | {"annotated_at": "yesterday"}, "annotated_at 'yesterday' is no ISO 8601 time"),
        (GOOD | {"annotated_at": "2099-01-01"}, "annotated_at '2099-01-01' lies in the future"),
    ],
)
def test_a_row_with_a_mistake_is_refused_by_line_and_reason(tmp_path: Path, row: dict | str, reason: str):
    assert reason in refusal(tmp_path, row)


def test_a_line_that_is_deep_or_no_object_is_refused(tmp_path: Path):
    taken = take(written(tmp_path, "a.jsonl", GOOD, '["a list"]', "[" * 100_000))
    assert taken.rejections["reason"].to_list() == ["not a JSON object", "not JSON"]


def test_a_trace_that_never_landed_is_refused(tmp_path: Path):
    assert f"no trace {made_id(1)} here" in refusal(tmp_path, GOOD, known_traces=lambda _: set())


def test_one_refused_row_does_not_keep_the_others_out(tmp_path: Path):
    taken = take(written(tmp_path, "a.jsonl", GOOD, "oops", "", BAD))
    assert taken.rows["verdict"].to_list() == ["good", "bad"]
    assert taken.rejections["location"].to_list() == ["2"]
    assert taken.rejections["content"].to_list() == ["oops"]
    assert taken.n_rows == 3


def test_the_annotator_is_who_imports_else_the_reviewer_of_the_queue(tmp_path: Path):
    anonymous = {name: value for name, value in GOOD.items() if name != "annotator"}
    path = written(tmp_path, "a.jsonl", anonymous | {"reviewer": "bo"})
    assert take(path).rows["annotator"].to_list() == ["bo"]
    assert take(path, default_annotator="cy").rows["annotator"].to_list() == ["cy"]


@pytest.mark.parametrize(
    ("stamp", "utc"),
    [
        ("2026-03-02T10:00:00+02:00", datetime(2026, 3, 2, 8, tzinfo=UTC)),
        ("2026-03-02 10:00", datetime(2026, 3, 2, 10, tzinfo=UTC)),
        ("2026-03-02", datetime(2026, 3, 2, tzinfo=UTC)),
        ("2026-03-02T10:00:00.123456Z", datetime(2026, 3, 2, 10, 0, 0, 123456, tzinfo=UTC)),
    ],
)
def test_a_time_without_a_zone_is_utc(tmp_path: Path, stamp: str, utc: datetime):
    assert take(written(tmp_path, "a.jsonl", GOOD | {"annotated_at": stamp})).rows["annotated_at"].item() == utc


def test_reading_a_file_again_gives_the_same_annotations_even_without_a_date(tmp_path: Path):
    path = written(tmp_path, "a.jsonl", GOOD | {"annotated_at": None}, BAD)
    first, second = take(path), take(path, now=NOW + timedelta(days=3))
    assert first.rows["annotated_at"].to_list()[0] == NOW
    assert first.rows["annotation_id"].to_list() == second.rows["annotation_id"].to_list()


def test_a_row_that_stands_twice_is_one_annotation(tmp_path: Path):
    assert take(written(tmp_path, "a.jsonl", GOOD, GOOD)).rows.height == 1


def csv_file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "a.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_csv_says_the_same_as_json_lines(tmp_path: Path):
    text = f"{','.join(BAD)}\n{','.join(BAD.values())}\n"
    from_csv = take(csv_file(tmp_path, text)).rows
    assert from_csv.drop("source").equals(take(written(tmp_path, "a.jsonl", BAD)).rows.drop("source"))


def test_a_csv_from_a_spreadsheet_has_a_mark_and_other_delimiters(tmp_path: Path):
    text = f"\ufeffTrace_ID;Verdict;annotator\r\n{made_id(1)};good;ada\r\n;;\r\n"
    assert take(csv_file(tmp_path, text)).rows.height == 1


def test_the_line_of_a_csv_row_counts_lines_within_cells(tmp_path: Path):
    text = f'trace_id,verdict,annotator,comment\n{made_id(1)},good,ada,"two\nlines"\n{made_id(2)},odd,ada,\n'
    assert take(csv_file(tmp_path, text)).rejections["location"].to_list() == ["4"]


def test_a_csv_row_of_another_length_is_refused_whole(tmp_path: Path):
    """A cell lost in the middle would turn a model's label into a person's."""
    text = f"trace_id,verdict,annotator,label_source\n{made_id(1)},good,judge\n"
    assert "3 cells where the header has 4" in take(csv_file(tmp_path, text)).rejections["reason"].item()


def test_a_formula_that_was_guarded_is_read_as_it_was(tmp_path: Path):
    text = f"trace_id,verdict,failure_mode,annotator,comment\n{made_id(1)},bad,'=wrong sum,ada,''-quoted\n"
    assert take(csv_file(tmp_path, text)).rows.select("failure_mode", "comment").row(0) == ("=wrong sum", "'-quoted")


def test_rows_of_a_queue_that_nobody_filled_in_are_no_mistakes(tmp_path: Path):
    text = (
        f"trace_id,reviewer,verdict,failure_mode,correction,comment\n{made_id(1)},ada,good,,,\n{made_id(2)},ada,,,,\n"
    )
    taken = take(csv_file(tmp_path, text))
    assert (taken.n_rows, taken.n_unanswered, taken.rows.height, taken.rejections.height) == (2, 1, 1, 0)


def test_a_comment_without_a_verdict_is_refused_not_forgotten(tmp_path: Path):
    text = f"trace_id,reviewer,verdict,failure_mode,correction,comment\n{made_id(1)},ada,,,,hm\n"
    assert "no verdict" in take(csv_file(tmp_path, text)).rejections["reason"].item()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "no column trace_id, verdict; found: nothing"),
        (b"trace_id,label\n1,good\n", "no column verdict; found: trace_id, label"),
        (b"trace_id,verdict,verdict\n", "column verdict appears twice"),
        (b'trace_id,verdict\n"unclosed,good\n', "line 2.*quotes"),
        (b"\x89PNG\r\n\x1a\n", "not UTF-8 text"),
        (b'[{"label": "good"}]', "neither annotations .* nor an export of"),
    ],
)
def test_a_file_without_annotations_is_refused_by_name(tmp_path: Path, content: bytes, what: str):
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=what) as raised:
        take(path)
    assert "a.csv" in str(raised.value)


cells = st.one_of(st.none(), st.text(max_size=8), st.integers(), st.floats(), st.lists(st.text(max_size=2), max_size=2))
names = st.sampled_from(
    ["trace_id", "verdict", "failure_mode", "annotator", "label_source", "annotated_at", "reviewer"]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.dictionaries(names, cells) | st.text(max_size=12), max_size=8))
def test_every_row_of_any_file_is_taken_refused_or_unanswered(tmp_path_factory: pytest.TempPathFactory, rows: list):
    path = tmp_path_factory.mktemp("any") / "a.jsonl"
    lines = [row.replace("\n", " ") if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("{}\n" + "\n".join(lines), encoding="utf-8")
    taken = take(path)
    assert taken.rows.height + taken.rejections.height + taken.n_unanswered <= taken.n_rows
    assert taken.rejections["reason"].str.len_chars().min() > 0  # the first line is {}


def verdicts(*rows: dict) -> list[tuple[str, str | None]]:
    return effective_annotations(annotations(*rows)).select("verdict", "failure_mode").rows()


def test_a_later_word_on_the_same_failure_supersedes():
    assert verdicts(annotation(1, "bad", "slow"), annotation(1, "partial", "Slow!", minute=1)) == [("partial", "Slow!")]


def test_two_failures_of_one_trace_both_stand():
    assert len(verdicts(annotation(1, "bad", "slow"), annotation(1, "bad", "rude", minute=1))) == 2


def test_a_later_good_takes_the_failures_back():
    rows = [annotation(1, "bad", "slow"), annotation(1, "bad", "rude"), annotation(1, "good", minute=1)]
    assert verdicts(*rows) == [("good", None)]


def test_a_later_failure_takes_the_good_back():
    assert verdicts(annotation(1, "good"), annotation(1, "bad", "slow", minute=1)) == [("bad", "slow")]


def test_at_the_same_instant_the_failure_stands():
    assert verdicts(annotation(1, "good"), annotation(1, "bad", "slow")) == [("bad", "slow")]


def test_a_withdrawal_takes_back_all_that_was_said_until_then_and_says_nothing():
    said = [annotation(1, "bad", "slow"), annotation(1, "partial", "rude", minute=1)]
    assert verdicts(*said, annotation(1, "withdrawn", minute=1)) == []
    assert verdicts(annotation(1, "good"), annotation(1, "withdrawn", minute=1)) == []


def test_what_is_said_after_a_withdrawal_stands():
    rows = [annotation(1, "bad", "slow"), annotation(1, "withdrawn", minute=1), annotation(1, "bad", "rude", minute=2)]
    assert verdicts(*rows) == [("bad", "rude")]


def test_a_withdrawal_is_of_ones_own_words_on_that_trace():
    rows = [
        annotation(1, "bad", "slow"),
        annotation(2, "good"),
        annotation(1, "withdrawn", annotator="bo", minute=1),
        annotation(1, "withdrawn", label_source="model", minute=1),
        annotation(3, "withdrawn", minute=1),
    ]
    assert len(verdicts(*rows)) == 2


def test_annotators_traces_and_sources_do_not_supersede_one_another():
    rows = [
        annotation(1, "bad", "slow"),
        annotation(1, "good", annotator="bo", minute=1),
        annotation(2, "good", minute=1),
        annotation(1, "good", label_source="model", minute=1),
    ]
    assert len(verdicts(*rows)) == 4


@given(
    st.lists(st.tuples(st.integers(0, 1), st.sampled_from(OPINIONS), st.integers(0, 3)), max_size=8),
    st.randoms(),
)
def test_what_stands_does_not_depend_on_the_order_of_arrival(said: list, random):
    rows = [annotation(trace, *opinion, minute=minute) for trace, opinion, minute in said]
    shuffled = random.sample(rows, len(rows))
    once = effective_annotations(annotations(*rows).unique("annotation_id"))
    assert effective_annotations(annotations(*shuffled, *rows)).equals(once)
    assert effective_annotations(once).equals(once)


def test_nothing_said_leaves_nothing():
    assert effective_annotations(ANNOTATIONS.empty()).equals(ANNOTATIONS.empty())


def test_the_inbox_leaves_hidden_and_half_written_files_and_folders_alone(tmp_path: Path):
    for name in ("b.jsonl", "a.csv", ".hidden.csv", "c.csv.part", "~lock.csv"):
        (tmp_path / name).touch()
    (tmp_path / "done").mkdir()
    assert [path.name for path in inbox_files(tmp_path)] == ["a.csv", "b.jsonl"]
    assert inbox_files(tmp_path / "nowhere") == []


def test_refused_rows_are_repaired_and_dropped_again(tmp_path: Path):
    inbox = tmp_path / "inbox"
    path = written(inbox, "a.jsonl", BAD, GOOD | {"verdict": "god"}, "oops")
    settle(path, take(path), inbox)
    assert inbox_files(inbox) == []
    assert (inbox / "done" / "a.jsonl").exists()
    refused = inbox / "rejected" / "a.jsonl"
    first, second = map(json.loads, refused.read_text().splitlines())
    assert (first["line"], first["verdict"], "none of good" in first["reason"]) == (2, "god", True)
    assert second == {"content": "oops", "line": 3, "reason": "not JSON"}
    repaired = written(inbox, "again.jsonl", first | {"verdict": "good"})
    assert take(repaired).rejections.is_empty()


def test_a_file_of_the_same_name_overwrites_nothing(tmp_path: Path):
    inbox = tmp_path / "inbox"
    for verdict in ("good", "god", "goood"):
        path = written(inbox, "a.jsonl", GOOD | {"verdict": verdict})
        settle(path, take(path), inbox)
    assert len(list((inbox / "done").iterdir())) == 3
    assert len(list((inbox / "rejected").iterdir())) == 2


def test_the_same_file_dropped_twice_is_kept_once(tmp_path: Path):
    for _ in range(2):
        path = written(tmp_path, "a.jsonl", GOOD)
        settle(path, take(path), tmp_path)
    assert [path.name for path in (tmp_path / "done").iterdir()] == ["a.jsonl"]


def test_an_unreadable_file_leaves_the_inbox_with_its_reason(tmp_path: Path):
    path = csv_file(tmp_path, "what,is,this\n")
    with pytest.raises(InputError) as raised:
        take(path)
    row = file_rejection(path, raised.value, NOW).row(0, named=True)
    settle(path, raised.value, tmp_path)
    assert (row["kind"], row["source"]) == ("file", "a.csv")
    assert (tmp_path / "rejected" / "a.csv").exists()
    assert "no column" in (tmp_path / "rejected" / "a.reason.txt").read_text()
    assert inbox_files(tmp_path) == []


def test_a_refused_row_has_the_same_id_when_it_is_refused_again(tmp_path: Path):
    path = written(tmp_path, "a.jsonl", "oops")
    ids = pl.concat([take(path).rejections, take(path, now=NOW + timedelta(1)).rejections])["rejection_id"]
    assert ids.n_unique() == 1
