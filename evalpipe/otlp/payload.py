"""What travels between the files of this room: a payload and a refused thing, and the REJECTIONS rows it becomes."""

import base64
from collections.abc import Iterable
from datetime import datetime
from typing import Literal, NamedTuple

import polars as pl

from evalpipe.ids import content_hash
from evalpipe.tables import REJECTIONS

Encoding = Literal["json", "protobuf"]


class Payload(NamedTuple):
    """One ExportTraceServiceRequest as it was received, decompressed."""

    body: bytes
    encoding: Encoding
    location: str  # where it stood in its source: "line 3", "message 2", "payload 7"


class Refused(NamedTuple):
    """Something that cannot be used: where it stood, why, and itself. `content` is None where it was not read."""

    location: str
    reason: str
    content: bytes | None


def rejection_frame(refused: Iterable[Refused], *, kind: str, source: str, now: datetime) -> pl.DataFrame:
    """REJECTIONS rows of refused things of one source; equal refusals have equal ids, so a replay adds none.

    Content that is not UTF-8 is kept as base64, with the prefix "base64:".
    """
    rows = [
        {
            "rejection_id": "rej_" + content_hash([kind, source, item.location, item.reason, text]),
            "kind": kind,
            "source": source,
            "location": item.location,
            "reason": item.reason,
            "content": text,
            "rejected_at": now,
        }
        for item in refused
        for text in [_text(item.content)]
    ]
    return REJECTIONS.conform(pl.DataFrame(rows, schema=REJECTIONS.schema))


def _text(content: bytes | None) -> str | None:
    if content is None:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return "base64:" + base64.b64encode(content).decode()
