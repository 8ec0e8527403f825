import base64
from pathlib import Path

import pytest
from pydantic import SecretStr

from evalpipe.errors import SettingsError
from evalpipe.settings import IngestSettings
from evalpipe.web.tokens import is_authorised, require_safe_binding, token_digests

TOKENS = token_digests(IngestSettings(tokens=(SecretStr("key-1"), SecretStr("schlüssel:2"))))


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "header",
    [
        ("authorization", "Bearer key-1"),
        ("authorization", "bearer  key-1"),
        ("authorization", "Bearer%20key-1"),  # OTEL_EXPORTER_OTLP_HEADERS, not decoded by the exporter
        ("authorization", "Bearer schlüssel:2"),
        ("authorization", "Bearer%20schl%C3%BCssel%3A2"),
        ("authorization", basic("pk-lf-1:key-1")),  # the public and the secret key of Langfuse
        ("authorization", basic("anyone:schlüssel:2")),
        ("x-api-key", "key-1"),
    ],
)
def test_every_form_that_exporters_send_is_understood(header: tuple[str, str]):
    name, value = header
    assert is_authorised([("host", "x"), header], TOKENS)
    assert is_authorised([(name.encode(), value.encode())], TOKENS)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("authorization", "")],
        [("authorization", "Bearer")],
        [("authorization", "Bearer key-")],
        [("authorization", "Bearer key-12")],
        [("authorization", "Bearer key-1 key-1")],
        [("authorization", "key-1")],
        [("authorization", "Basic key-1")],
        [("authorization", "Basic \udcff")],
        [("authorization", basic("key-1"))],
        [("authorization", basic("key-1:other"))],
        [("x-api-key", "")],
        [(b"x-api-key", b"\xff\xfe")],
        [("cookie", "key-1")],
    ],
)
def test_anything_else_is_not(headers):
    assert not is_authorised(headers, TOKENS)


def test_one_right_header_among_wrong_ones_is_enough():
    assert is_authorised([("authorization", "Bearer no"), ("x-api-key", "key-1")], TOKENS)


def test_without_tokens_everyone_may_send():
    assert is_authorised([], token_digests(IngestSettings()))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_no_token(host: str):
    require_safe_binding(IngestSettings(host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "10.0.0.7", "evalpipe.example"])
def test_any_other_address_does(host: str):
    with pytest.raises(SettingsError, match="EVALPIPE_INGEST_TOKENS"):
        require_safe_binding(IngestSettings(host=host))
    require_safe_binding(IngestSettings(host=host, tokens=(SecretStr("key"),)))


def test_an_empty_token_would_let_anyone_in():
    with pytest.raises(SettingsError, match="empty token"):
        require_safe_binding(IngestSettings(host="0.0.0.0", tokens=(SecretStr("key"), SecretStr(" "))))


def test_certificate_and_key_belong_together_and_must_be_there(tmp_path: Path):
    there, missing = tmp_path / "there.pem", tmp_path / "missing.pem"
    there.write_text("no certificate")
    with pytest.raises(SettingsError, match="EVALPIPE_INGEST__TLS_KEY belong together"):
        require_safe_binding(IngestSettings(tls_certificate=there))
    for certificate, key in ((there, missing), (missing, there), (there, there)):
        with pytest.raises(SettingsError, match=r"EVALPIPE_INGEST__TLS_CERTIFICATE and .* cannot be used"):
            require_safe_binding(IngestSettings(tls_certificate=certificate, tls_key=key))
