"""Annotations: read from a file, checked row by row, and which of them still stand; and the inbox they arrive in.

Several opinions become one label in labels.py.
"""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import polars as pl

from evalpipe.errors import InputError
from evalpipe.ids import content_hash, normalised_failure_mode
from evalpipe.review.exchange.rows import Row, read_rows
from evalpipe.tables import ANNOTATIONS, REJECTIONS

VERDICTS = ("good", "bad", "partial", "withdrawn")
LABEL_SOURCES = ("human", "programmatic", "model")
ANSWER_COLUMNS = ("verdict", "failure_mode", "correction", "comment", "evidence")
"""What a reviewer fills in."""

_HASHED = ("trace_id", "verdict", "failure_mode", "correction", "comment", "annotator", "label_source", "stamp")

_MAX_FUTURE = timedelta(days=1)  # a clock may be wrong by a time zone, not by more
_UNFINISHED = (".part", ".tmp", ".crdownload", ".swp")  # written by browsers and editors before the file is whole


class AnnotationFile(NamedTuple):
    """What a file held. `n_rows` counts all rows; `n_unanswered` those of a queue export that nobody filled in."""

    rows: pl.DataFrame
    rejections: pl.DataFrame
    n_rows: int
    n_unanswered: int


def read_annotations(
    path: Path,
    *,
    known_traces: Callable[[list[str]], set[str]],
    now: datetime,
    default_annotator: str | None = None,
    traces_of_spans: Callable[[list[str]], dict[str, str]] = lambda _: {},
) -> AnnotationFile:
    """The ANNOTATIONS of a file of any known format and the REJECTIONS of its other rows, each with place and reason.

    The annotator is the row's, else `default_annotator`, else the reviewer it was queued for. A row without a date is
    dated `now`, but its id is that of its content: reading the file again gives the same annotations. `known_traces`
    says which of the trace ids exist, `traces_of_spans` the trace of each span id, for rows that name a span alone.
    Unknown columns are ignored. Raises InputError when the file cannot be read.
    """
    fields = _fields(read_rows(path, required=("trace_id", "verdict")), default_annotator)
    checked = _checked(_with_traces(fields, traces_of_spans), known_traces, now)
    answered = checked.filter(~pl.col("is_unanswered"))
    good = answered.filter(pl.col("problem").is_null())
    return AnnotationFile(
        rows=_annotations(good, path.name, now),
        rejections=_rejections(answered.filter(pl.col("problem").is_not_null()), path.name, now),
        n_rows=checked.height,
        n_unanswered=checked.height - answered.height,
    )


def annotation(
    trace_id: str, answer: Mapping[str, str | None], *, annotator: str, cycle: str, source: str, now: datetime
) -> pl.DataFrame:
    """ANNOTATIONS, one row: what a person says `now`, by the checks and with the id that a row of a file has.

    `answer` holds ANSWER_COLUMNS, stripped, empty text as None. That the trace exists is known. Raises InputError with
    the reason why it cannot be taken.
    """
    fields = {**answer, "trace_id": trace_id, "annotator": annotator, "annotated_at": now.isoformat(), "cycle": cycle}
    checked = _checked(_fields([Row("", fields, None, "")], None), known_traces=set, now=now)
    problem = checked["problem"].item()
    if problem is not None:
        raise InputError(problem)
    return _annotations(checked, source, now)


def effective_annotations(annotations: pl.DataFrame) -> pl.DataFrame:
    """The annotations that still stand, sorted by time.

    A later one by the same annotator for the same trace and failure mode supersedes. A later 'good' takes back their
    failures on that trace, and a later failure their 'good'; at the same instant the failure stands. 'withdrawn' takes
    back all that they said of the trace until then, that instant included, and is nothing by itself. What a model said
    never supersedes what a person said.
    """
    who = ["annotator", "label_source", "trace_id"]
    withdrawn_at = pl.col("annotated_at").filter(pl.col("verdict") == "withdrawn").max().over(who)
    is_good = pl.col("verdict") == "good"
    last_good, last_failure = (
        pl.col("annotated_at").filter(condition).max().over(who) for condition in (is_good, ~is_good)
    )
    stands = pl.when(is_good).then(pl.col("annotated_at") > last_failure).otherwise(pl.col("annotated_at") >= last_good)
    return (
        with_mode_key(annotations)
        .filter((pl.col("annotated_at") > withdrawn_at).fill_null(True))
        .sort("annotated_at", "annotation_id")
        .unique([*who, "mode_key", is_good], keep="last", maintain_order=True)
        .filter(stands.fill_null(True))
        .drop("mode_key")
    )


def with_mode_key(annotations: pl.DataFrame) -> pl.DataFrame:
    """Adds mode_key, the normalised failure mode; null where none is named."""
    modes = annotations["failure_mode"].unique().drop_nulls()
    keys = pl.Series([normalised_failure_mode(mode) for mode in modes], dtype=pl.String)
    return annotations.with_columns(mode_key=pl.col("failure_mode").replace_strict(modes, keys, default=None))


