"""Where everything of one installation lives: landing, lake, inbox, artifacts, reports, Dagster's own storage."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from evalpipe.errors import StateError
from evalpipe.lake.store import Lake
from evalpipe.otlp.landing import Landing
from evalpipe.settings import Settings, load_settings


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
    def landing(self) -> Landing:
        return Landing(self.root / "landing", self.settings.observe)

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

    def require_traffic(self) -> None:
        """Raises StateError when nothing has ever landed here."""
        if self.landing.ledger().is_empty():
            raise StateError(f"{self.root} is empty: nothing has landed. Run: evalpipe ingest FILE, or evalpipe demo")
