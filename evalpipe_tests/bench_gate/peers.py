"""evalpipe, promptfoo and DeepEval on the same recorded outputs with the same assertions, from start to exit.

`BENCH_PEERS` names the folder in which the peers are installed: `promptfoo` (an npm project with promptfoo) and
`venv-deepeval`. Each must find the same patterns in the same outputs before its time counts.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import polars as pl

from evalpipe.errors import EvalpipeError
from evalpipe_tests.bench_gate.load import cases_of, make_home_of
from evalpipe_tests.bench_gate.process import Ran, median, run
from evalpipe_tests.bench_gate.speed import gate_command, require_decided
from evalpipe_tests.evaluators.made import rule_artifact

PATTERNS = (
    "[Ss]orry",
    r"SO-\d+",
    "refund",
    r"€\d+\.\d\d",
    "voucher",
    r"\d+ (?:January|February|March|April|May|June)",
    "policy",
    "colleague",
    r"customer\d+@",
    "tracking|shipped",
    "[Aa]nything else",
    "working days",
    r"\b[A-Z]{3,}\b",
    "address",
    "unfortunately|Unfortunately",
    r"\d{1,3} %",
    "invoice",
    "points?",
    "please|Please",
    r"order .{0,20}delivered",
)
"""What an output must not show. Python, JavaScript and Rust read them alike."""

_PROMPTFOO_FAILED = 100
_DEEPEVAL_ENV = {"DEEPEVAL_TELEMETRY_OPT_OUT": "YES", "DEEPEVAL_UPDATE_WARNING_OPT_IN": "NO", "ERROR_REPORTING": "NO"}

Shown = list[list[int]]
"""For each output the numbers of the patterns that it shows."""


class Compared(NamedTuple):
    """One product on `n_cases` outputs with all PATTERNS."""

    name: str
    n_cases: int
    ran: Ran
    includes: str  # what it does from start to exit


class _Product(NamedTuple):
    name: str
    includes: str
    is_there: Callable[[Path | None], bool]
    work: Callable[[Path, Path | None, list[str]], tuple[Ran, Shown]]


def compared(folder: Path, n_cases: int, n_repeats: int, peers: Path | None) -> Iterator[Compared]:
    """evalpipe first, then the peers that are installed. Raises EvalpipeError where one finds something else."""
    outputs = [str(case["output"]) for case in cases_of(n_cases)]
    expected: Shown | None = None
    for product in _PRODUCTS:
        if not product.is_there(peers):
            continue
        runs = []
        for number in range(n_repeats):
            place = folder / f"{product.name}-{number}"
            place.mkdir(parents=True)
            ran, shown = product.work(place, peers, outputs)
            expected = shown if expected is None else expected
            if shown != expected:
                n = sum(mine != other for mine, other in zip(shown, expected, strict=True))
                raise EvalpipeError(f"{product.name} says something else of {n} of {n_cases} outputs")
            runs.append(ran)
            shutil.rmtree(place)
        yield Compared(product.name, n_cases, median(runs), product.includes)


def _evalpipe(place: Path, _: Path | None, outputs: list[str]) -> tuple[Ran, Shown]:
    rules = [
        rule_artifact(
            {"op": "regex", "field": "final", "pattern": pattern},
            evaluator_id=f"ev_{number:02}",
            issue_id=f"iss_{number:02}",
        )
        for number, pattern in enumerate(PATTERNS)
    ]
    home, cases = place / "home", place / "cases.jsonl"
    make_home_of(home, rules)
    rows = [{"id": f"{n:06}", "input": f"case {n}", "output": text} for n, text in enumerate(outputs)]
    cases.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    ran = run([*gate_command(home, cases), "--junit", place / "junit.xml"], place)
    require_decided(ran, "evalpipe gate")
    kept = pl.read_delta(str(home / "lake" / "gate_cases")).sort("case_id")
    return ran, [sorted(int(name[3:]) for name in failed) for failed in kept["failed"].to_list()]


def _promptfoo(place: Path, peers: Path | None, outputs: list[str]) -> tuple[Ran, Shown]:
    assert peers is not None
    config = {
        "prompts": ["{{output}}"],
        "providers": ["echo"],
        "defaultTest": {"assert": [{"type": "not-regex", "value": pattern} for pattern in PATTERNS]},
        "tests": [{"vars": {"output": text}} for text in outputs],
    }
    (place / "promptfooconfig.json").write_text(json.dumps(config), encoding="utf-8")
    command = [_promptfoo_of(peers), "eval", "-c", "promptfooconfig.json", "--no-cache", "--no-table"]
    options = ["--no-progress-bar", "-j", "4", "-o", "out.json", "-o", "out.junit.xml"]
    env = {
        "PROMPTFOO_DISABLE_TELEMETRY": "1",
        "PROMPTFOO_DISABLE_UPDATE": "1",
        "LOG_LEVEL": "error",
        "PROMPTFOO_DISABLE_DEBUG_LOG": "1",  # its log files cost time, and now and then end it with an error
        "PROMPTFOO_DISABLE_ERROR_LOG": "1",
        "PROMPTFOO_CONFIG_DIR": str(place),
    }
    ran = run([*command, *options], place, env)
    if ran.exit_code not in (0, _PROMPTFOO_FAILED):
        raise EvalpipeError(f"promptfoo exited with {ran.exit_code}: {ran.said}")
    shown: Shown = [[] for _ in outputs]
    for result in json.loads((place / "out.json").read_text(encoding="utf-8"))["results"]["results"]:
        components = result["gradingResult"]["componentResults"]
        shown[result["testIdx"]] = sorted(
            PATTERNS.index(component["assertion"]["value"]) for component in components if not component["pass"]
        )
    return ran, shown


def _deepeval(place: Path, peers: Path | None, outputs: list[str]) -> tuple[Ran, Shown]:
    assert peers is not None
    task = {"outputs": outputs, "patterns": PATTERNS, "is_async": False}
    (place / "task.json").write_text(json.dumps(task), encoding="utf-8")
    script = Path(__file__).with_name("peer_deepeval.py")
    env: Mapping[str, str] = _DEEPEVAL_ENV
    ran = run([_deepeval_of(peers), script, "task.json", "answer.json"], place, env)
    if ran.exit_code != 0:
        raise EvalpipeError(f"DeepEval exited with {ran.exit_code}: {ran.said}")
    return ran, json.loads((place / "answer.json").read_text(encoding="utf-8"))


def _promptfoo_of(peers: Path) -> Path:
    return (peers / "promptfoo" / "node_modules" / ".bin" / "promptfoo").absolute()


def _deepeval_of(peers: Path) -> Path:
    return (peers / "venv-deepeval" / "bin" / "python").absolute()


_PRODUCTS = (
    _Product(
        "evalpipe",
        f"`evalpipe gate --cases`, {len(PATTERNS)} rules: reads the file, decides with intervals, writes three "
        "tables, JUnit, Markdown and JSON",
        lambda _: True,
        _evalpipe,
    ),
    _Product(
        "promptfoo",
        "`promptfoo eval` with the echo provider and `not-regex` assertions: reads its configuration, writes JSON and "
        "JUnit; no cache, no database of results",
        lambda peers: peers is not None and _promptfoo_of(peers).exists(),
        _promptfoo,
    ),
    _Product(
        "DeepEval",
        "`evaluate()` with `PatternMatchMetric`: reads a file, one after the other (the quicker of its two ways), "
        "prints nothing, no cache",
        lambda peers: peers is not None and _deepeval_of(peers).exists(),
        _deepeval,
    ),
)


def peers_folder() -> Path | None:
    """Where the environment says that the peers are."""
    named = os.environ.get("BENCH_PEERS")
    return Path(named) if named else None