def inbox_files(inbox: Path) -> list[Path]:
    """The files waiting in the inbox, by name; hidden and half-written ones (.part, .tmp) are left alone."""
    if not inbox.is_dir():
        return []
    return sorted(
        path
        for path in inbox.iterdir()
        if path.is_file()
        and not path.is_symlink()
        and not path.name.startswith((".", "~"))
        and path.suffix.lower() not in _UNFINISHED
    )


def settle(file: Path, result: AnnotationFile | InputError, inbox: Path) -> None:
    """Move `file` to inbox/done, and its refused rows with place and reason to inbox/rejected/NAME.jsonl.

    They are flat there, whatever tool wrote the file: repaired, that file is dropped as it is. With an InputError the
    whole file goes to inbox/rejected, its reason beside it. Nothing is overwritten: a name that is taken by other
    content gets a content hash.
    """
    if isinstance(result, InputError):
        _write(inbox / "rejected" / f"{file.stem}.reason.txt", f"{result}\n".encode())
        _move(file, inbox / "rejected" / file.name)
        return
    if result.rejections.height:
        lines = [
            _refused_line(content, location, reason)
            for content, location, reason in result.rejections.select("content", "location", "reason").iter_rows()
        ]
        _write(inbox / "rejected" / f"{file.stem}.jsonl", "".join(f"{line}\n" for line in lines).encode())
    _move(file, inbox / "done" / file.name)


def file_rejection(file: Path, error: InputError, now: datetime) -> pl.DataFrame:
    """The REJECTIONS row of a file that cannot be read at all."""
    return REJECTIONS.conform(
        pl.DataFrame(
            {
                "rejection_id": [content_hash(["file", file.name, str(error), content_hash(file.read_bytes())])],
                "kind": ["file"],
                "source": [file.name],
                "reason": [str(error)],
                "rejected_at": [now],
            }
        )
    )


def _fields(rows: list[Row], default_annotator: str | None) -> pl.DataFrame:
    names = ("trace_id", "span_id", *ANSWER_COLUMNS, "annotator", "reviewer", "label_source", "annotated_at", "cycle")
    frame = pl.DataFrame(
        {
            "location": [row.location for row in rows],
            "problem": [row.problem for row in rows],
            "content": [row.content for row in rows],
            **{name: [row.fields.get(name) for row in rows] for name in names},
        },
        schema={"location": pl.String, "problem": pl.String, "content": pl.String, **dict.fromkeys(names, pl.String)},
    )
    return frame.with_columns(
        pl.col("trace_id", "span_id", "verdict").str.to_lowercase(),
        annotator=pl.coalesce("annotator", pl.lit(default_annotator, pl.String), "reviewer"),
        label_source=pl.col("label_source").str.to_lowercase().fill_null("human"),
    )


def _with_traces(fields: pl.DataFrame, traces_of_spans: Callable[[list[str]], dict[str, str]]) -> pl.DataFrame:
    """`fields` with the trace of each row that names a span alone, where that span is known."""
    asked = sorted(set(fields.filter(pl.col("trace_id").is_null())["span_id"].drop_nulls()))
    found = traces_of_spans(asked) if asked else {}
    of_span = pl.col("span_id").replace_strict(found, default=None, return_dtype=pl.String)
    return fields.with_columns(trace_id=pl.coalesce("trace_id", of_span))


