"""One installation's redaction: what its settings ask for, with its key."""

from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from evalpipe.redaction.key import redaction_key
from evalpipe.redaction.tables import all_detectors, redacted, redacted_rejections, redacted_traces
from evalpipe.redaction.texts import redacted_bytes
from evalpipe.settings import RedactionSettings


@dataclass(frozen=True)
class Redactor:
    """Replaces what the detectors find by placeholders; without detectors everything stays as it is."""

    settings: RedactionSettings = field(default_factory=RedactionSettings)
    key: bytes = b""

    @property
    def is_before_landing(self) -> bool:
        """Whether raw bytes are redacted too, before they are written."""
        return self.settings.before_landing and bool(all_detectors(self.settings))

    def spans(self, spans: pl.DataFrame) -> pl.DataFrame:
        """SPANS rows."""
        return redacted(spans, self.settings, self.key)

    def traces(self, traces: pl.DataFrame) -> pl.DataFrame:
        """TRACES rows that were made of no spans."""
        return redacted_traces(traces, self.settings, self.key)

    def rejections(self, rejections: pl.DataFrame) -> pl.DataFrame:
        """REJECTIONS rows."""
        return redacted_rejections(rejections, self.settings, self.key)

    def raw(self, content: bytes) -> bytes:
        """Bytes that nobody could read."""
        return redacted_bytes(content, all_detectors(self.settings), self.key)


def redactor_at(home: Path, settings: RedactionSettings) -> Redactor:
    """What is redacted in a home; its key is made on first use."""
    return Redactor(settings, redaction_key(home / "redaction.key") if all_detectors(settings) else b"")
