"""The simulated shop and its agent at its best: customers, orders, and a correct turn for every kind of request.

What goes wrong is in failures.py, which spoils turns made here; who asks what, and when, is in sessions.py.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from random import Random
from typing import Any, NamedTuple

from evalpipe.demo import phrases
from evalpipe.demo.phrases import spin
from evalpipe.demo.plan import FailureMode

_N_CUSTOMERS = 600  # small enough that customers come back within weeks
_RETRY_SHARE = 0.04  # of tool calls: a time-out, after which the same call works
_FAILED_WRITE_SHARE = 0.09  # of turns that write: the write fails for good and the agent says so
_HEDGE_SHARE = 0.1  # of healthy answers
_WRONG_PLACE_SHARE = 0.03  # of questions on policies: the catalogue is searched before the help pages
_ASIDE_SHARE = 0.35  # of requests: context that has nothing to do with the task

WRITES = frozenset({"issue_refund", "update_address", "cancel_order", "send_email"})
"""Tools that change something; the others only read or hand over."""

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


class Order(NamedTuple):
    """One purchase."""

    id: str
    product: str
    price: str
    carrier: str
    ordered_on: date
    settled_on: date  # delivered, or refunded, when it was
    due_on: date  # otherwise


class Customer(NamedTuple):
    """Someone with an account and a few orders."""

    id: str
    name: str
    email: str
    city: str
    payment: str
    orders: tuple[Order, ...]


class ToolCall(NamedTuple):
    """One call of a tool by the agent; `result` is the error text when it failed."""

    name: str
    arguments: dict[str, Any]
    result: str
    is_error: bool = False


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


def customer_of(chance: Random, today: date) -> Customer:
    """A customer as the shop knows them `today`; the same person always has the same name and address."""
    number = chance.randrange(_N_CUSTOMERS)
    person = Random(f"customer/{number}")
    orders = tuple(_order(chance, today) for _ in range(chance.randint(2, 6)))
    return Customer(
        id=f"user-{number:04d}",
        name=person.choice(phrases.FIRST_NAMES),
        email=f"customer{number:04d}@example.com",
        city=person.choice(phrases.CITIES),
        payment=person.choice(phrases.PAYMENTS),
        orders=orders,
    )


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
    return _call("search_catalog", {"query": turn.words["topic"].replace("_", " ")}, {"hits": 0})


def tool_error(chance: Random) -> str:
    """What a tool says when it does not work."""
    return chance.choice(
        (
            "TimeoutError: upstream did not answer within 10 s",
            "ServiceUnavailable: 503 from order-service",
            "ConflictError: order is locked by another process",
            "ValidationError: request was rejected by the backend",
            "InternalError: unexpected response (code 1207)",
        )
    )


def policy_answer(chance: Random, turn: Turn) -> str:
    """What the help pages say on the turn's topic, in other words."""
    return spin(chance, chance.choice(phrases.HELP_PAGES[turn.words["topic"]].answers), **turn.words)


def day_text(day: date) -> str:
    """A date as the shop writes it: 4 May."""
    return f"{day.day} {phrases.MONTHS[day.month - 1]}"


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


def _order(chance: Random, today: date) -> Order:
    n_days = chance.randint(2, 14)
    return Order(
        id=f"SO-{chance.randint(10000, 99999)}",
        product=chance.choice(phrases.PRODUCTS),
        price=f"€{chance.randint(9, 240)}.{chance.choice(('00', '50', '90', '95', '99'))}",
        carrier=chance.choice(phrases.CARRIERS),
        ordered_on=today - timedelta(days=n_days),
        settled_on=today - timedelta(days=chance.randint(0, n_days - 1)),
        due_on=today + timedelta(days=chance.randint(1, 6)),
    )


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
    ticket = _call("escalate_to_human", {"reason": f"{failed.name} failed"}, {"status": "queued"})
    return [*steps[:first_write], *attempts, *([ticket] if chance.random() < 0.7 else [])]


# What the agent does about a request: the tools it calls, and what it says.
_Reply = tuple[list[ToolCall], str]


def _order_status(chance: Random, asked: Turn) -> _Reply:
    status = chance.choice(("in_transit", "in_transit", "delivered"))
    return _look_up(chance, asked, status), spin_answer(chance, status, asked.words)


def _order_status_unnumbered(chance: Random, asked: Turn) -> _Reply:
    steps = [_search_orders(asked.customer), _get_order(asked.order, "in_transit")]
    return steps, spin_answer(chance, "in_transit", asked.words)


