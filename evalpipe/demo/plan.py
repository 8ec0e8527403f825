"""What the demo simulates: how much traffic, which releases, and how often each planted failure mode occurs in them.

The application itself is in dialogue.py and failures.py; nothing outside `demo/` may know the planted truth.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from random import Random
from types import MappingProxyType
from typing import NamedTuple

from evalpipe.errors import InputError

SERVICE_NAME = "shop-assistant"
_MONDAY = 0
_DAYS_PER_WEEK = 7


class FailureMode(StrEnum):
    """What the simulated agent does wrong. A trace shows at most one."""

    REFUND_WITHOUT_POLICY_CHECK = "refund_without_policy_check"  # issue_refund without an earlier check_refund_policy
    REPEATED_IDENTICAL_TOOL_CALL = "repeated_identical_tool_call"  # one tool, the same arguments, four times or more
    IGNORED_TOOL_ERROR = "ignored_tool_error"  # a write failed for good and the answer says it worked
    PROMISED_REFUND_NOT_ISSUED = "promised_refund_not_issued"  # the answer says refunded, issue_refund was never called
    INVENTED_POLICY = "invented_policy"  # the answer states a policy that the help pages do not have
    UNHELPFUL_DEFLECTION = "unhelpful_deflection"  # an evasive answer that leads nowhere
    ASKED_AGAIN_FOR_ORDER_NUMBER = "asked_again_for_order_number"  # the request had it


class Release(NamedTuple):
    """A version of the application, live from a week of the plan on. `rates`: share of fresh requests a mode spoils.

    Prevalence over all traces lies above the rate, because a spoiled request is asked again and often spoiled again.
    """

    version: str
    first_week: int
    rates: Mapping[FailureMode, float]


_USUAL_RATES: Mapping[FailureMode, float] = MappingProxyType(
    {
        FailureMode.REFUND_WITHOUT_POLICY_CHECK: 0.023,
        FailureMode.REPEATED_IDENTICAL_TOOL_CALL: 0.025,
        FailureMode.IGNORED_TOOL_ERROR: 0.028,
        FailureMode.PROMISED_REFUND_NOT_ISSUED: 0.014,
        FailureMode.INVENTED_POLICY: 0.022,
        FailureMode.UNHELPFUL_DEFLECTION: 0.018,
        FailureMode.ASKED_AGAIN_FOR_ORDER_NUMBER: 0.016,
    }
)

FIXED_AND_RETURNED = FailureMode.REPEATED_IDENTICAL_TOOL_CALL
"""The mode that release 1.1.0 fixes and release 1.2.0 brings back."""

FIXED_FOR_GOOD = FailureMode.ASKED_AGAIN_FOR_ORDER_NUMBER
"""The mode that release 1.1.0 fixes, and that is not seen again."""

_FIXED_RATES = MappingProxyType({**_USUAL_RATES, FIXED_AND_RETURNED: 0.0, FIXED_FOR_GOOD: 0.0})
_RETURNED_RATES = MappingProxyType({**_USUAL_RATES, FIXED_FOR_GOOD: 0.0})

RELEASES = (
    Release("1.0.0", 0, _USUAL_RATES),
    Release("1.1.0", 3, _FIXED_RATES),
    Release("1.2.0", 7, _RETURNED_RATES),
)

STORY_WEEKS = 9
"""A plan of so many weeks tells the whole story: found, fixed, verified, solved, and back."""

QUIET_WEEKS = 13
"""After them nobody looks for so long; the week that follows shows which evaluators have outlived their use."""


class Candidate(NamedTuple):
    """A release that asks the gate before it goes live. `rates`: share of its test requests that a mode spoils."""

    version: str
    after_week: int  # of the plan, whose reviewers have read
    rates: Mapping[FailureMode, float]


BROKEN_BY_BAD_CANDIDATE = FIXED_AND_RETURNED
"""The mode that a bad release candidate brings to about a third of its answers."""

CANDIDATES = (
    Candidate("1.1.0-rc1", 2, MappingProxyType({**_USUAL_RATES, FIXED_AND_RETURNED: 0.33, FIXED_FOR_GOOD: 0.45})),
    Candidate("1.1.0", 2, _FIXED_RATES),
    Candidate("1.2.0", 6, _RETURNED_RATES),
)
"""Those that ask on the way. 1.2.0 may ship: what it brings back is rare, and its issue is solved."""

GOOD_CANDIDATE = Candidate("2.0.0-good", -1, MappingProxyType(dict.fromkeys(FailureMode, 0.002)))
BAD_CANDIDATE = Candidate("2.0.0-bad", -1, MappingProxyType({**_USUAL_RATES, BROKEN_BY_BAD_CANDIDATE: 0.33}))
"""Those that ask at the end, whatever the number of weeks."""


@dataclass(frozen=True)
class DemoPlan:
    """The whole simulation: equal plans give equal bytes. Weeks are ISO weeks, because review cycles are."""

    start_day: date
    n_weeks: int = STORY_WEEKS
    sessions_per_day: int = 40  # mean over a week; weekends are quieter
    seed: int = 20_261_123

    def __post_init__(self) -> None:
        if self.start_day.weekday() != _MONDAY:
            monday = self.start_day - timedelta(days=self.start_day.weekday())
            raise InputError(
                f"demo plan: {self.start_day} is not a Monday, and a review cycle is an ISO week. Start on {monday}."
            )
        if self.n_weeks < 1 or self.sessions_per_day < 1:
            raise InputError("demo plan: n_weeks and sessions_per_day must be at least 1")

    @property
    def weeks(self) -> tuple[int, ...]:
        """The weeks with traffic, from 0: all of them, and where the plan tells the story a quiet one much later."""
        usual = tuple(range(self.n_weeks))
        return (*usual, self.n_weeks + QUIET_WEEKS) if self.n_weeks >= STORY_WEEKS else usual

    def sessions_in(self, week_index: int) -> int:
        """Sessions a day of a week: the quiet one has few."""
        return self.sessions_per_day if week_index < self.n_weeks else max(1, self.sessions_per_day // 3)

    def days_of(self, week_index: int) -> list[date]:
        """The seven UTC days of a week. Raises InputError outside the plan."""
        if week_index not in self.weeks:
            raise InputError(f"demo plan: week {week_index} is not in {', '.join(map(str, self.weeks))}")
        monday = self.start_day + timedelta(weeks=week_index)
        return [monday + timedelta(days=n) for n in range(_DAYS_PER_WEEK)]

    def chance(self, *names: object) -> Random:
        """An independent random stream for each purpose, so that changing one leaves the others as they were.

        Not of the start day: what happens in a week is the same whenever the demo is run, so its figures are too.
        """
        return Random("/".join(map(str, (self.seed, *names))))


def release_of(week_index: int) -> Release:
    """The release that is live in a week."""
    return [release for release in RELEASES if release.first_week <= week_index][-1]
