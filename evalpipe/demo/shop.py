"""The simulated shop: its customers, their orders, and the tools through which the agent sees and changes them.

What the agent does with them is in dialogue.py.
"""

import json
from datetime import date, timedelta
from random import Random
from typing import Any, NamedTuple

from evalpipe.demo import phrases

_N_CUSTOMERS = 600  # small enough that customers come back within weeks

WRITES = frozenset({"issue_refund", "update_address", "cancel_order", "send_email"})
"""Tools that change something; the others only read or hand over."""


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


def customer_of(chance: Random, today: date) -> Customer:
    """A customer as the shop knows them `today`; the same person always has the same name, email and city."""
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


def call(name: str, arguments: dict[str, Any], result: dict[str, Any]) -> ToolCall:
    """A call that worked."""
    return ToolCall(name, arguments, json.dumps(result, ensure_ascii=False))


def search_orders(customer: Customer) -> ToolCall:
    """The numbers of a customer's orders."""
    return call("search_orders", {"email": customer.email}, {"orders": [order.id for order in customer.orders]})


def get_order(order: Order, status: str) -> ToolCall:
    """What the shop knows of an order: processing, in_transit, delivered or refunded."""
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
    return call("get_order", {"order_id": order.id}, result)


def check_refund_policy(order: Order, outcome: str) -> ToolCall:
    """Whether an order may be refunded, such that the agent's answer is `outcome`."""
    found = {
        "refund_issued": {"eligible": True, "reason": "within 30 days"},
        "refund_after_return": {"eligible": True, "condition": "after the item is returned"},
        "refund_denied": {"eligible": False, "reason": "final sale"},
    }[outcome]
    return call("check_refund_policy", {"order_id": order.id}, found)


def issue_refund(order: Order) -> ToolCall:
    """Pay an order back."""
    return call("issue_refund", {"order_id": order.id, "amount": order.price}, {"status": "ok"})


def send_email(customer: Customer, subject: str) -> ToolCall:
    """Send the customer something."""
    return call("send_email", {"to": customer.email, "subject": subject}, {"status": "sent"})


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


def day_text(day: date) -> str:
    """A date as the shop writes it: 4 May."""
    return f"{day.day} {phrases.MONTHS[day.month - 1]}"


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
