"""docs/ci/ask-gate.sh, run as a step of a pipeline runs it. Which server it asks is the test's matter."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import evalpipe
from evalpipe_tests.ci.gate_server import KEY

SCRIPT = Path(evalpipe.__file__).parent.parent / "docs/ci/ask-gate.sh"


def ask(folder: Path, url: str, question: Any, *, shell: list[str] | None = None, **environ: str) -> Any:
    """The finished script; `question` is written as JSON unless it is a text."""
    known = {"PATH": os.environ["PATH"], "EVALPIPE_URL": url, "EVALPIPE_GATE_KEY": KEY, "TMPDIR": str(folder)}
    quick = {"EVALPIPE_POLL_S": "0", "EVALPIPE_RETRIES": "1"}
    return subprocess.run(
        [*(shell or ["sh"]), str(SCRIPT)],
        input=question if isinstance(question, str) else json.dumps(question),
        env=known | quick | environ,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
