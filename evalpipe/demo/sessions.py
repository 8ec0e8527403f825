"""How customers behave: who comes when, what they ask next, and how they insist when they were not helped."""

from collections.abc import Mapping
from datetime import date
from random import Random
from typing import NamedTuple

from evalpipe.demo import phrases
from evalpipe.demo.dialogue import INTENT_WEIGHTS, Turn, healthy_turn, insisted_turn
from evalpipe.demo.failures import INTENTS, can_spoil, spoil
from evalpipe.demo.plan import FailureMode
from evalpipe.demo.shop import Customer, Order, customer_of

MAX_TURNS = 6
_TURN_WEIGHTS = (40, 28, 16, 9, 5, 2)  # of 1 to 6 turns: 2.2 on average
_IMPATIENT_SHARE = 0.02  # of healthy turns: the customer asks the same thing again
_INSIST_SHARE = 0.6  # of failed turns, likewise
_RELAPSE_SHARE = {  # of insisted turns: the agent fails in the same way again
    FailureMode.REFUND_WITHOUT_POLICY_CHECK: 0.6,
    FailureMode.REPEATED_IDENTICAL_TOOL_CALL: 0.55,
    FailureMode.IGNORED_TOOL_ERROR: 0.55,
    FailureMode.PROMISED_REFUND_NOT_ISSUED: 0.75,  # where is the money? on its way!
    FailureMode.INVENTED_POLICY: 0.7,  # a customer in doubt is told more of the same
    FailureMode.UNHELPFUL_DEFLECTION: 0.6,
    FailureMode.ASKED_AGAIN_FOR_ORDER_NUMBER: 0.7,
}
_THANKS_SHARE = 0.3  # of healthy last turns
_SAME_ORDER_SHARE = 0.6  # of follow-up requests
_WEEKDAY_LOAD = (1.2, 1.1, 1.05, 1.0, 1.05, 0.85, 0.75)  # mean 1: Mondays are busy
_OPENING_S, _CLOSING_S = 5 * 3600, 21 * 3600  # sessions start between, so that all end on their UTC day


class Session(NamedTuple):
    """One conversation: each turn becomes a trace. `gaps_s` are the pauses before each turn."""

    session_id: str
    starts_at_s: float  # seconds after midnight UTC
    turns: tuple[Turn, ...]
    gaps_s: tuple[float, ...]


def sessions_of_day(n_usual: int, day: date, rates: Mapping[FailureMode, float], chance: Random) -> list[Session]:
    """All sessions of a day, in order of start, at the `rates` of the live release: `n_usual` of them on average."""
    n_sessions = max(1, round(n_usual * _WEEKDAY_LOAD[day.weekday()]))
    sessions = [_session(chance, day, rates) for _ in range(n_sessions)]
    return sorted(sessions, key=lambda session: (session.starts_at_s, session.session_id))


def _session(chance: Random, day: date, rates: Mapping[FailureMode, float]) -> Session:
    turns = _turns(chance, day, rates)
    return Session(
        session_id=f"sess-{day:%Y%m%d}-{chance.getrandbits(40):010x}",
        starts_at_s=chance.uniform(_OPENING_S, _CLOSING_S),
        turns=tuple(turns),
        gaps_s=(0.0, *(chance.uniform(8, 400) for _ in turns[1:])),
    )


def _turns(chance: Random, day: date, rates: Mapping[FailureMode, float]) -> list[Turn]:
    customer = customer_of(chance, day)
    n_wanted = chance.choices(range(1, MAX_TURNS + 1), _TURN_WEIGHTS)[0]
    turns = [_fresh_turn(chance, customer, customer.orders[0], rates)]
    while len(turns) < MAX_TURNS:
        last = turns[-1]
        if chance.random() < (_INSIST_SHARE if last.failure_mode else _IMPATIENT_SHARE):
            turns.append(_insisted_turn(chance, last))
        elif len(turns) >= n_wanted:
            break
        else:
            order = last.order if chance.random() < _SAME_ORDER_SHARE else chance.choice(customer.orders)
            follow_up = chance.choice(phrases.FOLLOW_UPS)
            turns.append(_fresh_turn(chance, customer, order, rates, prefix=follow_up))
    if 1 < len(turns) < MAX_TURNS and turns[-1].failure_mode is None and chance.random() < _THANKS_SHARE:
        turns.append(healthy_turn(chance, customer, turns[-1].order, "thanks"))
    return turns


def _fresh_turn(
    chance: Random, customer: Customer, order: Order, rates: Mapping[FailureMode, float], *, prefix: str = ""
) -> Turn:
    modes = list(FailureMode)
    shares = [rates.get(mode, 0.0) for mode in modes]
    mode = chance.choices([*modes, None], [*shares, 1.0 - sum(shares)])[0]
    if mode is None:
        intents = {name: weight for name, weight in INTENT_WEIGHTS.items() if not (prefix and name == "clarify")}
        return healthy_turn(chance, customer, order, _pick(chance, intents), prefix=prefix)
    while True:
        turn = healthy_turn(chance, customer, order, chance.choice(INTENTS[mode]), prefix=prefix)
        if can_spoil(mode, turn):
            return spoil(chance, turn, mode)


def _pick(chance: Random, weights: Mapping[str, float]) -> str:
    return chance.choices(list(weights), list(weights.values()))[0]


def _insisted_turn(chance: Random, last: Turn) -> Turn:
    mode = last.failure_mode
    is_relapse = mode is not None and chance.random() < _RELAPSE_SHARE[mode]
    while True:
        turn = insisted_turn(chance, last)
        if mode is None or not is_relapse:
            return turn
        if can_spoil(mode, turn):
            return spoil(chance, turn, mode)
