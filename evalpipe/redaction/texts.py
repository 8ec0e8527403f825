"""Texts in, texts out with placeholders such as [email:1f3a9c02]; Python reads distinct candidates only.

A placeholder is an HMAC of what it replaces: the same value has the same one everywhere, and nobody without the key
can try out values. Replacing twice changes nothing, and what was JSON stays JSON.
"""

import hmac
import json
import re
from collections.abc import Collection

import polars as pl

from evalpipe.redaction.detectors import ESCAPE, FINDERS, Finder, is_card
from evalpipe.settings import Detector

N_HEX = 8  # 32 bits: among 10,000 values two share a placeholder with a chance of 1 %


def redacted_text(text: str, detectors: Collection[Detector], key: bytes) -> str:
    """`text` with placeholders."""
    return redacted_texts(pl.Series([text], dtype=pl.String), detectors, key)[0]


def redacted_bytes(content: bytes, detectors: Collection[Detector], key: bytes) -> bytes:
    """Bytes that nobody could read, as Latin-1, which has a letter for each: what people write is ASCII in them too."""
    return redacted_text(content.decode("latin-1"), detectors, key).encode("latin-1")


def redacted_texts(texts: pl.Series, detectors: Collection[Detector], key: bytes) -> pl.Series:
    """`texts` (null stays null) with placeholders for what `detectors` find; without finds, the same series."""
    names: list[Detector] = [name for name in FINDERS if name in detectors]
    if not names:
        return texts
    is_hinted = texts.str.contains("|".join(f"(?:{FINDERS[name].hint})" for name in names))
    rows = is_hinted.fill_null(False).arg_true()
    if rows.is_empty():
        return texts
    hinted = texts.gather(rows)
    for name in names:
        if name == "card":
            hinted = _with_quoted_cards(hinted)
        hinted = _replaced(hinted, name, FINDERS[name], key)
    return texts.clone().scatter(rows, hinted)


def placeholder(name: Detector, value: str, key: bytes) -> str:
    """What stands for `value`, found by the detector `name`."""
    return f"[{name}:{hmac.digest(key, f'{name}:{value}'.encode(), 'sha256').hex()[:N_HEX]}]"


def _replaced(texts: pl.Series, name: Detector, finder: Finder, key: bytes) -> pl.Series:
    # The candidates are set between marks that nobody who lacks the key can have written, and cut out there.
    mark = f"\x00{hmac.digest(key, b'mark', 'sha256').hex()}\x00"
    rows = texts.str.contains(finder.hint).fill_null(False).arg_true()
    cut = texts.gather(rows).str.replace_all(f"({finder.pattern})", f"{mark}${{1}}{mark}").str.split(mark)
    candidates = cut.list.gather_every(2, 1).explode().drop_nulls().unique().to_list()
    read = {candidate: _read(candidate, name, finder, key) for candidate in candidates}
    changed = {candidate: text for candidate, text in read.items() if candidate != text}
    if not changed:
        return texts
    replaced = cut.list.eval(pl.element().replace(list(changed), list(changed.values()))).list.join("")
    return texts.clone().scatter(rows, replaced)


def _read(candidate: str, name: Detector, finder: Finder, key: bytes) -> str:
    escape = ESCAPE.match(candidate)
    before = escape[0] if escape else ""
    text = candidate.removeprefix(before)
    parts, at = [before], 0
    for find in finder.finds(text):
        parts += [text[at : find.start], find.quote, placeholder(name, find.value, key), find.quote]
        at = find.end
    return "".join([*parts, text[at:]])


_BARE_CARD = r"[2-6][0-9]{12,18}(?:\.0)?"
_STRING_OR_BARE_CARD = re.compile(rf'"(?:[^"\\]|\\.)*+"|(?<![0-9.eE+-]){_BARE_CARD}(?![0-9.eE])', re.DOTALL)


def _with_quoted_cards(texts: pl.Series) -> pl.Series:
    """JSON texts with every number in them that is a card as a string; in JSON in JSON the card detector sees to it."""
    is_likely = texts.str.contains(r"^\s*[\[{]") & texts.str.contains(rf"[\[,:]\s*{_BARE_CARD}\s*[\],}}]")
    rows = is_likely.fill_null(False).arg_true()
    return texts.clone().scatter(rows, [_quoted(text) for text in texts.gather(rows)]) if len(rows) else texts


def _quoted(text: str) -> str:
    try:
        json.loads(text)  # unlike orjson, it takes NaN and Infinity, which Python writes
    except (ValueError, RecursionError):
        return text
    return _STRING_OR_BARE_CARD.sub(
        lambda found: f'"{found[0]}"' if is_card(found[0].removesuffix(".0")) else found[0], text
    )