def _refund(chance: Random, asked: Turn) -> _Reply:
    outcome = chance.choices(("refund_issued", "refund_after_return", "refund_denied"), (60, 22, 18))[0]
    steps = [*_look_up(chance, asked, "delivered"), _check_policy(asked.order, outcome)]
    if outcome == "refund_issued":
        steps.append(_issue_refund(asked.order))
        if chance.random() < 0.35:
            steps.append(_email(asked.customer, "refund confirmation"))
    elif outcome == "refund_after_return":
        steps.append(_email(asked.customer, "return label"))
    return steps, spin_answer(chance, outcome, asked.words)


def _refund_status(chance: Random, asked: Turn) -> _Reply:
    # The answer speaks of a refund that was issued, and rightly so: it was issued before this session.
    return _look_up(chance, asked, "refunded"), spin_answer(chance, "refund_known", asked.words)


def _address(chance: Random, asked: Turn) -> _Reply:
    if chance.random() < 0.25:
        return _look_up(chance, asked, "in_transit"), spin_answer(chance, "too_late", asked.words)
    arguments = {"order_id": asked.order.id, "address": asked.words["address"]}
    steps = [*_look_up(chance, asked, "processing"), _call("update_address", arguments, {"status": "updated"})]
    return steps, spin_answer(chance, "address_changed", asked.words)


def _cancel(chance: Random, asked: Turn) -> _Reply:
    if chance.random() < 0.3:
        return _look_up(chance, asked, "in_transit"), spin_answer(chance, "too_late", asked.words)
    cancel = _call("cancel_order", {"order_id": asked.order.id}, {"status": "cancelled"})
    return [*_look_up(chance, asked, "processing"), cancel], spin_answer(chance, "cancelled", asked.words)


def _invoice(chance: Random, asked: Turn) -> _Reply:
    steps = [*_look_up(chance, asked, "delivered"), _email(asked.customer, f"invoice {asked.order.id}")]
    return steps, spin_answer(chance, "invoice_sent", asked.words)


def _damaged(chance: Random, asked: Turn) -> _Reply:
    steps = _look_up(chance, asked, "delivered")
    if chance.random() < 0.5:
        reason = {"order_id": asked.order.id, "reason": "damaged on arrival"}
        handed_over = _call("escalate_to_human", reason, {"ticket": asked.words["ticket"]})
        return [*steps, handed_over], spin_answer(chance, "escalated", asked.words)
    steps += [_check_policy(asked.order, "refund_issued"), _issue_refund(asked.order)]
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
        _call(
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
    steps = [_search_orders(asked.customer), *map(_get_order, orders, states)]
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
    steps = [_call("search_catalog", {"query": query}, {"hits": 0}) for query in others]
    steps.append(_call("search_catalog", {"query": product}, found))
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


def _call(name: str, arguments: dict[str, Any], result: dict[str, Any]) -> ToolCall:
    return ToolCall(name, arguments, json.dumps(result, ensure_ascii=False))


def _look_up(chance: Random, asked: Turn, status: str) -> list[ToolCall]:
    # Some look the customer up first: healthy tool sequences vary too.
    before = [_search_orders(asked.customer)] if chance.random() < 0.12 else []
    return [*before, _get_order(asked.order, status)]


def _search_orders(customer: Customer) -> ToolCall:
    return _call("search_orders", {"email": customer.email}, {"orders": [order.id for order in customer.orders]})


def _get_order(order: Order, status: str) -> ToolCall:
    result = {
        "id": order.id,
        "product": order.product,
        "total": order.price,
        "status": status,
        "carrier": order.carrier,
        "ordered_on": day_text(order.ordered_on),
    }
    if status in ("delivered", "refunded"):
        result[f"{status}_on"] = day_text(order.settled_on)
    else:
        result["due_on"] = day_text(order.due_on)
    return _call("get_order", {"order_id": order.id}, result)


def _check_policy(order: Order, outcome: str) -> ToolCall:
    found = {
        "refund_issued": {"eligible": True, "reason": "within 30 days"},
        "refund_after_return": {"eligible": True, "condition": "after the item is returned"},
        "refund_denied": {"eligible": False, "reason": "final sale"},
    }[outcome]
    return _call("check_refund_policy", {"order_id": order.id}, found)


def _issue_refund(order: Order) -> ToolCall:
    return _call("issue_refund", {"order_id": order.id, "amount": order.price}, {"status": "ok"})


def _email(customer: Customer, subject: str) -> ToolCall:
    return _call("send_email", {"to": customer.email, "subject": subject}, {"status": "sent"})
