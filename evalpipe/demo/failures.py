"""The planted failure modes: each spoils a healthy turn in one way and leaves the rest of it as it was.

Requests, tools and polite phrases keep the distribution of healthy traffic, so only the failure itself tells.
"""

from collections.abc import Callable
from dataclasses import replace
from random import Random

from evalpipe.demo.dialogue import (
    NUMBERED_INTENTS,
    Turn,
    dressed,
    policy_answer,
    search_elsewhere,
    spin_answer,
)
from evalpipe.demo.phrases import spin
from evalpipe.demo.plan import FailureMode
from evalpipe.demo.shop import WRITES, ToolCall, tool_error

INTENTS: dict[FailureMode, tuple[str, ...]] = {
    FailureMode.REFUND_WITHOUT_POLICY_CHECK: ("refund", "refund", "refund", "damaged"),
    # Mostly where there is something to wait for: a status that might change if only one asks again.
    FailureMode.REPEATED_IDENTICAL_TOOL_CALL: (*["order_status"] * 5, "policy", "stock"),
    FailureMode.IGNORED_TOOL_ERROR: ("address", "address", "address", "invoice", "cancel"),
    FailureMode.PROMISED_REFUND_NOT_ISSUED: ("refund", "refund", "refund", "damaged"),
    FailureMode.INVENTED_POLICY: ("policy",),
    FailureMode.UNHELPFUL_DEFLECTION: (*NUMBERED_INTENTS, "order_status_unnumbered", "policy", "stock"),
    FailureMode.ASKED_AGAIN_FOR_ORDER_NUMBER: NUMBERED_INTENTS,
}
"""Which requests a mode can spoil."""


def can_spoil(mode: FailureMode, turn: Turn) -> bool:
    """Whether this very turn has what the mode spoils: a refund that was issued, a write, a look-up."""
    names = {step.name for step in turn.steps if not step.is_error}
    match mode:
        case FailureMode.REFUND_WITHOUT_POLICY_CHECK | FailureMode.PROMISED_REFUND_NOT_ISSUED:
            return "issue_refund" in names
        case FailureMode.IGNORED_TOOL_ERROR:
            # Exactly one write, so that the answer's claim is about the call that failed.
            return len(names & WRITES) == 1 and turn.steps[-1].name in WRITES and not turn.steps[-1].is_error
        case FailureMode.REPEATED_IDENTICAL_TOOL_CALL:
            return any(not step.is_error and step.name not in WRITES for step in turn.steps)
        case _:
            return True


def spoil(chance: Random, turn: Turn, mode: FailureMode) -> Turn:
    """The turn with the failure planted in it. It must satisfy `can_spoil`."""
    return replace(_SPOILERS[mode](chance, turn), failure_mode=mode)


def _without_policy_check(chance: Random, turn: Turn) -> Turn:
    check = [step for step in turn.steps if step.name == "check_refund_policy"]
    others = [step for step in turn.steps if step.name != "check_refund_policy"]
    if chance.random() < 0.5:  # in haste: not even the order is looked at
        others = [step for step in others if step.name in WRITES]
    # A check after the refund is the same failure: order matters, not presence.
    return replace(turn, steps=(*others, *(check[-1:] if chance.random() < 0.3 else [])))


def _repeated_call(chance: Random, turn: Turn) -> Turn:
    reads = [n for n, step in enumerate(turn.steps) if not step.is_error and step.name not in WRITES]
    at = chance.choice(reads)
    copies = (turn.steps[at],) * chance.randint(4, 8)
    return replace(turn, steps=(*turn.steps[:at], *copies, *turn.steps[at + 1 :]))


def _ignored_error(chance: Random, turn: Turn) -> Turn:
    failed = turn.steps[-1]._replace(result=tool_error(chance), is_error=True)
    attempts = (failed,) * chance.randint(1, 3)
    earlier = tuple(step for step in turn.steps[:-1] if step.name != failed.name)
    return replace(turn, steps=(*earlier, *attempts))


def _promised_refund(chance: Random, turn: Turn) -> Turn:
    skipped = {"issue_refund", "send_email"} | ({"check_refund_policy"} if chance.random() < 0.5 else set())
    return replace(turn, steps=tuple(step for step in turn.steps if step.name not in skipped))


def _invented_policy(chance: Random, turn: Turn) -> Turn:
    claims = [
        spin(
            chance,
            claim,
            days=chance.choice((14, 45, 60, 90, 100)),
            months=chance.choice((6, 36, 48, 60)),
            percent=chance.choice((5, 10, 15, 20, 25)),
            euros=chance.choice((10, 15, 20, 25, 40)),
            **turn.words,
        )
        for claim in chance.sample(_INVENTED_CLAIMS, chance.randint(1, 3))
    ]
    # With the page found, part of the answer is often true; without it, all is invented.
    is_found, is_partly_true = chance.random() < 0.5, chance.random() < 0.7
    steps = turn.steps if is_found else tuple(_without_hits(step) for step in turn.steps)
    if is_found and is_partly_true:
        claims.insert(chance.randint(0, 1), policy_answer(chance, turn))
    if not is_found and chance.random() < 0.7:
        steps = (*steps[:1], search_elsewhere(turn))
    return replace(turn, steps=steps, answer=dressed(chance, " ".join(claims), turn.words))


