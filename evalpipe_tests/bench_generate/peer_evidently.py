"""Evidently's prompt optimiser on the task in a file: `venv-evidently/bin/python peer_evidently.py TASK.json`.

It runs in Evidently's own environment, so it knows nothing of evalpipe. What is in the task, and what must be said on
stdout, is in peers.py.
"""

# pyright: reportMissingImports=false

import json
import os
import sys
from pathlib import Path
from typing import Any

FAIL, PASS = "FAIL", "PASS"


def main(task: dict[str, Any]) -> None:
    os.environ.update(OPENAI_API_KEY="none", DO_NOT_TRACK="1")
    import pandas as pd
    from evidently import DataDefinition, Dataset, LLMClassification
    from evidently.descriptors import LLMEval
    from evidently.llm.optimization import PromptOptimizer
    from evidently.llm.options import OpenAIOptions
    from evidently.llm.templates import BinaryClassificationPromptTemplate

    # Its limit of 500 requests a minute is OpenAI's, not this model's.
    options = [OpenAIOptions(api_key="none", api_url=task["url"], rpm_limit=1_000_000)]
    judge = LLMEval(
        "text",
        provider="openai",
        model="scripted",
        template=BinaryClassificationPromptTemplate(
            criteria=task["issue"],
            target_category=FAIL,
            non_target_category=PASS,
            uncertainty="non_target",
            include_reasoning=True,
        ),
        alias="verdict",
    )

    def dataset(rows: list[dict[str, Any]]) -> Dataset:
        frame = pd.DataFrame(
            {
                # The optimiser's prompt is filled in with str.format, so that braces in a trace would end it.
                "text": [row["text"].replace("{", "(").replace("}", ")") for row in rows],
                "label": [FAIL if row["failed"] else PASS for row in rows],
                "note": [row["note"] for row in rows],
            }
        )
        columns = LLMClassification(input="text", target="label", reasoning="note")
        definition = DataDefinition(text_columns=["text", "note"], categorical_columns=["label"], llm=columns)
        return Dataset.from_pandas(frame, data_definition=definition)

    optimizer = PromptOptimizer("bench", strategy="feedback", provider="openai", model="scripted", seed=task["seed"])
    optimizer.run(judge, "mcc", dataset=dataset(task["train"]), options=options)
    say({"instruction": optimizer.best_prompt()})
    best = optimizer.best_executor()
    held_out = dataset(task["test"])
    held_out.add_descriptors([_descriptor(best)], options=options)
    verdicts = held_out.as_dataframe()
    (column,) = (name for name in verdicts.columns if "category" in name or name == "verdict")
    say({"failed": [value == FAIL for value in verdicts[column]]})


def _descriptor(judge: Any) -> Any:
    from evidently.core.datasets import FeatureDescriptor

    return FeatureDescriptor(feature=judge, alias="verdict")


def say(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
