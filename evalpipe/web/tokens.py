"""Who may send: bearer tokens in the forms that exporters send them, and on which addresses none is needed."""

import base64
import hashlib
import hmac
import ssl
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import unquote

from evalpipe.errors import SettingsError
from evalpipe.settings import IngestSettings


def token_digests(settings: IngestSettings) -> tuple[bytes, ...]:
    """The tokens as `is_authorised` compares them; empty when none is needed."""
    return tuple(_digest(token.get_secret_value()) for token in settings.tokens)


def is_authorised(headers: Iterable[tuple[str | bytes, str | bytes]], digests: Sequence[bytes]) -> bool:
    """Whether HTTP headers or gRPC metadata (lower-case names) bring one of the tokens.

    Digests are compared, each with every token, so that the time taken tells neither a length nor a prefix.
    """
    if not digests:
        return True
    presented = [_digest(token) for token in _presented(headers)]
    return sum(hmac.compare_digest(mine, theirs) for mine in presented for theirs in digests) > 0


def require_safe_binding(settings: IngestSettings) -> None:
    """Raises SettingsError when anyone on the network could write, or when TLS could not start."""
    if any(not token.get_secret_value().strip() for token in settings.tokens):
        raise SettingsError("EVALPIPE_INGEST__TOKENS holds an empty token, which would let anyone in. Remove it.")
    if not settings.tokens and not is_loopback(settings.host):
        raise SettingsError(
            f"EVALPIPE_INGEST__HOST is {settings.host!r} and no token is set, so anyone who reaches this address "
            "could write. Set EVALPIPE_INGEST_TOKENS to one or more secrets, separated by commas, "
            "or EVALPIPE_INGEST__HOST to 127.0.0.1."
        )
    _require_tls(settings.tls_certificate, settings.tls_key)


def is_loopback(host: str) -> bool:
    """Whether this name or address is of this machine alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _presented(headers: Iterable[tuple[str | bytes, str | bytes]]) -> Iterator[str]:
    for raw_name, raw_value in headers:
        name, value = _text(raw_name), _text(raw_value)
        if name == "x-api-key":
            yield value
        elif name == "authorization":
            # Values of OTEL_EXPORTER_OTLP_HEADERS are percent-encoded, and some exporters send them so.
            scheme, _, secret = (value if " " in value else unquote(value)).partition(" ")
            if scheme.lower() == "bearer":
                yield secret.strip()
            elif scheme.lower() == "basic":
                yield _password(secret)


def _password(secret: str) -> str:
    try:
        return base64.b64decode(secret, validate=True).decode().partition(":")[2]
    except ValueError:  # It is no base64, or no text.
        return ""


def _require_tls(certificate: Path | None, key: Path | None) -> None:
    names = "EVALPIPE_INGEST__TLS_CERTIFICATE and EVALPIPE_INGEST__TLS_KEY"
    if (certificate is None) != (key is None):
        raise SettingsError(f"{names} belong together. Set both or neither.")
    if certificate is None:
        return
    try:
        # An empty password: without one, a key that needs it would be asked for on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except OSError as error:
        raise SettingsError(
            f"{names} cannot be used: {error}. Give {certificate} and {key} as PEM files that belong together."
        ) from error


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
