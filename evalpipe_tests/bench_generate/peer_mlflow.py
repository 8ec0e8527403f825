"""MLflow's judge alignment by GEPA on the task in a file: `venv-mlflow/bin/python peer_mlflow.py TASK.json`.

It runs in MLflow's own environment, so it knows nothing of evalpipe. What is in the task, and what must be said on
stdout, is in peers.py.
"""

# pyright: reportMissingImports=false

import json
import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

_NAME = "failure"


def main(task: dict[str, Any], folder: str) -> None:
    os.environ.update(
        OPENAI_API_KEY="none",
        OPENAI_API_BASE=task["url"],
        OPENAI_BASE_URL=task["url"],
        MLFLOW_DISABLE_TELEMETRY="true",
        MLFLOW_ENABLE_ASYNC_TRACE_LOGGING="false",
        LITELLM_LOCAL_MODEL_COST_MAP="True",
        DSPY_CACHEDIR=f"{folder}/dspy",
        TQDM_DISABLE="1",
    )
    import mlflow
    from mlflow.entities import AssessmentSource
    from mlflow.genai.judges import make_judge
    from mlflow.genai.judges.optimizers import GEPAAlignmentOptimizer

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    mlflow.set_experiment("bench")
    reviewer = AssessmentSource(source_type="HUMAN", source_id="reviewer")
    ids = []
    for row in task["train"]:
        with mlflow.start_span("chat") as span:
            span.set_inputs({"trace": row["text"]})
            span.set_outputs({"shown": "see the trace"})
        mlflow.log_feedback(
            trace_id=span.trace_id, name=_NAME, value=row["failed"], rationale=row["note"], source=reviewer
        )
        ids.append(span.trace_id)
    traces = [mlflow.get_trace(trace_id) for trace_id in ids]
    judge = make_judge(
        name=_NAME,
        instructions=f"{task['issue']}\n\n{{{{ inputs }}}}",
        feedback_value_type=bool,
        model="openai:/scripted",
    )
    aligned = judge.align(traces, GEPAAlignmentOptimizer(model="openai:/scripted"))
    sys.stdout.write(json.dumps({"instruction": aligned.instructions}) + "\n")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="bench-mlflow-") as own:
        main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), own)
