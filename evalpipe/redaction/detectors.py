r"""What an e-mail address, a phone number, a payment card and an API key look like; texts.py reads whole columns.

No find touches a letter or a digit: what stands beside it means the same when a placeholder is there.

A detector is patterns in the syntax of Rust's regex, which find candidates in linear time with the few characters on
both sides that decide, and a function that reads one candidate in Python.

Texts are often JSON inside JSON, as written: a candidate may follow an escape such as \n, whose letter is no part of
it, and what replaces it holds no character that JSON escapes.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

import phonenumbers

from evalpipe.settings import Detector


class Found(NamedTuple):
    """One find within a candidate, `candidate[start:end]`. Equal things have equal values, however written."""

    start: int
    end: int
    value: str
    quote: str = ""  # put round what replaces it: it was a bare number in JSON, where only a string can stand now


class Finder(NamedTuple):
    """A detector. `hint` is quick and matches wherever `pattern` does.

    `finds` reads a candidate without the ESCAPE at its start; what it finds comes in order and does not overlap.
    """

    hint: str
    pattern: str
    finds: Callable[[str], Iterator[Found]]


_ESCAPE = r"\\+(?:u[0-9A-Fa-f]{4}|[bfnrt])"  # of JSON, at any depth of JSON in JSON
ESCAPE = re.compile(rf'(?:{_ESCAPE}|\\+(?!["\\]))?')
_LEFT = rf"(?:{_ESCAPE}|\\*[0-9A-Za-z_])?"  # what may stand left; `finds` says whether it may
_RIGHT = r"(?:\.[0-9][0-9A-Za-z_]*|-[0-9]|[0-9A-Za-z_])?"


def _emails(candidate: str) -> Iterator[Found]:
    for match in _EMAIL.finditer(candidate):
        yield Found(*match.span(), match[0].lower())


_LETTER = "0-9A-Za-z\u00c0-\u024f"  # Latin letters only: in Chinese, an address has no space before it
_HOST = rf"(?:[{_LETTER}](?:[{_LETTER}-]{{0,61}}[{_LETTER}])?\.)+[A-Za-z]{{2,24}}(?![{_LETTER}])"
_EMAIL = re.compile(  # logo@2x.png is a file
    rf"(?<![{_LETTER}])[{_LETTER}][{_LETTER}._%+-]{{0,63}}@(?!\d+x\.){_HOST}"
)


def _phones(candidate: str) -> Iterator[Found]:
    """Numbers that are valid by libphonenumber: of any country after a +, of North America as written there."""
    at = 0
    while match := _PHONE.search(candidate, at):
        at = match.start() + 1
        # What follows a number may be digits too: the longest run of groups that is a number is taken.
        for group in reversed(list(re.finditer("[0-9]+", match[0]))):
            end = match.start() + group.end()
            if _PHONE_END.match(candidate, end) and (number := _e164(candidate[match.start() : end])):
                at = end
                yield Found(match.start(), end, number)
                break


_INTERNATIONAL = r"\+[0-9(][0-9 ()./-]{6,%s}"  # at most 15 digits (E.164), with blanks and brackets
_NORTH_AMERICAN = (  # not with blanks alone: three figures of a table look the same
    r"(?:1[ .-]?)?(?:\([2-9][0-9]{2}\)[ .-]?[2-9][0-9]{2}[ .-][0-9]{4}"
    r"|[2-9][0-9]{2}[.-][2-9][0-9]{2}[ .-][0-9]{4}|[2-9][0-9]{2} [2-9][0-9]{2}[.-][0-9]{4})"
)
_PHONE = re.compile(rf"(?<![0-9A-Za-z_]){_INTERNATIONAL % 30}|(?<![0-9A-Za-z_.+-]){_NORTH_AMERICAN}(?![.-][0-9])")
_PHONE_END = re.compile("(?:(?:x|ext)[0-9]{1,6})?(?![0-9A-Za-z_]|[.-][0-9])")


def _e164(text: str) -> str | None:
    """A valid number in its one spelling, +14155552671."""
    try:
        number = phonenumbers.parse(text, "US")
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _cards(candidate: str) -> Iterator[Found]:
    if (match := _CARD.fullmatch(candidate)) and is_card(digits := re.sub("[ -]", "", match["value"])):
        yield Found(*match.span("number"), digits, quote=match["quote"] or "")


def is_card(digits: str) -> bool:
    """Whether an issuer gives out numbers that begin so and are so long, and the check digit (Luhn) is right."""
    if not any(len(digits) in lengths and re.match(prefix, digits) for prefix, lengths in _ISSUERS):
        return False
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(doubled) + sum(map(int, digits[-1::-2]))) % 10 == 0


_ISSUERS = (
    ("4", (13, 16, 19)),  # Visa
    ("5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720", (16,)),  # Mastercard
    ("3[47]", (15,)),  # American Express
    ("6011|64[4-9]|65", (16, 19)),  # Discover
    ("30[0-5]|36|3[89]", (14, 16)),  # Diners Club
    ("35(?:2[89]|[3-8])", (16,)),  # JCB
    ("62", (16, 17, 18, 19)),  # UnionPay
    ("5018|5020|5038|5893|6304|6759|676[1-3]", (16, 19)),  # Maestro
)
"""First digits and lengths in use. Source: ISO/IEC 7812 as the card networks publish their ranges."""

_DIGITS = (  # no card begins with 1, nanoseconds do
    "(?:[2-6][0-9]{3}(?:-[0-9]{4}){3}(?:-[0-9]{3})?|[2-6][0-9]{3}(?: [0-9]{4}){3}(?: [0-9]{3})?"
    "|3[0-9]{3}-[0-9]{6}-[0-9]{4,5}|3[0-9]{3} [0-9]{6} [0-9]{4,5}|[2-6][0-9]{12,})"
)
_EDGE = r"(?-u:\b)"
_SPAN_OR_TRACE_ID = r"""(?i:span|trace)_?(?i:id)[\\"']*[ \t]*[:=][ \t]*[\\"']*"""  # hex, which may be digits alone
_KEY_END = r'[0-9A-Za-z_]\\*"[ \t]*:[ \t]*'  # of JSON in JSON: what follows is a bare number
_CARD = re.compile(
    r'(?:[0-9A-Za-z_](?P<quote>\\*")[ \t]*:[ \t]*)?'
    rf"(?P<number>(?P<value>{_DIGITS})(?:\.0)?)"
)


def _api_keys(candidate: str) -> Iterator[Found]:
    for pattern in (_PRIVATE_KEY_BLOCK, _PREFIXED, _NAMED):
        match = pattern.fullmatch(candidate)
        if match and (pattern is _PRIVATE_KEY_BLOCK or _looks_random(match["value"])):
            value = match["value"].rstrip("." if pattern is _NAMED else "")
            yield Found(match.start("value"), match.start("value") + len(value), value)
            return


def _looks_random(text: str) -> bool:
    """A dozen letters and digits on end: `sk-text-repr-fallback` and `settings.api_key` are words, not keys."""
    runs = re.findall("[0-9A-Za-z]{12,}", text)
    return any(re.search("[0-9]", run) and re.search("[A-Za-z]", run) for run in runs)


_KEY_PREFIXES = (
    "sk-",  # OpenAI, Anthropic (sk-ant-), OpenRouter, Langfuse
    "(?:sk|rk)_(?:live|test)_",  # Stripe
    "whsec_",
    "AKIA|ASIA",  # Amazon
    "gh[opsru]_|github_pat_",  # GitHub
    "glpat-",  # GitLab
    "AIza",  # Google
    "xox[abeoprs]-|xapp-",  # Slack
    "hf_",  # Hugging Face
    "gsk_",  # Groq
    "xai-",
    "npm_",
    "pypi-",
)
_PREFIXED_KEY = rf"(?:{'|'.join(_KEY_PREFIXES)})[0-9A-Za-z_-]{{16,}}"
_JWT = r"eyJ[0-9A-Za-z_-]{8,}\.eyJ[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]*"
_KEY_NAME = (
    r"(?:(?i:bearer|basic)[ \t]+"
    r"|(?i:(?:api|auth|access|refresh|private|secret)[_-]?(?:access[_-]?)?(?:key|token)|client[_-]?secret)"
    r"""\\*["']?[ \t]*[:=][ \t]*(?:\\*["'])?(?:(?i:bearer|basic)[ \t]+)?)"""
)
_NAMED_VALUE = r"(?:[0-9A-Za-z._~+/=-]|\\+/){12,}"
_BLOCK_EDGE = "[0-9A-Z ]*PRIVATE KEY[A-Z ]*-----"
_BLOCK = (  # a block that was cut off ends with its last line of base64
    rf"-----BEGIN {_BLOCK_EDGE}(?:(?:[^-]|-[^-])*-----END {_BLOCK_EDGE}[0-9A-Za-z_]*|(?:[0-9A-Za-z+/=\s]|\\+[nr])*)"
)
_PRIVATE_KEY_BLOCK = re.compile(f"(?P<value>{_BLOCK})")
_PREFIXED = re.compile(f"(?P<value>{_PREFIXED_KEY}|{_JWT})")
_NAMED = re.compile(f"{_KEY_NAME}(?P<value>{_NAMED_VALUE})")


FINDERS: dict[Detector, Finder] = {
    # In this order: an address in a URL's password, or digits in a key, belong to the longer thing.
    "api_key": Finder(
        hint=rf"{'|'.join(_KEY_PREFIXES)}|eyJ|PRIVATE KEY|(?i:key|token|secret)[\\\"' \t]*[:=]|(?i:bearer|basic)[ \t]",
        pattern=rf"{_BLOCK}|{_KEY_NAME}{_NAMED_VALUE}|{_LEFT}(?:{_PREFIXED_KEY}|{_JWT})",
        finds=_api_keys,
    ),
    "email": Finder(
        hint=f"@[{_LETTER}]",
        pattern=rf"\\*[{_LETTER}._%+-]+(?:@[{_LETTER}._%+-]+)+",
        finds=_emails,
    ),
    "card": Finder(
        hint=rf"(?:{_EDGE}|{_ESCAPE})[2-6][0-9]{{3}}(?:[0-9]{{9}}|[ -][0-9]{{4}}[ -][0-9]{{4}}|[ -][0-9]{{6}}[ -])",
        pattern=rf"(?:{_ESCAPE}|(?:{_SPAN_OR_TRACE_ID}|{_KEY_END}|[+-]|[0-9]\.|\\+)?{_EDGE}){_DIGITS}{_RIGHT}",
        finds=_cards,
    ),
    "phone": Finder(
        hint=r"\+[0-9(][0-9 ()./-]{6}|[0-9]\)?[ .-]?[2-9][0-9]{2}[ .-][0-9]{4}",
        pattern=rf"(?:[.+-]|{_LEFT})(?:{_INTERNATIONAL % ''}|{_NORTH_AMERICAN})(?:[.-][0-9]|[0-9A-Za-z_]*)",
        finds=_phones,
    ),
}
