"""Who may sit at a desk: one sign-in token a reviewer, of which only the hash is kept, in a file of the home.

Cookies, links and the door itself are in web/.
"""

import hashlib
import hmac
import json
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evalpipe.errors import InputError, StateError
from evalpipe.files import write_whole

_N_BYTES = 32  # 256 bits: nobody guesses one, so a plain hash of it is enough
_OWNER_ONLY = 0o600


def issue_token(path: Path, reviewer: str, now: datetime) -> str:
    """A new token for the reviewer, which ends the one before; shown this once. Raises InputError for no name."""
    if not reviewer.strip():
        raise InputError("a token is for a reviewer: give a name, as in reviewers.yaml")
    token = secrets.token_urlsafe(_N_BYTES)
    entry = {"sha256": _digest(token), "issued_at": now.astimezone(UTC).isoformat()}
    _write(path, _read(path) | {reviewer: entry})
    return token


def revoke(path: Path, reviewer: str) -> bool:
    """End the reviewer's token; whether there was one."""
    entries = _read(path)
    if entries.pop(reviewer, None) is None:
        return False
    _write(path, entries)
    return True


def reviewer_of(path: Path, token: str) -> str | None:
    """Whose token it is; None for nobody's. Hashes are compared, each of them, so that the time taken tells nothing."""
    digest = _digest(token)
    owners = [name for name, entry in _read(path).items() if hmac.compare_digest(entry["sha256"], digest)]
    return owners[0] if owners else None


def has_tokens(path: Path) -> bool:
    """Whether anybody has one."""
    return bool(_read(path))


def invited(path: Path) -> set[str]:
    """Who has one."""
    return set(_read(path))


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        entries = json.loads(path.read_bytes())
        if isinstance(entries, dict) and all(isinstance(entry["sha256"], str) for entry in entries.values()):
            return entries
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, KeyError):
        pass
    raise StateError(f"{path} holds no review tokens. Restore it, or delete it and invite the reviewers again.")


def _write(path: Path, entries: dict[str, dict[str, Any]]) -> None:
    write_whole(path, json.dumps(entries, indent=2, ensure_ascii=False, sort_keys=True) + "\n", mode=_OWNER_ONLY)
