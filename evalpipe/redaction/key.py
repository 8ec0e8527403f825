"""The key of the placeholders: made once for a home, and kept beside its tables, never in them."""

import os
import secrets
from pathlib import Path

from evalpipe.errors import StateError

N_BYTES = 32


def redaction_key(path: Path) -> bytes:
    """The key in `path`, made on first use: whole or not at all, readable by its owner alone.

    Processes that come at once get the same key. Raises StateError when the file is not a key: a new one would give
    every value another placeholder.
    """
    if not path.exists():
        _make(path)
    key = path.read_bytes()
    if len(key) != N_BYTES:
        raise StateError(f"{path} holds {len(key)} bytes, a redaction key has {N_BYTES}; restore it from a backup")
    return key


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(N_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(beside)  # unlike a rename, it leaves the key of whoever was first
        except FileExistsError:
            return
    finally:
        beside.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
