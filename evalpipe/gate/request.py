"""What the gate is asked, in one form for the command line, the webhook, Dagster and pytest."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from evalpipe.errors import InputError
from evalpipe.settings import Settings


@dataclass(frozen=True, kw_only=True)
class GateRequest:
    """A file of cases, or the traces of a release or a gate reference (or both); how strictly, and who asks.

    `release` is the service.version of the traces to judge; with `cases` it only names what answered them. `gate_ref`
    is the resource attribute evalpipe.gate.id of the traces to judge. Raises InputError for no question or two.
    """

    cases: Path | None = None
    release: str | None = None
    gate_ref: str | None = None
    is_strict: bool = False  # one malformed case refuses the file; otherwise it is reported, and the others judged
    n_expected: int | None = None  # traces that should be there before they are judged
    wait_s: float = 0.0  # how long they are waited for
    policy: Literal["default", "article"] | None = None  # None: the setting
    on_abstain: Literal["block", "warn"] | None = None
    by: str = "cli"  # cli, dagster, pytest, or the name of the webhook's secret
    commit: str | None = None  # of the application

    def __post_init__(self) -> None:
        if self.cases is None and self.release is None and self.gate_ref is None:
            raise InputError("the gate judges --cases FILE or --release VERSION (or --gate-id REF): give one of them")
        if self.cases is not None and self.gate_ref is not None:
            raise InputError("--gate-id names traces, and --cases a file: give one of them")


def settled(settings: Settings, request: GateRequest) -> Settings:
    """The settings with what the request says otherwise."""
    asked = {"policy": request.policy, "on_abstain": request.on_abstain}
    said = {name: value for name, value in asked.items() if value is not None}
    return settings.model_copy(update={"gate": settings.gate.model_copy(update=said)})
