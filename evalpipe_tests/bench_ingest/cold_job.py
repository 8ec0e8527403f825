"""What the asset `spans` does, as a process without Dagster: python -m evalpipe_tests.bench_ingest.cold_job HOME"""

import sys
from datetime import UTC, datetime
from pathlib import Path

from evalpipe.home import Home
from evalpipe.ids import fingerprint
from evalpipe.traces.on_lake import take_in_day


def main(root: Path) -> None:
    home, now = Home.open(root), datetime.now(UTC)
    home.absorb(now)
    for day in home.landing.days():
        take_in_day(home.landing, home.lake, day, reading=home.reading, now=now, made_from=fingerprint)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
