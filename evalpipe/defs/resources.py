"""The one resource: the home that a run works on, and the time that it writes."""

from datetime import UTC, datetime

import dagster as dg

from evalpipe.errors import InputError
from evalpipe.home import Home


class HomeResource(dg.ConfigurableResource):
    """Where evalpipe's files and tables are: `root`, else EVALPIPE_HOME, else ./data.

    `at` is the time that rows and artifacts are stamped with, ISO 8601 with its zone; empty means now. Set it to
    replay history, so that a measurement stands at the time that it speaks of.
    """

    root: str = ""
    at: str = ""

    def open(self) -> Home:
        """The home, with its settings read from the environment now."""
        return Home.open(self.root or None)

    def now(self) -> datetime:
        """The time to write, UTC."""
        if not self.at:
            return datetime.now(UTC)
        at = datetime.fromisoformat(self.at)
        if at.tzinfo is None:
            raise InputError(f"home.at: {self.at} has no time zone. Write it as 2026-11-16T06:00:00+00:00")
        return at.astimezone(UTC)
