"""Who signed a webhook: HMAC-SHA256 in the two forms that CI systems send.

GitHub's: X-Hub-Signature-256: sha256=<hex> over the body. GitLab's, which is Standard Webhooks: webhook-id,
webhook-timestamp and webhook-signature: v1,<base64> over id.timestamp.body. Whether what was signed is too old, or was
seen before, is hook_desk.py's question.
Sources: docs.github.com, "Validating webhook deliveries"; github.com/standard-webhooks/standard-webhooks, spec.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from pydantic import SecretStr

from evalpipe.errors import SettingsError

_PREFIX = "whsec_"
_MAX_ID = 256  # characters; the specification's ids have some 30
_MAX_SIGNATURES = 16  # of one request: a sender signs with its old and its new key while they are changed
_MAX_TIMESTAMP = 12  # digits

Headers = Mapping[bytes, bytes]
"""By lower-case name."""


class Key(NamedTuple):
    """One secret, as each of the forms uses it."""

    name: str
    hub: bytes
    standard: bytes


class Signed(NamedTuple):
    """A request that one of the secrets has signed."""

    by: str  # the name of the secret
    seal: str  # hex; the same for the same signature, however it was written
    sent_at: int | None  # Unix seconds; None in GitHub's form, which signs the body alone
    message_id: str | None  # likewise


def keys_of(secrets: Mapping[str, SecretStr]) -> tuple[Key, ...]:
    """Raises SettingsError for a secret that would let anyone in, or is not what it says it is."""
    return tuple(_key(name, secret.get_secret_value()) for name, secret in secrets.items())


def is_signed(headers: Headers) -> bool:
    """Whether it claims a signature at all."""
    return b"webhook-signature" in headers or b"x-hub-signature-256" in headers


def signed(headers: Headers, body: bytes, keys: Iterable[Key]) -> Signed | None:
    """Who signed it; None when nobody known did. Every key is tried in full, so that the time taken tells nothing."""
    presented = headers.get(b"webhook-signature")
    if presented is None:
        return _hub(headers.get(b"x-hub-signature-256", b""), body, keys)
    return _standard(headers, presented, body, keys)


def _hub(presented: bytes, body: bytes, keys: Iterable[Key]) -> Signed | None:
    form, _, digits = presented.partition(b"=")
    try:
        claimed = [bytes.fromhex(digits.decode("ascii"))] if form == b"sha256" else []
    except ValueError:  # It is no hex.
        claimed = []
    found = None
    for key in keys:
        mac = hmac.digest(key.hub, body, "sha256")
        if _is_among(mac, claimed):
            found = Signed(key.name, mac.hex(), None, None)
    return found


def _standard(headers: Headers, presented: bytes, body: bytes, keys: Iterable[Key]) -> Signed | None:
    stamp = headers.get(b"webhook-timestamp", b"")
    message_id = headers.get(b"webhook-id", b"")
    if not (stamp.isdigit() and len(stamp) <= _MAX_TIMESTAMP and 0 < len(message_id) <= _MAX_ID):
        return None
    claimed: list[bytes] = []
    for part in presented.split(b" ")[:_MAX_SIGNATURES]:
        version, _, text = part.partition(b",")
        if version == b"v1":
            try:
                claimed.append(base64.b64decode(text, validate=True))
            except binascii.Error:
                continue  # another of the list may be good
    found = None
    for key in keys:
        mac = hmac.digest(key.standard, b"%b.%b.%b" % (message_id, stamp, body), "sha256")
        if _is_among(mac, claimed):
            found = Signed(key.name, mac.hex(), int(stamp), message_id.decode("latin-1"))
    return found


def _is_among(mac: bytes, claimed: Iterable[bytes]) -> bool:
    return sum(hmac.compare_digest(mac, one) for one in claimed) > 0


def _key(name: str, secret: str) -> Key:
    which = f"the gate's secret {name}"
    if not secret.strip():
        raise SettingsError(f"{which} is empty, which would let anyone in. Set EVALPIPE_GATE_SECRETS={name}=KEY")
    plain = secret.encode()
    if not secret.startswith(_PREFIX):
        return Key(name, plain, plain)
    encoded = secret.removeprefix(_PREFIX)
    try:
        standard = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except ValueError:
        standard = b""
    if not standard:
        raise SettingsError(f"{which} begins with {_PREFIX} and goes on with what is no base64. Copy it whole.")
    return Key(name, plain, standard)


def digest_of(content: bytes) -> str:
    """SHA-256, hex."""
    return hashlib.sha256(content).hexdigest()
