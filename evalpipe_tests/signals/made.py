"""Small TRACES rows for the tests of this room, in as few words as possible."""

from datetime import date, timedelta
from typing import Any

import polars as pl

from evalpipe.tables import TRACES

TODAY = date(2026, 3, 2)
YESTERDAY = TODAY - timedelta(days=1)
_SECOND = 1_000_000_000


def made_id(number: int) -> str:
    return f"{number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128:032x}"


def said(*messages: tuple[str, ...]) -> list[dict[str, Any]]:
    """("user", text), ("assistant", text), ("call", tool, arguments), ("result" or "error", tool, output)."""
    roles = {"call": "tool_call", "result": "tool_result", "error": "tool_result"}
    return [
        {
            "role": roles.get(role, role),
            "tool": rest[0] if role in roles else None,
            "content": rest[-1],
            "is_error": role == "error",
        }
        for role, *rest in messages
    ]


def trace(number: int, *messages: tuple[str, ...], **columns: Any) -> dict[str, Any]:
    """One trace, `number` seconds into its day, in a session of its own unless `columns` says otherwise."""
    transcript = said(*messages)
    users = [step["content"] for step in transcript if step["role"] == "user"]
    calls = [step for step in transcript if step["role"] == "tool_call"]
    return {
        "trace_id": made_id(number + 1),
        "day": TODAY,
        "session_id": f"session-{number}",
        "turn_index": 0,
        "service_name": "shop",
        "name": "chat",
        "request": users[0] if users else None,
        "transcript": transcript,
        "n_spans": 1,
        "n_llm_calls": 1,
        "n_tool_calls": len(calls),
        "n_tool_errors": sum(step["is_error"] for step in transcript),
        "n_user_messages": len(users),
        "n_input_tokens": 300,
        "n_output_tokens": 100,
        "duration_ns": 2 * _SECOND,
        "start_unix_ns": number * _SECOND,
        "end_unix_ns": (number + 2) * _SECOND,
        "status": "ok",
        "is_complete": True,
        "defects": [],
        **columns,
    }


def frame(*rows: dict[str, Any]) -> pl.DataFrame:
    schema = {name: TRACES.schema[name] for row in rows for name in row}
    return TRACES.conform(pl.DataFrame(list(rows), schema=schema) if rows else TRACES.empty())


def usual(number: int, **columns: Any) -> dict[str, Any]:
    """What the shop does all day: one request, search then pay, a sure answer."""
    return trace(
        number,
        ("user", f"please order the blue lamp number {number} for me"),
        ("call", "search", f'{{"lamp": {number}}}'),
        ("result", "search", "found"),
        ("call", "pay", f'{{"lamp": {number}}}'),
        ("result", "pay", "paid"),
        ("assistant", "The blue lamp is ordered and will arrive on Monday at your door."),
        **columns,
    )
