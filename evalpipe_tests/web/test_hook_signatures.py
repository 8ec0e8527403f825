"""Whose signature is believed, in both forms."""

import base64
import time

import pytest
from pydantic import SecretStr

from evalpipe.errors import SettingsError
from evalpipe.web.hook_signatures import keys_of, signed
from evalpipe_tests.web.gated import SECRET, standard

KEYS = keys_of({"other": SecretStr("another"), "ci": SecretStr(SECRET)})


def raw(headers: dict[str, str]) -> dict[bytes, bytes]:
    return {name.encode(): value.encode() for name, value in headers.items()}


def test_the_example_in_githubs_documentation_verifies():
    """docs.github.com, "Validating webhook deliveries": the secret, the payload and the signature that follows."""
    keys = keys_of({"github": SecretStr("It's a Secret to Everybody")})
    mac = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    found = signed({b"x-hub-signature-256": b"sha256=" + mac.encode()}, b"Hello, World!", keys)
    assert found == ("github", mac, None, None)


@pytest.mark.parametrize("secret", [SECRET, "whsec_" + base64.b64encode(b"k" * 32).decode()])
def test_what_the_library_of_standard_webhooks_signs_verifies(secret: str):
    from standardwebhooks.webhooks import Webhook

    at = int(time.time())
    headers = raw(standard(b'{"a":1}', "msg_1", at, SECRET))
    keys = KEYS
    if secret != SECRET:
        from datetime import UTC, datetime

        keys = keys_of({"ci": SecretStr(secret)})
        sign = Webhook(secret).sign("msg_1", datetime.fromtimestamp(at, UTC), '{"a":1}')
        headers[b"webhook-signature"] = b"v1a,notours v1,AAAA " + sign.encode()
    found = signed(headers, b'{"a":1}', keys)
    assert found is not None
    assert (found.by, found.sent_at, found.message_id) == ("ci", at, "msg_1")


@pytest.mark.parametrize(
    "changed",
    [
        {b"webhook-id": b"msg_2"},
        {b"webhook-timestamp": b"1"},
        {b"webhook-timestamp": b"\xb2"},
        {b"webhook-signature": b"v1,"},
        {b"webhook-signature": b"v1"},
        {b"webhook-signature": b"\xff\xfe"},
        {b"webhook-id": b""},
    ],
)
def test_nothing_that_was_signed_may_change(changed: dict[bytes, bytes]):
    assert signed(raw(standard(b"{}", "msg_1")) | changed, b"{}", KEYS) is None


@pytest.mark.parametrize("header", [b"", b"sha256=", b"sha256=zz", b"sha1=00", b"sha256=" + b"0" * 64, b"\xff"])
def test_what_is_no_signature_is_nobodys(header: bytes):
    assert signed({b"x-hub-signature-256": header}, b"{}", KEYS) is None


@pytest.mark.parametrize("secret", ["", "  ", "whsec_", "whsec_?"])
def test_a_secret_that_lets_anyone_in_is_refused(secret: str):
    with pytest.raises(SettingsError, match="ci"):
        keys_of({"ci": SecretStr(secret)})
