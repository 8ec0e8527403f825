"""The gate without a home: a suite from a file judges cases, and nothing is kept.

What the file holds is bundle.py; the gate over the tables is on_lake.py. Nothing here needs more than the core of the
package: docs/decisions/packaging.md.
"""

from datetime import datetime
from pathlib import Path

from evalpipe.errors import InputError
from evalpipe.gate.bundle import Bundle, read_bundle, thresholds_with
from evalpipe.gate.cases import Cases, read_cases
from evalpipe.gate.judge import Asked, GateOutcome, judge_cases
from evalpipe.gate.request import GateRequest, settled
from evalpipe.settings import Settings


def gate_with(suite: Path, request: GateRequest, *, settings: Settings, now: datetime) -> GateOutcome:
    """Judge the cases that the request names with the suite in a file: see `read_bundle`.

    The decision is the one of the gate over the tables, where the suite was exported, except that releases are
    compared by their shares. Raises InputError for unusable cases or a request for traffic, which is in the tables.
    """
    if request.cases is None:
        raise InputError("--suite judges a file of cases; traffic is in the home. Give --cases FILE, or leave --suite")
    bundle = read_bundle(suite)
    cases = read_cases(request.cases, is_strict=request.is_strict)
    asked = Asked("cases", request.release, request.by, request.commit)
    return judge(cases, bundle, asked, settings=settled(settings_for(bundle, settings), request), now=now)


def judge(cases: Cases, bundle: Bundle, asked: Asked, *, settings: Settings, now: datetime) -> GateOutcome:
    """May a release that answered so ship? `settings` are those of `settings_for`."""
    return judge_cases(cases, bundle.members, asked=asked, history=bundle.history, settings=settings, now=now)


def settings_for(bundle: Bundle, settings: Settings) -> Settings:
    """The settings by which the suite judges here: see `thresholds_with`. Answers of models are kept in no home."""
    settings = thresholds_with(bundle, settings)
    if settings.llm.cache != settings.home / "answers.sqlite":
        return settings
    return settings.model_copy(update={"llm": settings.llm.model_copy(update={"cache": None})})
