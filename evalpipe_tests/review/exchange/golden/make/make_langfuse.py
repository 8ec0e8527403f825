"""Langfuse: a page of GET /api/public/v3/scores as the SDK's own models hold it, without a server."""

from pathlib import Path

from langfuse.api import GetScoresV3Response
from langfuse.api.core.pydantic_utilities import parse_obj_as

here = Path(__file__).parents[1]
ANA = "clx0ana"


def score(number: int, trace: int, name: str, kind: str, value: object, **more: object) -> dict[str, object]:
    at = f"2026-03-02T10:00:0{number}Z"
    return {
        "id": f"score-{number}",
        "projectId": "shop",
        "name": name,
        "dataType": kind,
        "value": value,
        "source": "ANNOTATION",
        "authorUserId": ANA,
        "timestamp": at,
        "createdAt": at,
        "updatedAt": at,
        "environment": "default",
        "subject": {"kind": "trace", "id": f"{trace:032x}"},
        **more,
    }


observation = {"kind": "observation", "id": "b" * 16, "traceId": f"{2:032x}"}
page = {
    "data": [
        score(1, 1, "Verdict", "CATEGORICAL", "bad", comment='said "twice"\nby the shop'),
        score(2, 1, "Failure mode", "TEXT", "made up a price"),
        score(3, 1, "output", "CORRECTION", "12 EUR"),
        score(4, 2, "verdict", "CATEGORICAL", "good", subject=observation),
        score(5, 2, "helpfulness", "NUMERIC", 0.9, source="EVAL", authorUserId=None),
        score(6, 3, "verdict", "CATEGORICAL", "bad", source="EVAL", authorUserId=None, metadata={"annotator": "gpt"}),
    ],
    "meta": {"limit": 50},
}
(here / "langfuse_v3.json").write_text(parse_obj_as(GetScoresV3Response, page).model_dump_json(by_alias=True, indent=1))