def _checked(fields: pl.DataFrame, known_traces: Callable[[list[str]], set[str]], now: datetime) -> pl.DataFrame:
    """Adds `at`, `is_unanswered`, and the first `problem` of each row."""
    is_id = pl.col("trace_id").str.contains(r"^[0-9a-f]{32}$") & (pl.col("trace_id") != "0" * 32)
    asked = sorted(set(fields.filter(is_id)["trace_id"]))
    known = pl.Series(sorted(known_traces(asked)) if asked else [], dtype=pl.String)
    stamps = fields["annotated_at"].unique().drop_nulls()
    times = pl.Series([_instant(stamp) for stamp in stamps], dtype=pl.Datetime("us", "UTC"))
    modes = fields["failure_mode"].unique().drop_nulls()
    has_words = pl.Series([bool(normalised_failure_mode(mode)) for mode in modes], dtype=pl.Boolean)
    checks = [
        (
            pl.col("trace_id").is_null() & pl.col("span_id").is_not_null(),
            pl.format("no span {} here: ingest its trace first, or say trace_id", _shown("span_id")),
        ),
        (pl.col("trace_id").is_null(), pl.lit("no trace_id")),
        (~is_id, pl.format("trace_id {} is not 32 hex digits", _shown("trace_id"))),
        (~pl.col("trace_id").is_in(known.implode()), pl.format("no trace {} here: ingest it first", "trace_id")),
        (pl.col("verdict").is_null(), pl.lit("no verdict: say good, bad or partial")),
        (
            ~pl.col("verdict").is_in(VERDICTS),
            pl.format("verdict {} is none of good, bad, partial, withdrawn", _shown("verdict")),
        ),
        (
            pl.col("verdict").is_in(("bad", "partial")) & pl.col("failure_mode").is_null(),
            pl.format("verdict {} without a failure_mode: say what went wrong", "verdict"),
        ),
        (
            pl.col("verdict").is_in(("good", "withdrawn")) & pl.col("failure_mode").is_not_null(),
            pl.format("verdict {} with a failure_mode: say bad or partial, or leave failure_mode empty", "verdict"),
        ),
        (~pl.col("has_words").fill_null(True), pl.format("failure_mode {} has no words", _shown("failure_mode"))),
        (
            ~pl.col("label_source").is_in(LABEL_SOURCES),
            pl.format("label_source {} is none of human, programmatic, model", _shown("label_source")),
        ),
        (pl.col("annotator").is_null(), pl.lit("no annotator: say who gave the verdict")),
        (
            pl.col("annotated_at").is_not_null() & pl.col("at").is_null(),
            pl.format("annotated_at {} is no ISO 8601 time", _shown("annotated_at")),
        ),
        (pl.col("at") > now + _MAX_FUTURE, pl.format("annotated_at {} lies in the future", _shown("annotated_at"))),
    ]
    problem = pl.coalesce("problem", *(pl.when(wrong).then(reason) for wrong, reason in checks))
    # Only a queue export says for whom a row is; elsewhere a row without an answer is a mistake.
    is_unanswered = pl.all_horizontal(pl.col("problem", *ANSWER_COLUMNS).is_null(), pl.col("reviewer").is_not_null())
    return fields.with_columns(
        at=pl.col("annotated_at").replace_strict(stamps, times, default=None),
        has_words=pl.col("failure_mode").replace_strict(modes, has_words, default=None),
    ).with_columns(is_unanswered=is_unanswered, problem=problem)


def _shown(column: str) -> pl.Expr:
    return pl.format("'{}'", pl.col(column).str.slice(0, 60))


def _instant(stamp: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(stamp)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _annotations(good: pl.DataFrame, source: str, now: datetime) -> pl.DataFrame:
    said = good.with_columns(stamp=pl.col("at").dt.to_string("iso:strict"))
    # Evidence is hashed where there is any: without it a row has the id that it always had.
    rows = zip(said.select(_HASHED).iter_rows(), said["evidence"], strict=True)
    annotation_ids = [content_hash([*row, evidence] if evidence else list(row)) for row, evidence in rows]
    is_cycle = pl.col("cycle").str.contains(r"^\d{4}-W\d{2}$")
    return ANNOTATIONS.conform(
        good.with_columns(
            annotation_id=pl.Series(annotation_ids, dtype=pl.String),
            annotated_at=pl.col("at").fill_null(pl.lit(now)),
            cycle=pl.when(is_cycle).then("cycle"),
            source=pl.lit(source),
        ).unique("annotation_id", keep="first", maintain_order=True)
    )


def _rejections(refused: pl.DataFrame, source: str, now: datetime) -> pl.DataFrame:
    is_line = pl.col("location").str.contains(r"^\d+$")
    # What another tool exported is not repaired by hand: its row is, which inbox/rejected holds flat.
    reason = pl.when(is_line).then("problem").otherwise(pl.format("{}; repair it in inbox/rejected", "problem"))
    rows = refused.select(
        pl.lit("annotation").alias("kind"),
        pl.lit(source).alias("source"),
        "location",
        reason.alias("reason"),
        "content",
    )
    return REJECTIONS.conform(
        rows.with_columns(
            rejection_id=pl.Series([content_hash(list(row)) for row in rows.iter_rows()], dtype=pl.String),
            rejected_at=pl.lit(now),
        )
    )


def _refused_line(content: str, location: str, reason: str) -> str:
    """The row as it was, with its line or place and reason; text that is no JSON object stands in `content`."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        value = None
    row = value if isinstance(value, dict) else {"content": content}
    place = {"line": int(location)} if location.isdecimal() else {"place": location}
    return json.dumps({**row, **place, "reason": reason}, ensure_ascii=False)


def _write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    target = _free(path, content)
    target.write_bytes(content)
    return target


def _move(file: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    return file.rename(_free(target, file.read_bytes()))


def _free(path: Path, content: bytes) -> Path:
    """`path`, or, when other content has that name already, a name with the content's hash."""
    if not path.exists() or path.read_bytes() == content:
        return path
    return path.with_name(f"{path.stem}.{content_hash(content, 12)}{path.suffix}")
