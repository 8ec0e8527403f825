"""A home with one evaluator that blocks, and requests to its webhook as CI would sign them."""

import hashlib
import hmac
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from evalpipe.home import Home
from evalpipe_tests.gate.made import flags
from evalpipe_tests.gate.small_home import small_home

SECRET = "a secret of the tests"
JSON = {"content-type": "application/json"}
GOOD = [{"id": f"g{i}", "input": "q", "output": "all fine"} for i in range(5)]
BAD = [{"id": f"b{i}", "input": "q", "output": "as an AI I cannot"} for i in range(5)]


def gated_home(root: Path) -> Home:
    """An answer that says `as an AI` fails."""
    return small_home(root, flags(1, "as an AI"))


def body_of(now: float | None = None, **question: Any) -> bytes:
    return json.dumps({"sent_at": int(time.time() if now is None else now), **question}).encode()


def hub(body: bytes, secret: str = SECRET) -> dict[str, str]:
    """Headers as GitHub sends them."""
    return JSON | {"x-hub-signature-256": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}


def standard(body: bytes, message_id: str, at: float | None = None, secret: str = SECRET) -> dict[str, str]:
    """Headers as GitLab sends them, signed by the library of the specification."""
    from standardwebhooks.webhooks import Webhook

    moment = datetime.fromtimestamp(int(time.time() if at is None else at), UTC)
    signature = Webhook(secret.encode()).sign(message_id, moment, body.decode())
    return JSON | {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": signature,
    }


def ask(url: str, body: bytes, headers: dict[str, str], **more: str) -> httpx.Response:
    return httpx.post(url, content=body, headers=headers | more, timeout=90)
