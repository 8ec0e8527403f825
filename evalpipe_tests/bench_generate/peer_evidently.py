"""Evidently's prompt optimiser on the task in a file: `venv-evidently/bin/python peer_evidently.py TASK.json`.

It runs in Evidently's own environment, so it knows nothing of evalpipe. What is in the task, and what must be said on
stdout, is in peers.py. The verdicts are asked here, in the words of its LLM judge, which in version 0.7.23 can wait for
ever after some hundred answers; the strategy, its split, its reflection and its choice are Evidently's.
"""

# pyright: reportMissingImports=false

import json
import os
import sys
import urllib.request
from pathlib import Path
from typing import Any

FAIL, PASS = "FAIL", "PASS"
_QUESTION = """{prompt}
Classify text between ___text_starts_here___ and ___text_ends_here___ into two categories: FAIL and PASS.
___text_starts_here___
{text}
___text_ends_here___
Return category, reasoning formatted as json without formatting"""


def main(task: dict[str, Any]) -> None:
    os.environ.update(OPENAI_API_KEY="none", DO_NOT_TRACK="1")
    import pandas as pd
    from evidently import DataDefinition, Dataset, LLMClassification
    from evidently.llm.optimization import PromptOptimizer
    from evidently.llm.options import OpenAIOptions

    train = pd.DataFrame(
        {
            # The optimiser's prompt is filled in with str.format, so that braces in a trace would end it.
            "text": [row["text"].replace("{", "(").replace("}", ")") for row in task["train"]],
            "label": [FAIL if row["failed"] else PASS for row in task["train"]],
            "note": [row["note"] for row in task["train"]],
        }
    )
    columns = LLMClassification(input="text", target="label", reasoning="note")
    definition = DataDefinition(text_columns=["text", "note"], categorical_columns=["label"], llm=columns)

    def executor(prompt: str, context: Any) -> list[str]:
        """classify texts"""
        return [_ask(task["url"], prompt, text) for text in train["text"]]

    optimizer = PromptOptimizer("bench", strategy="feedback", provider="openai", model="scripted", seed=task["seed"])
    optimizer.run(
        executor,
        "mcc",
        dataset=Dataset.from_pandas(train, data_definition=definition),
        # Its limit of 500 requests a minute is OpenAI's, not this model's.
        options=[OpenAIOptions(api_key="none", api_url=task["url"], rpm_limit=1_000_000)],
        base_prompt=task["issue"],
    )
    sys.stdout.write(json.dumps({"instruction": optimizer.best_prompt()}) + "\n")


def _ask(url: str, prompt: str, text: str) -> str:
    messages = [{"role": "user", "content": _QUESTION.format(prompt=prompt, text=text)}]
    body = json.dumps({"model": "scripted", "messages": messages}).encode()
    request = urllib.request.Request(f"{url}/chat/completions", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        said = json.load(answer)["choices"][0]["message"]["content"]
    return json.loads(said)["category"]


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
