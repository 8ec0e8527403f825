"""The simulated agent at its best: a correct turn for every kind of request.

The shop and its tools are in shop.py. What goes wrong is in failures.py, which spoils turns made here; who asks
what, and when, is in sessions.py.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from evalpipe.demo import phrases
from evalpipe.demo.phrases import spin
from evalpipe.demo.plan import FailureMode
from evalpipe.demo.shop import (
    WRITES,
    Customer,
    Order,
    ToolCall,
    call,
    check_refund_policy,
    day_text,
    get_order,
    issue_refund,
    search_orders,
    send_email,
    tool_error,
)

_RETRY_SHARE = 0.015  # of tool calls: it fails once or twice, then the same call works
_FAILED_WRITE_SHARE = 0.045  # of turns that write: the write fails for good and the agent says so
_HEDGE_SHARE = 0.1  # of healthy answers
_WRONG_PLACE_SHARE = 0.03  # of questions on policies: the catalogue is searched before the help pages
_ASIDE_SHARE = 0.35  # of requests: context that has nothing to do with the task

INTENT_WEIGHTS: dict[str, float] = {
    "order_status": 18,
    "order_status_unnumbered": 6,
    "refund": 20,
    "refund_status": 6,
    "address": 8,
    "cancel": 7,
    "invoice": 5,
    "damaged": 7,
    "policy": 16,
    "overview": 5,
    "stock": 6,
    "clarify": 9,
}
"""How often customers want what. `thanks` only ever ends a session."""

NUMBERED_INTENTS = ("order_status", "refund", "refund_status", "address", "cancel", "invoice", "damaged")
"""Requests that name their order number."""


@dataclass(frozen=True)
class Turn:
    """One request and everything the agent did about it. `failure_mode` is the planted truth.

    `words` are the values its templates were filled with: who asks again means the same address and topic.
    """

    customer: Customer
    order: Order
    intent: str
    words: dict[str, str]
    request: str
    steps: tuple[ToolCall, ...]
    answer: str
    failure_mode: FailureMode | None = None


def healthy_turn(chance: Random, customer: Customer, order: Order, intent: str, *, prefix: str = "") -> Turn:
    """A correct turn: the request in one of many wordings, the tools the task needs, and an honest answer."""
    words = _words(chance, customer, order)
    return _answered(chance, Turn(customer, order, intent, words, _request(chance, intent, words, prefix), (), ""))


def insisted_turn(chance: Random, turn: Turn) -> Turn:
    """The same request from someone who was not helped, nearly in the same words, and a correct answer this time."""
    before = spin(chance, chance.choice(phrases.COMPLAINTS_BEFORE))
    after = spin(chance, chance.choice(phrases.COMPLAINTS_AFTER))
    return _answered(chance, replace(turn, request=f"{before}{turn.request}{after}", failure_mode=None))


def spin_answer(chance: Random, name: str, words: dict[str, str]) -> str:
    """One of the answers of a kind, in this turn's words."""
    return spin(chance, chance.choice(phrases.ANSWERS[name]), **words)


def dressed(chance: Random, answer: str, words: dict[str, str]) -> str:
    """An answer with the politeness before and after it that healthy and failing answers share."""
    opening = spin(chance, chance.choice(phrases.EMPATHY), **words)
    closing = spin(chance, chance.choice(phrases.CLOSINGS), **words)
    return _tidy(f"{opening}{answer}{closing}")


def search_elsewhere(turn: Turn) -> ToolCall:
    """A question on a policy, put to the catalogue, which knows nothing of policies."""
    return call("search_catalog", {"query": turn.words["topic"].replace("_", " ")}, {"hits": 0})


def policy_answer(chance: Random, turn: Turn) -> str:
    """What the help pages say on the turn's topic, in other words."""
    return spin(chance, chance.choice(phrases.HELP_PAGES[turn.words["topic"]].answers), **turn.words)


def _answered(chance: Random, asked: Turn) -> Turn:
    steps, answer = _AGENT[asked.intent](chance, asked)
    if asked.intent == "thanks":
        return replace(asked, answer=_tidy(answer))
    steps = [retried for step in steps for retried in _with_retry(chance, step)]
    if any(step.name in WRITES for step in steps) and chance.random() < _FAILED_WRITE_SHARE:
        steps, answer = _failed_honestly(chance, steps), spin_answer(chance, "error_admitted", asked.words)
    if chance.random() < _HEDGE_SHARE:
        answer += spin(chance, chance.choice(phrases.HEALTHY_HEDGES))
    return replace(asked, steps=tuple(steps), answer=dressed(chance, answer, asked.words))


