"""Label Studio: a project with evalpipe's labelling interface and queue, annotated over the API, and its exports.

Usage: make_label_studio.py URL TOKEN CONFIG QUEUE: files with LABEL_STUDIO_CONFIG, and with a queue of four traces as
`evalpipe queue export --format labelstudio` writes it.
"""

import json
import sys
from pathlib import Path
from urllib.request import Request, urlopen

url, token, config, queue = sys.argv[1:]
here = Path(__file__).parents[1]


def call(path: str, body: object = None) -> bytes:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Token {token}", "Content-Type": "application/json"}
    with urlopen(Request(url + path, data=data, headers=headers)) as answer:
        return answer.read()


def said(control: str, kind: str, key: str, value: str) -> dict[str, object]:
    return {"from_name": control, "to_name": "conversation", "type": kind, "value": {key: [value]}}


project = json.loads(call("/api/projects", {"title": "shop", "label_config": Path(config).read_text()}))["id"]
call(f"/api/projects/{project}/import", json.loads(Path(queue).read_text()))
tasks = sorted(json.loads(call(f"/api/tasks?project={project}&page_size=100"))["tasks"], key=lambda task: task["id"])
first, second, third, _ = (f"/api/tasks/{task['id']}/annotations/" for task in tasks)
bad = [
    said("verdict", "choices", "choices", "bad"),
    said("failure_mode", "textarea", "text", "made up a price"),
    said("correction", "textarea", "text", "12 EUR"),
    said("comment", "textarea", "text", 'said "twice"\nby the shop'),
]
call(first, {"result": bad, "lead_time": 12.5})
call(second, {"result": [said("verdict", "choices", "choices", "good")], "lead_time": 3.5})
call(third, {"result": [], "was_cancelled": True})
for kind, name in (("JSON", "label_studio.json"), ("JSON_MIN", "label_studio_min.json"), ("CSV", "label_studio.csv")):
    written = call(f"/api/projects/{project}/export?exportType={kind}&download_all_tasks=true")
    (here / name).write_bytes(written)
