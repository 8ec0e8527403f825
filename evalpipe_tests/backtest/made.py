"""A history made by hand: four weeks of a shop with two releases, and three issues that took three courses.

Twenty traces a day, one an hour from midnight UTC on. Release 1.0.0 answers the first two weeks, 1.1.0 the last two.
How many traces of a day show an issue, and since when there is an evaluator:

    issue      1.0.0        1.1.0                    evaluator
    sorry      1 a day      3 a day                  version 1, a week before 1.1.0
    rude       1 a day      3 a day                  version 1, the day after the last week
    odd        1 a day      6 on its first day       version 1, a week before 1.1.0
"""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl

from evalpipe.ids import content_hash, evaluator_id, issue_id
from evalpipe.issues.events import event, sighted
from evalpipe.issues.replay import replay
from evalpipe.lake.store import Lake
from evalpipe.tables import ANNOTATIONS, EVALUATOR_QUALITY, EVALUATORS, ISSUE_EVENTS, TRACES, Table
from evalpipe_tests.evaluators.made import rule_artifact, trace_id, traces, transcript

FIRST, LAST = date(2026, 3, 2), date(2026, 3, 29)  # a Monday, and the Sunday four weeks on
START = datetime(2026, 3, 2, tzinfo=UTC)
SORRY, RUDE, ODD = (issue_id(name) for name in ("sorry", "rude", "odd"))
N_A_DAY = 20
N_WEEKS = 4


def day(n: float) -> datetime:
    return START + timedelta(days=n)


def texts_of(n_day: int) -> list[str]:
    """The answers of one day: the first ones say sorry, the next are rude, the last are odd."""
    is_new = n_day >= 14
    n_common = 3 if is_new else 1
    n_odd = (6 if n_day == 14 else 0) if is_new else 1
    words = ["sorry"] * n_common + ["rude"] * n_common
    words += ["done"] * (N_A_DAY - len(words) - n_odd) + ["odd"] * n_odd
    return words


def traffic(n_days: int = 7 * N_WEEKS) -> pl.DataFrame:
    at = [(n, hour) for n in range(n_days) for hour in range(N_A_DAY)]
    made = traces(*[transcript(("assistant", word)) for n in range(n_days) for word in texts_of(n)])
    starts = [int(day(n + hour / 24).timestamp()) * 10**9 for n, hour in at]
    return TRACES.conform(
        made.with_columns(
            pl.Series("day", [day(n).date() for n, _ in at]),
            pl.Series("start_unix_ns", starts),
            pl.Series("end_unix_ns", starts),
            pl.Series("service_version", ["1.1.0" if n >= 14 else "1.0.0" for n, _ in at]),
        )
    )


def id_on(n_day: int, place: int) -> str:
    """The id of a trace of `traffic`."""
    return trace_id(n_day * N_A_DAY + place)


def annotation(n_day: int, place: int, mode: str | None, at: datetime) -> dict[str, Any]:
    return {
        "annotation_id": content_hash([n_day, place, mode, at.isoformat()]),
        "trace_id": id_on(n_day, place),
        "verdict": "bad" if mode else "good",
        "failure_mode": mode,
        "annotator": "ada",
        "annotated_at": at,
        "label_source": "human",
    }


def evaluator(word: str, at: datetime, version: int = 1, flags: str | None = None, **fields: Any) -> dict[str, Any]:
    """The version that flags answers with the word, or with `flags`."""
    issue = issue_id(word)
    made = rule_artifact(
        {"op": "contains", "field": "final", "any": [flags or word]},
        evaluator_id=evaluator_id(issue),
        issue_id=issue,
        version=version,
        failure_mode=word,
    )
    return {
        **{"evaluator_id": made.evaluator_id, "version": version, "issue_id": issue, "failure_mode": word},
        **{"kind": "rule", "status": "active", "artifact": made.to_json(), "artifact_sha256": made.sha256},
        **{"n_positives": 12, "n_negatives": 12, "labels_fingerprint": 0, "created_at": at, "reason": ""},
        **fields,
    }


def measured(word: str, at: datetime, mcc: float = 0.9, version: int = 1) -> dict[str, Any]:
    """19 of 20 failures found and 1 of 100 others flagged, whatever the MCC that is said."""
    issue = issue_id(word)
    return {
        **{"evaluator_id": evaluator_id(issue), "version": version, "issue_id": issue, "kind": "rule"},
        **{"measured_at": at, "split": "held_out", "tp": 19, "fp": 1, "tn": 99, "fn": 1, "n_faults": 0, "mcc": mcc},
        **{"mcc_lower": mcc - 0.15, "mcc_upper": 1.0, "confidence": 0.9, "n_sessions": 120},
        "labels_fingerprint": int(at.timestamp()),
    }


def promoted(*words: str) -> pl.DataFrame:
    """The events of issues that were seen and promoted within the first day."""
    seen = pl.concat(
        [
            sighted(issue_id(word), failure_mode=word, at=day(0.5), trace_id=id_on(0, 0), service_name="shop")
            for word in words
        ]
    )
    issues = replay(seen)
    return pl.concat(
        [
            seen,
            *(
                event(issues[issue_id(word)], "promoted", author="pipeline", now=day(0.6), evidence={})
                for word in words
            ),
        ]
    )


def frame(table: Table, *rows: dict[str, Any]) -> pl.DataFrame:
    return table.conform(pl.DataFrame(rows, infer_schema_length=None)) if rows else table.empty()


def write(lake: Lake) -> None:
    """The history, into an empty lake."""
    lake.append_new(TRACES, traffic())
    lake.append_new(ISSUE_EVENTS, promoted("sorry", "rude", "odd"))
    said = [annotation(n, 1, "rude", day(n + 1.5)) for n in range(4)]
    lake.append_new(ANNOTATIONS, frame(ANNOTATIONS, *said))
    made = [evaluator("sorry", day(6)), evaluator("odd", day(6)), evaluator("rude", day(28))]
    lake.append_new(EVALUATORS, frame(EVALUATORS, *made))
    quality = [measured("sorry", day(6)), measured("odd", day(6), mcc=0.5), measured("rude", day(28))]
    lake.append_new(EVALUATOR_QUALITY, frame(EVALUATOR_QUALITY, *quality))
