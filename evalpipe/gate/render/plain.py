"""Text of strangers made harmless, for each form that a decision is shown in."""

import re

MAX_CHARS = 300  # of an explanation in a summary
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, section 2.2
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")  # and what turns the direction of writing
_MARKDOWN = re.compile(r"[\\`*_\[\]<>#|~&$]")
_BECOMES_LINK = re.compile(r"@|(?<=:)(?=//)|(?<=www)(?=\.)", re.IGNORECASE)


def short(text: str | None) -> str:
    text = text or "no explanation was given"
    return text if len(text) <= MAX_CHARS else text[: MAX_CHARS - 1] + "…"


def plain_xml(text: str) -> str:
    """Text that XML 1.0 can hold; ElementTree escapes the rest."""
    return _NOT_XML.sub("\ufffd", text)


def plain_markdown(text: str) -> str:
    """Text that stays text: no markup, no HTML, no table cell, no link, and no mention of a person."""
    one_line = " ".join(_CONTROL.sub(" ", text).split())
    escaped = _MARKDOWN.sub(lambda found: f"&#{ord(found.group())};", one_line)
    # Links and mentions are found after entities are read, so an invisible word joiner parts them.
    return _BECOMES_LINK.sub(lambda found: found.group() + "\u2060", escaped)


def plain_terminal(text: str) -> str:
    return " ".join(_CONTROL.sub(" ", text).split())
