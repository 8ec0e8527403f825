"""DeepEval on recorded outputs, in its own Python: `peer_deepeval.py TASK ANSWER`, files of JSON.

The task holds `outputs` and `patterns`; the answer is for each output the numbers of the patterns that it shows.
"""

import json
import sys
from pathlib import Path

from deepeval import evaluate  # type: ignore[import-not-found]
from deepeval.evaluate.configs import AsyncConfig, CacheConfig, DisplayConfig  # type: ignore[import-not-found]
from deepeval.metrics import PatternMatchMetric  # type: ignore[import-not-found]
from deepeval.test_case import LLMTestCase  # type: ignore[import-not-found]


def main(task_file: str, answer_file: str) -> None:
    task = json.loads(Path(task_file).read_text(encoding="utf-8"))
    # A metric passes what matches whole; a case passes here where the pattern is nowhere.
    metrics = [PatternMatchMetric(rf"(?s)(?!.*(?:{pattern})).*") for pattern in task["patterns"]]
    cases = [LLMTestCase(input=f"case {n}", actual_output=text, name=str(n)) for n, text in enumerate(task["outputs"])]
    found = evaluate(
        cases,
        metrics=metrics,
        async_config=AsyncConfig(run_async=task["is_async"]),
        display_config=DisplayConfig(show_indicator=False, print_results=False, inspect_after_run=False),
        cache_config=CacheConfig(write_cache=False),
    )
    shown: list[list[int]] = [[] for _ in cases]
    for result in found.test_results:
        shown[int(result.name)] = [n for n, metric in enumerate(result.metrics_data) if not metric.success]
    Path(answer_file).write_text(json.dumps(shown), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
