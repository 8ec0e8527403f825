"""Argilla: records with two users' responses, written by the SDK's own `Dataset.records.to_json`, without a server."""

from pathlib import Path
from uuid import UUID

import argilla as rg
from argilla.records._io._json import JsonIO

here = Path(__file__).parents[1]
ANA, BEN = UUID(int=0xA), UUID(int=0xB)


def record(number: int, *responses: rg.Response) -> rg.Record:
    trace_id = f"{number:032x}"
    return rg.Record(
        id=f"2026-W10/ada/{trace_id}",
        fields={"request": "where is it", "response": "It is lost.", "conversation": []},
        metadata={"cycle": "2026-W10", "reviewer": "ada", "trace_id": trace_id, "rank": number},
        responses=list(responses),
    )


records = [
    record(
        1,
        rg.Response("verdict", "bad", user_id=ANA),
        rg.Response("failure_mode", "made up a price", user_id=ANA),
        rg.Response("correction", "12 EUR", user_id=ANA),
        rg.Response("comment", 'said "twice"\nby the shop', user_id=ANA),
        rg.Response("verdict", "good", user_id=BEN),
    ),
    record(2, rg.Response("verdict", "good", user_id=ANA)),
    record(4),
]
path = here / "argilla.json"
path.unlink(missing_ok=True)
JsonIO.to_json(records, path)