def _words(chance: Random, customer: Customer, order: Order) -> dict[str, str]:
    street = f"{chance.choice(phrases.STREETS)} Street {chance.randint(1, 180)}"
    topic = chance.choice(sorted(phrases.HELP_PAGES))
    return {
        "id": order.id,
        "order": chance.choice(phrases.ORDER_MENTIONS).format(id=order.id),
        "product": order.product,
        "price": order.price,
        "carrier": order.carrier,
        "ordered": day_text(order.ordered_on),
        "settled": day_text(order.settled_on),
        "eta": day_text(order.due_on),
        "name": customer.name,
        "email": customer.email,
        "city": customer.city,
        "payment": customer.payment,
        "address": f"{street}, {chance.randint(10000, 99999)} {chance.choice(phrases.CITIES)}",
        "team": chance.choice(phrases.TEAMS),
        "ticket": f"T-{chance.randint(10000, 99999)}",
        "weekday": chance.choice(phrases.WEEKDAYS),
        "count": str(chance.randint(2, 60)),
        "topic": topic,
        "question": chance.choice(phrases.HELP_PAGES[topic].questions),
    }


def _request(chance: Random, intent: str, words: dict[str, str], prefix: str) -> str:
    templates = (words["question"],) if intent == "policy" else phrases.REQUESTS[intent]
    opening = prefix or ("" if intent == "thanks" else chance.choice(phrases.GREETINGS))
    request = opening + spin(chance, chance.choice(templates), **words)
    if intent != "thanks" and chance.random() < _ASIDE_SHARE:
        request += " " + spin(chance, chance.choice(phrases.ASIDES), **words)
    request = _tidy(request)
    return request[0].upper() + request[1:] if chance.random() < 0.6 else request


def _tidy(text: str) -> str:
    return " ".join(text.split())


def _with_retry(chance: Random, step: ToolCall) -> list[ToolCall]:
    if chance.random() >= _RETRY_SHARE:
        return [step]
    failed = step._replace(result=tool_error(chance), is_error=True)
    return [failed] * chance.randint(1, 2) + [step]


def _failed_honestly(chance: Random, steps: list[ToolCall]) -> list[ToolCall]:
    first_write = next(n for n, step in enumerate(steps) if step.name in WRITES)
    failed = steps[first_write]._replace(result=tool_error(chance), is_error=True)
    attempts = [failed] * chance.randint(1, 2)
    ticket = call("escalate_to_human", {"reason": f"{failed.name} failed"}, {"status": "queued"})
    return [*steps[:first_write], *attempts, *([ticket] if chance.random() < 0.7 else [])]


# What the agent does about a request: the tools it calls, and what it says.
_Reply = tuple[list[ToolCall], str]


def _order_status(chance: Random, asked: Turn) -> _Reply:
    status = chance.choice(("in_transit", "in_transit", "delivered"))
    return _look_up(chance, asked, status), spin_answer(chance, status, asked.words)


def _order_status_unnumbered(chance: Random, asked: Turn) -> _Reply:
    steps = [search_orders(asked.customer), get_order(asked.order, "in_transit")]
    return steps, spin_answer(chance, "in_transit", asked.words)


def _refund(chance: Random, asked: Turn) -> _Reply:
    outcome = chance.choices(("refund_issued", "refund_after_return", "refund_denied"), (60, 22, 18))[0]
    steps = [*_look_up(chance, asked, "delivered"), check_refund_policy(asked.order, outcome)]
    if outcome == "refund_issued":
        steps.append(issue_refund(asked.order))
        if chance.random() < 0.35:
            steps.append(send_email(asked.customer, "refund confirmation"))
    elif outcome == "refund_after_return":
        steps.append(send_email(asked.customer, "return label"))
    return steps, spin_answer(chance, outcome, asked.words)


def _refund_status(chance: Random, asked: Turn) -> _Reply:
    # The answer speaks of a refund that was issued, and rightly so: it was issued before this session.
    return _look_up(chance, asked, "refunded"), spin_answer(chance, "refund_known", asked.words)


def _address(chance: Random, asked: Turn) -> _Reply:
    if chance.random() < 0.25:
        return _look_up(chance, asked, "in_transit"), spin_answer(chance, "too_late", asked.words)
    arguments = {"order_id": asked.order.id, "address": asked.words["address"]}
    steps = [*_look_up(chance, asked, "processing"), call("update_address", arguments, {"status": "updated"})]
    return steps, spin_answer(chance, "address_changed", asked.words)