def _without_hits(step: ToolCall) -> ToolCall:
    return step if step.is_error else step._replace(result='{"hits": []}')


def _deflection(chance: Random, turn: Turn) -> Turn:
    parts = [
        chance.choice(_EVASIVE_OPENINGS),
        *chance.sample(_EVASIONS, chance.randint(2, 3)),
    ]
    steps = turn.steps[:1] if chance.random() < 0.35 and turn.steps[0].name not in WRITES else ()
    answer = " ".join(spin(chance, part, **turn.words) for part in parts if part)
    return replace(turn, steps=steps, answer=dressed(chance, answer, turn.words))


def _asked_again(chance: Random, turn: Turn) -> Turn:
    searched = tuple(step for step in turn.steps if step.name == "search_orders")[:1]
    return replace(
        turn, steps=searched, answer=dressed(chance, spin_answer(chance, "ask_order_number", turn.words), turn.words)
    )


_SPOILERS: dict[FailureMode, Callable[[Random, Turn], Turn]] = {
    FailureMode.REFUND_WITHOUT_POLICY_CHECK: _without_policy_check,
    FailureMode.REPEATED_IDENTICAL_TOOL_CALL: _repeated_call,
    FailureMode.IGNORED_TOOL_ERROR: _ignored_error,
    FailureMode.PROMISED_REFUND_NOT_ISSUED: _promised_refund,
    FailureMode.INVENTED_POLICY: _invented_policy,
    FailureMode.UNHELPFUL_DEFLECTION: _deflection,
    FailureMode.ASKED_AGAIN_FOR_ORDER_NUMBER: _asked_again,
}

_INVENTED_CLAIMS = (
    "[All our customers|You] [enjoy|have] a {days}-day [no-questions-asked|satisfaction] guarantee.",
    "As a [valued|long-standing] customer you are entitled to {percent}% off [your next order|the {product}].",
    "[Premium|Gold] members get [a replacement|the {product}] shipped [overnight|the same evening] at no charge.",
    "We [always|will gladly] beat [any|a] competitor's price by {percent}%.",
    "[The warranty|Your warranty] extends to {months} months automatically [if you registered|when you bought online].",
    "[Accidental damage|Spills and drops] [are|is] [fully |]insured for the first {days} days.",
    "If a parcel is late by more than {days} hours, we [pay|owe you] €{euros} [compensation|in credit].",
    "[Opened|Used] items [are also accepted|can come back too] for up to {days} days, [even without a receipt|no "
    "receipt needed].",
    "We [cover|take care of] all customs [duties|fees] [worldwide|for you].",
    "[Students|Pensioners] [receive|get] a permanent {percent}% [reduction|discount] under our fairness programme.",
    "[Any store|Every partner shop] in {city} takes returns for us [free of charge|without paperwork].",
    "[Refunds|Money] under €{euros} [are|is] paid out [instantly|within the hour] in cash[ on request|].",
    "Gift cards [can be topped up with|come with] a bonus of {percent}% and [never expire|last for life].",
    "You may [exchange|swap] [as often as you like|any number of times] within {days} days.",
    "[By law|Under EU rules] we [must|have to] [send you|provide] a loan {product} [while yours is away|meanwhile].",
    "[Points|Loyalty points] [count double|are doubled] during the first {months} months of membership.",
)

_EVASIVE_OPENINGS = (
    "",
    "[Thank you for reaching out|Thanks for your message].",
    "That's a [great|good|fair] question.",
    "I [hear you|see what you mean][, {name}|].",
    "[We take this seriously|Your satisfaction matters to us].",
)

_EVASIONS = (
    "[It|This] [may|might|could] depend on [a number of|several|various] [factors|things], so I'm not [really|"
    "entirely] sure.",
    "[Perhaps|Maybe] [our website|the help centre|the app] has [more on this|what you are looking for].",
    "I [would|might] suggest [waiting a few days|trying again later] and seeing [how things develop|if it changes].",
    "[Questions like this|Such matters] are [usually|generally] [handled|looked at] elsewhere in the company.",
    "I [believe|guess] [this sort of thing|that] [tends to sort itself out|usually settles down] [in time|eventually].",
    "I'm afraid I [can't really|am not in a position to] [comment on|go into] [that|the details] [at this point|now].",
    "Every [case|situation] is [different|unique], so it is hard to say anything definite.",
    "[Some|Many] customers [find|report] that [restarting the app|looking through old emails] helps.",
    "[Possibly|It could be that] [the system|everything] [just needs|needs] a little more time.",
    "[Generally speaking|In most cases], these things [work out|are fine] [one way or another|in the end].",
    "You [could|might want to] [look into|explore] [the options|your options] [yourself|on your side].",
    "[There may be|Possibly there are] [reasons|circumstances] [beyond our control|we cannot influence].",
)
