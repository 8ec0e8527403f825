"""A backfill that kills itself after its n-th day: python -m evalpipe_tests.faults.dying_backfill HOME FROM TO N"""

import os
import signal
import sys
from typing import Any

from evalpipe.cli.app import app
from evalpipe.lake.store import Lake
from evalpipe.tables import VERDICTS

if __name__ == "__main__":
    root, first, last, n_days = sys.argv[1:]
    replace, n_made = Lake.replace, 0

    def counted(lake: Lake, table: Any, *arguments: Any, **named: Any) -> int:
        global n_made
        n_rows = replace(lake, table, *arguments, **named)
        n_made += table is VERDICTS
        if n_made == int(n_days):
            os.kill(os.getpid(), signal.SIGKILL)
        return n_rows

    Lake.replace = counted
    app(["--home", root, "evaluators", "backfill", "--from", first, "--to", last])
