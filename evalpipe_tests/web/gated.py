"""A home with one evaluator that blocks, and requests to its webhook as CI would sign them."""

import hashlib
import hmac
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import polars as pl

from evalpipe.home import Home
from evalpipe.settings import Settings
from evalpipe.tables import EVALUATOR_QUALITY, EVALUATORS, ISSUES
from evalpipe_tests.gate.made import NOW, flags, issues, suite

SECRET = "a secret of the tests"
JSON = {"content-type": "application/json"}
GOOD = [{"id": f"g{i}", "input": "q", "output": "all fine"} for i in range(5)]
BAD = [{"id": f"b{i}", "input": "q", "output": "as an AI I cannot"} for i in range(5)]


def gated_home(root: Path) -> Home:
    """An answer that says `as an AI` fails; its evaluator found all 20 annotated failures and flagged nothing else."""
    home = Home(Settings(home=root))
    artifact = flags(1, "as an AI")
    rows = suite(artifact).with_columns(
        status=pl.lit("active"),
        n_positives=pl.lit(20),
        n_negatives=pl.lit(80),
        labels_fingerprint=pl.lit(1),
        created_at=pl.lit(NOW),
        reason=pl.lit("made for the tests"),
    )
    measured = rows.select(
        *("evaluator_id", "version", "issue_id", "kind", "mcc", "mcc_lower", "tp", "fn", "labels_fingerprint"),
        measured_at=pl.lit(NOW),
        split=pl.lit("held_out"),
        fp=pl.lit(0),
        tn=pl.lit(80),
        n_faults=pl.lit(0),
        mcc_upper=pl.lit(1.0),
        confidence=pl.lit(0.9),
        n_sessions=pl.lit(100),
    )
    home.lake.append_new(EVALUATORS, EVALUATORS.conform(rows))
    home.lake.append_new(EVALUATOR_QUALITY, EVALUATOR_QUALITY.conform(measured))
    home.lake.append_new(ISSUES, issues(rows))
    return home


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
