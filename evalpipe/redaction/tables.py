"""SPANS, TRACES and REJECTIONS rows with placeholders, by the settings. Which columns make a group is said here."""

import base64
from collections.abc import Collection

import polars as pl

from evalpipe.redaction.texts import redacted_bytes, redacted_texts
from evalpipe.settings import Detector, RedactionSettings

CONTENT = ("input", "output", "instructions", "tool_input", "tool_output")
LEFTOVER = ("attributes", "events", "links", "resource", "status_message")
IDENTITY = ("user_id", "session_id")

_BASE64 = "base64:"  # how a rejection says that what follows is not text


def redacted(spans: pl.DataFrame, settings: RedactionSettings, key: bytes) -> pl.DataFrame:
    """SPANS rows as `settings` ask.

    The columns for what has no column of its own may hold a message or a user id that came in second place or in an
    event, so the detectors of all groups read them.
    """
    groups = ((CONTENT, settings.content), (LEFTOVER, all_detectors(settings)), (IDENTITY, settings.identity))
    return spans.with_columns(
        redacted_texts(spans[name], detectors, key) for columns, detectors in groups for name in columns if detectors
    )


def redacted_traces(traces: pl.DataFrame, settings: RedactionSettings, key: bytes) -> pl.DataFrame:
    """TRACES rows that were made of no spans, as `settings` ask: what they would hold had they come as spans."""
    groups = ((("request", "response"), settings.content), (IDENTITY, settings.identity))
    rows = traces.with_columns(
        redacted_texts(traces[name], detectors, key) for columns, detectors in groups for name in columns if detectors
    )
    return rows.with_columns(_redacted_steps(rows["transcript"], settings.content, key)) if settings.content else rows


def _redacted_steps(transcripts: pl.Series, detectors: Collection[Detector], key: bytes) -> pl.Series:
    steps = pl.DataFrame({"step": transcripts}).with_row_index("row").explode("step").drop_nulls("step").unnest("step")
    steps = steps.with_columns(redacted_texts(steps["content"], detectors, key))
    told = steps.group_by("row", maintain_order=True).agg(step=pl.struct(pl.exclude("row")))
    rows = pl.DataFrame({"row": pl.int_range(len(transcripts), dtype=pl.UInt32, eager=True)})
    joined = rows.join(told, on="row", how="left", maintain_order="left")["step"]
    return joined.cast(transcripts.dtype).fill_null(pl.Series([[]], dtype=transcripts.dtype)).rename(transcripts.name)


def redacted_rejections(rejections: pl.DataFrame, settings: RedactionSettings, key: bytes) -> pl.DataFrame:
    """REJECTIONS rows; what was refused, and a reason that quotes it, may be anything: all detectors read them."""
    detectors = all_detectors(settings)
    if not detectors:
        return rejections
    content = rejections["content"]
    is_base64 = content.str.starts_with(_BASE64).fill_null(False)
    texts = redacted_texts(content.set(is_base64, None), detectors, key)
    rows = is_base64.arg_true()
    inside = [_redacted_base64(text, detectors, key) for text in content.gather(rows)]
    return rejections.with_columns(
        texts.clone().scatter(rows, inside), redacted_texts(rejections["reason"], detectors, key)
    )


def all_detectors(settings: RedactionSettings) -> frozenset[Detector]:
    """The detectors of every group."""
    return settings.content | settings.attributes | settings.identity


def _redacted_base64(text: str, detectors: Collection[Detector], key: bytes) -> str:
    inside = base64.b64decode(text.removeprefix(_BASE64))
    return _BASE64 + base64.b64encode(redacted_bytes(inside, detectors, key)).decode()