def _cancel(chance: Random, asked: Turn) -> _Reply:
    if chance.random() < 0.3:
        return _look_up(chance, asked, "in_transit"), spin_answer(chance, "too_late", asked.words)
    cancel = call("cancel_order", {"order_id": asked.order.id}, {"status": "cancelled"})
    return [*_look_up(chance, asked, "processing"), cancel], spin_answer(chance, "cancelled", asked.words)


def _invoice(chance: Random, asked: Turn) -> _Reply:
    steps = [*_look_up(chance, asked, "delivered"), send_email(asked.customer, f"invoice {asked.order.id}")]
    return steps, spin_answer(chance, "invoice_sent", asked.words)


def _damaged(chance: Random, asked: Turn) -> _Reply:
    steps = _look_up(chance, asked, "delivered")
    if chance.random() < 0.5:
        reason = {"order_id": asked.order.id, "reason": "damaged on arrival"}
        handed_over = call("escalate_to_human", reason, {"ticket": asked.words["ticket"]})
        return [*steps, handed_over], spin_answer(chance, "escalated", asked.words)
    steps += [check_refund_policy(asked.order, "refund_issued"), issue_refund(asked.order)]
    return steps, spin_answer(chance, "refund_issued", asked.words)


def _policy(chance: Random, asked: Turn) -> _Reply:
    topic = asked.words["topic"].replace("_", " ")
    hit = {
        "title": topic,
        "score": round(chance.uniform(0.55, 0.97), 3),
        "text": phrases.HELP_PAGES[asked.words["topic"]].text,
    }
    queries = chance.sample(phrases.HELP_QUERIES, chance.choices((1, 2, 3, 4), (60, 24, 10, 6))[0])
    is_found = chance.random() < 0.9
    steps = [
        call(
            "search_kb",
            {"query": query.format(topic=topic, product=asked.order.product)},
            {"hits": [hit] if is_found and n == len(queries) - 1 else []},
        )
        for n, query in enumerate(queries)
    ]
    if chance.random() < _WRONG_PLACE_SHARE:
        steps.insert(0, search_elsewhere(asked))
    if not is_found:
        return steps, spin_answer(chance, "not_in_help", asked.words)
    return steps, policy_answer(chance, asked)


def _overview(chance: Random, asked: Turn) -> _Reply:
    orders = asked.customer.orders
    states = [chance.choice(("processing", "in_transit", "delivered")) for _ in orders]
    steps = [search_orders(asked.customer), *map(get_order, orders, states)]
    listed = "; ".join(
        f"{order.id} ({order.product}): {state.replace('_', ' ')}" for order, state in zip(orders, states, strict=True)
    )
    return steps, spin_answer(chance, "overview", {**asked.words, "n": str(len(orders)), "list": listed})


def _stock(chance: Random, asked: Turn) -> _Reply:
    product, is_available = asked.order.product, chance.random() < 0.7
    others = chance.sample(("new arrivals", "similar items", f"{product} sale"), chance.randint(0, 2))
    found = {
        "product": product,
        "price": asked.order.price,
        "stock": int(asked.words["count"]) if is_available else 0,
        "restock": asked.words["eta"],
    }
    steps = [call("search_catalog", {"query": query}, {"hits": 0}) for query in others]
    steps.append(call("search_catalog", {"query": product}, found))
    return steps, spin_answer(chance, "in_stock" if is_available else "out_of_stock", asked.words)


def _clarify(chance: Random, asked: Turn) -> _Reply:
    return [], spin_answer(chance, "ask_order_number", asked.words)


def _thanks(chance: Random, asked: Turn) -> _Reply:
    return [], spin_answer(chance, "welcome", asked.words)


_AGENT: dict[str, Callable[[Random, Turn], _Reply]] = {
    "order_status": _order_status,
    "order_status_unnumbered": _order_status_unnumbered,
    "refund": _refund,
    "refund_status": _refund_status,
    "address": _address,
    "cancel": _cancel,
    "invoice": _invoice,
    "damaged": _damaged,
    "policy": _policy,
    "overview": _overview,
    "stock": _stock,
    "clarify": _clarify,
    "thanks": _thanks,
}


def _look_up(chance: Random, asked: Turn, status: str) -> list[ToolCall]:
    # Some look the customer up first: healthy tool sequences vary too.
    before = [search_orders(asked.customer)] if chance.random() < 0.12 else []
    return [*before, get_order(asked.order, status)]
