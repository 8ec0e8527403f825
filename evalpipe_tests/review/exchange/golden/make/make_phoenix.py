"""Phoenix: annotations posted to a server on loopback, and the page of them that it gives back.

Usage: make_phoenix.py URL
"""

import sys
import time
from pathlib import Path

import httpx

here = Path(__file__).parents[1]
phoenix = httpx.Client(base_url=sys.argv[1])
TRACES = [f"{number:032x}" for number in (1, 2)]


def annotation(trace: int, name: str, label: str, explanation: str | None = None, kind: str = "HUMAN") -> dict:
    result = {"label": label, "explanation": explanation}
    return {"trace_id": f"{trace:032x}", "name": name, "annotator_kind": kind, "result": result}


def span(trace_id: str) -> dict:
    times = {"start_time": "2026-03-02T10:00:00Z", "end_time": "2026-03-02T10:00:01Z"}
    context = {"trace_id": trace_id, "span_id": trace_id[-16:]}
    return {"name": "chat", "context": context, "span_kind": "CHAIN", "status_code": "OK", "attributes": {}, **times}


phoenix.post("/v1/projects", json={"name": "golden"})
phoenix.post("/v1/projects/golden/spans", json={"data": [span(trace_id) for trace_id in TRACES]}).raise_for_status()
time.sleep(5)  # spans are queued, and an annotation of a trace that is not there yet is refused
said = [
    annotation(1, "verdict", "bad", 'said "twice"\nby the shop'),
    annotation(1, "failure mode", "made up a price"),
    annotation(1, "correction", "12 EUR"),
    annotation(2, "verdict", "good"),
    annotation(2, "helpfulness", "high", kind="LLM"),
]
phoenix.post("/v1/trace_annotations", params={"sync": True}, json={"data": said}).raise_for_status()
page = phoenix.get("/v1/projects/golden/trace_annotations", params={"trace_ids": TRACES}).raise_for_status()
(here / "phoenix.json").write_bytes(page.content)
