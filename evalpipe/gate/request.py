"""What the gate is asked, in one form for the command line, the webhook, Dagster and pytest."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from evalpipe.errors import InputError
from evalpipe.settings import Settings


@dataclass(frozen=True, kw_only=True)
class GateRequest:
    """Exactly one of a file of cases, a release and a gate reference; how strictly, and who asks.

    `release` is the service.version of the traces to judge; with `cases` it only names what they were answered by.
    `gate_ref` is the resource attribute evalpipe.gate.id of the traces to judge. Raises InputError for no question or
    two.
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
        if sum(asked is not None for asked in (self.cases, self.release or self.gate_ref)) != 1:
            raise InputError("the gate judges either --cases FILE or --release VERSION: give exactly one of them")


def settled(settings: Settings, request: GateRequest) -> Settings:
    """The settings with what the request says otherwise."""
    asked = {"policy": request.policy, "on_abstain": request.on_abstain}
    said = {name: value for name, value in asked.items() if value is not None}
    return settings.model_copy(update={"gate": settings.gate.model_copy(update=said)})
