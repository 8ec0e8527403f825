"""Identifiers and content hashes: the one place that says how a thing gets its name.

Equal content has an equal id everywhere, so a replay meets its own earlier rows instead of making new ones.
"""

import hashlib
import json
import re
from typing import Any, NewType

IssueId = NewType("IssueId", str)
EvaluatorId = NewType("EvaluatorId", str)
GateId = NewType("GateId", str)

_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no white space: equal values, equal bytes. Raises TypeError on what JSON has not."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def content_hash(value: Any, n_hex: int = 16) -> str:
    """The first `n_hex` hex digits of the SHA-256 of `value` as canonical JSON (bytes are hashed as they are)."""
    data = value if isinstance(value, bytes) else canonical_json(value).encode()
    return hashlib.sha256(data).hexdigest()[:n_hex]


def fingerprint(*parts: Any) -> int:
    """What something was made from, as a non-negative 62-bit integer.

    It fits the signed 64-bit version of a Delta application transaction, where tables remember their inputs.
    """
    return int(content_hash(list(parts)), 16) >> 2


def normalised_failure_mode(text: str) -> str:
    """A failure mode as it is compared: case, white space and the usual separators do not make a new mode."""
    return re.sub(r"[\W_]+", " ", text.casefold()).strip()


def issue_id(failure_mode: str) -> IssueId:
    """The id of the issue born from a failure mode in an expert's words."""
    return IssueId("iss_" + content_hash(normalised_failure_mode(failure_mode), 10))


def evaluator_id(issue: str) -> EvaluatorId:
    """Each issue has one evaluator, which has versions: `iss_x` is checked by `ev_x`."""
    return EvaluatorId("ev_" + issue.removeprefix("iss_"))


def is_safe_name(text: str) -> bool:
    """Whether `text` may be a file or folder name: ids that came from outside are checked before they meet a path."""
    return _SAFE_NAME.fullmatch(text) is not None
