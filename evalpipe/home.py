"""Where everything of one installation lives: landing, lake, inbox, artifacts, reports, Dagster's own storage."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from evalpipe.errors import StateError
from evalpipe.lake.store import Lake
from evalpipe.settings import Settings, load_settings

# What lands and reads traffic is imported where it is used: most commands need none of it.
if TYPE_CHECKING:
    from evalpipe.otlp.landing import Landed, Landing
    from evalpipe.otlp.on_lake import Absorbed
    from evalpipe.redaction.redactor import Redactor
    from evalpipe.traces.spans import Reading


@dataclass(frozen=True)
class Home:
    """One installation: its settings, its folders and its tables."""

    settings: Settings

    @classmethod
    def open(cls, root: Path | str | None = None) -> "Home":
        """The home at `root`, else at EVALPIPE_HOME, else at ./data. Raises SettingsError."""
        return cls(load_settings(root))

    @property
    def root(self) -> Path:
        return self.settings.home.absolute()

    @cached_property
    def lake(self) -> Lake:
        return Lake(self.settings.lake_uri or self.root / "lake")

    @cached_property
    def landing(self) -> "Landing":
        from evalpipe.otlp.landing import Landing

        return Landing(self.root / "landing", self.settings.observe, self.redactor)

    @cached_property
    def redactor(self) -> "Redactor":
        """What is redacted here; its key is made on first use."""
        from evalpipe.redaction.redactor import redactor_at

        return redactor_at(self.root, self.settings.redaction)

    @cached_property
    def reading(self) -> "Reading":
        """How landed spans are read here. Raises InputError for a price table that cannot be read."""
        from evalpipe.traces.prices import load_prices
        from evalpipe.traces.spans import Reading

        return Reading(self.settings.observe, load_prices(self.settings.observe.prices), self.redactor)

    @property
    def inbox(self) -> Path:
        return self.root / "inbox"

    @property
    def artifacts(self) -> Path:
        return self.root / "artifacts"

    @property
    def reports(self) -> Path:
        return self.root / "reports"

    @property
    def coverage_report(self) -> Path:
        return self.reports / "coverage.html"

    @property
    def dagster(self) -> Path:
        return self.root / "dagster"

    @property
    def reviewers(self) -> Path:
        return self.root / "reviewers.yaml"

    @property
    def review_tokens(self) -> Path:
        """Digests of the tokens with which reviewers sign in."""
        return self.root / "review-tokens.json"

    def ingest(
        self, paths: Sequence[Path], *, now: datetime, progress: Callable[[int], None] | None = None
    ) -> "Landed":
        """Land OTLP files; what is refused goes to `rejections`. Raises InputError."""
        from evalpipe.otlp.on_lake import ingest

        return ingest(self.landing, self.lake, paths, now=now, progress=progress)

    def absorb(self, now: datetime) -> "Absorbed":
        """Land what the receivers have acknowledged up to now."""
        from evalpipe.otlp.on_lake import absorb

        return absorb(self.landing, self.lake, now=now)

    def require_traffic(self) -> None:
        """Raises StateError when nothing has ever landed here."""
        if not self.landing.days():
            raise StateError(f"{self.root} is empty: nothing has landed. Run: evalpipe ingest FILE, or evalpipe demo")
