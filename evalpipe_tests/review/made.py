"""Small traces, signals and annotations for the tests of this room, in as few words as possible."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from evalpipe.ids import content_hash
from evalpipe.tables import ANNOTATIONS, SIGNALS, TRACE_SIGNALS, TRACES

DAY = date(2026, 3, 2)  # a Monday
CYCLE = "2026-W10"
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def made_id(number: int) -> str:
    return f"{number + 1:032x}"


def traces(n: int, tool: str = "search", **columns: Any) -> pl.DataFrame:
    """`n` TRACES rows, each with one request, one call of `tool` and one answer."""
    transcript = [
        {"role": "user", "content": "where is it", "tool": None, "is_error": None},
        {"role": "tool_call", "content": "{}", "tool": tool, "is_error": None},
        {"role": "tool_result", "content": "lost", "tool": tool, "is_error": False},
        {"role": "assistant", "content": "It is lost.", "tool": None, "is_error": None},
    ]
    rows = {
        "trace_id": [made_id(i) for i in range(n)],
        "transcript": pl.Series([transcript] * n, dtype=TRACES.schema["transcript"]),
        "defects": pl.Series([[]] * n, dtype=pl.List(pl.String)),
    }
    zero = dict.fromkeys(("n_spans", "n_llm_calls", "n_tool_calls", "n_tool_errors", "n_user_messages"), 0)
    rest = {"service_name": "shop", "name": "chat", "day": DAY, "request": "where is it", "response": "It is lost."}
    more = {"duration_ns": 1, "start_unix_ns": 0, "end_unix_ns": 1, "status": "ok", "is_complete": True}
    named = {name: pl.lit(value) for name, value in (zero | rest | more | columns).items()}
    return TRACES.conform(pl.DataFrame(rows).with_columns(**named))


def signals(scores: list[float], signal: str = "hedging", threshold: float = 0.8) -> pl.DataFrame:
    """TRACE_SIGNALS of traces 0, 1, 2...: one signal with these scores, which are the anomaly scores too."""
    flagged = [[signal] if score >= threshold else [] for score in scores]
    return TRACE_SIGNALS.conform(
        pl.DataFrame(
            {
                "trace_id": [made_id(i) for i in range(len(scores))],
                "anomaly_score": pl.Series(scores, dtype=pl.Float64),
                "flagged": pl.Series(flagged, dtype=pl.List(pl.String)),
                "reasons": pl.Series(
                    [[f"because of {signal}"] if f else [] for f in flagged], dtype=pl.List(pl.String)
                ),
            }
        ).with_columns(
            pl.lit(DAY).alias("day"),
            pl.lit("shop").alias("service_name"),
            *(pl.lit(0.0).alias(f"{name}_score") for name in SIGNALS if name != signal),
            pl.col("anomaly_score").alias(f"{signal}_score"),
        )
    )


def annotation(trace: int, verdict: str = "good", mode: str | None = None, **columns: Any) -> dict[str, Any]:
    """One annotation row by ada, at noon; `minute` moves it."""
    minute = columns.pop("minute", 0)
    row = {
        "trace_id": made_id(trace),
        "verdict": verdict,
        "failure_mode": mode,
        "annotator": "ada",
        "label_source": "human",
        "annotated_at": NOON + timedelta(minutes=minute),
        **columns,
    }
    return {"annotation_id": content_hash({**row, "annotated_at": str(row["annotated_at"])}), **row}


def annotations(*rows: dict[str, Any]) -> pl.DataFrame:
    schema = {name: ANNOTATIONS.schema[name] for row in rows for name in row}
    return ANNOTATIONS.conform(pl.DataFrame(list(rows), schema=schema)) if rows else ANNOTATIONS.empty()


def written(folder: Path, name: str, *rows: dict[str, Any] | str) -> Path:
    """A JSON-lines file of these rows; text stands as it is."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8"
    )
    return path
