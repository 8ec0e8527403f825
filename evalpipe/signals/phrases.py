"""Phrases that tell something in any language, and the passages they stand in. The phrases are data, in phrases/*.yaml.

What a phrase counts for is decided in requests.py, answers.py, claims.py and questions.py.
"""

import re
from functools import cache
from pathlib import Path
from typing import Any, Literal

import polars as pl

AskedKind = Literal[
    "asked/order", "asked/account", "asked/email", "asked/phone", "asked/name", "asked/date", "asked/address"
]
"""What an answer may ask a user for."""
PhraseKind = Literal["hedging", "refusal", "complaint", "translation", "assent", "asking", "checking"] | AskedKind

UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}"
"""Scripts in which a space does not end a word, as part of a character class."""
TOKEN = rf"[{UNSPACED}]|[\w&&[^{UNSPACED}]]+"
"""A word; of a script without spaces a single sign."""
MAX_PASSAGE = 200
"""Characters of a passage that is shown as evidence."""
MAX_CONTENT = 50_000
"""Characters searched in one message: a pasted book says nothing of the conversation."""

_MAX_EVIDENCE = 10  # passages of one signal in one trace: more is no help to a reader
_BREAK = r"[^\w'%]+"
_GAP = "  "  # between words when phrases are looked for: two spaces, so that neighbouring phrases each have one
_CUT = "\x1e"  # record separator: no text holds one that matters
_SENTENCE_END = r"([.!?…]+[\"'”’»)\]]*)\s|([。！？]+[」』”]*)|\n"  # a point inside a number or an address ends nothing
_CLAUSE_END = r"([,;:、，；：])\s?"


def phrase_frame(messages: pl.DataFrame, *kinds: PhraseKind) -> pl.DataFrame:
    """The sentences of messages (trace_id, step, content) that hold phrases of `kinds`, in order.

    Columns: kind; trace_id; step; text, the sentence as it stands there, of at most MAX_PASSAGE characters; phrases,
    those found in it, as the list spells them.
    """
    searched = messages.select("trace_id", "step", pl.col("content").str.head(MAX_CONTENT)).with_columns(
        comparable=comparable(pl.col("content"))
    )
    return pl.concat([_sentences_with(searched, kind) for kind in kinds])


def comparable(text: pl.Expr) -> pl.Expr:
    """`text` as phrases are looked for in it: lower case, straight apostrophes, two spaces between and around words."""
    lower = text.str.to_lowercase().str.replace_all("’", "'", literal=True)
    return pl.format(" {} ", lower.str.replace_all(_BREAK, _GAP))


def holds_phrase(comparable_text: pl.Expr, kind: PhraseKind) -> pl.Expr:
    """Whether a text, as `comparable` makes it, holds a phrase of that kind."""
    return comparable_text.str.contains_any(list(phrases(kind)))


def begins_with_phrase(comparable_text: pl.Expr, kind: PhraseKind) -> pl.Expr:
    """Whether a text, as `comparable` makes it, begins with a phrase of that kind."""
    return comparable_text.str.contains(rf"^\s*(?:{'|'.join(re.escape(phrase.strip()) for phrase in phrases(kind))})\s")


def passage(text: pl.Expr) -> pl.Expr:
    """The beginning of `text`, as it stands there, short enough to be shown."""
    return text.str.strip_chars().str.head(MAX_PASSAGE)


def sentences(text: pl.Expr) -> pl.Expr:
    """`text` as a list of its sentences, each as it stands there; one that is too long to be shown ends at a comma."""
    whole = text.str.replace_all(_SENTENCE_END, f"${{1}}${{2}}{_CUT}").str.split(_CUT)
    is_long = pl.element().str.len_chars() > MAX_PASSAGE
    clauses = pl.when(is_long).then(pl.element().str.replace_all(_CLAUSE_END, f"${{1}}{_CUT}")).otherwise(pl.element())
    shown = whole.list.eval(clauses).list.join(_CUT).str.split(_CUT).list.eval(passage(pl.element()))
    return shown.list.eval(pl.element().filter(pl.element() != ""))


def evidence_lists(passages: pl.DataFrame) -> pl.DataFrame:
    """trace_id and `evidence`, the different passages (trace_id, signal, step, text) of each trace in their order."""
    fields = [pl.col("signal"), pl.col("step").cast(pl.Int32), pl.col("text")]
    distinct = passages.select("trace_id", *fields).unique(maintain_order=True).sort("step", maintain_order=True)
    return (
        distinct.filter(pl.int_range(pl.len()).over("trace_id", "signal") < _MAX_EVIDENCE)
        .group_by("trace_id", maintain_order=True)
        .agg(evidence=pl.struct("signal", "step", "text"))
    )


@cache
def phrases(kind: PhraseKind) -> tuple[str, ...]:
    """The phrases of phrases/<kind>.yaml in the form of `comparable`, longest first: the first that fits is found.

    Those of spaced scripts stand between spaces, so that whole words match.
    """
    words = pl.Series([phrase for language in phrase_data(kind).values() for phrase in language]).unique()
    is_unspaced = words.str.contains(f"[{UNSPACED}]")
    gapped = words.str.replace_all(_BREAK, _GAP)
    matched = pl.select(pl.when(is_unspaced).then(gapped).otherwise(pl.format(" {} ", gapped))).to_series()
    return tuple(sorted(matched, key=lambda phrase: (-len(phrase), phrase)))


@cache
def phrase_data(name: str) -> dict[str, Any]:
    """What phrases/<name>.yaml says, by language (ISO 639-1) where the file does not say otherwise."""
    import yaml

    path = Path(__file__).parent / "phrases" / f"{name}.yaml"
    # The same parser in C, where PyYAML has it: in Python all these files take 0.15 s, a sixth of a small gate.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(path.read_text(encoding="utf-8"), Loader=loader)


def _sentences_with(searched: pl.DataFrame, kind: PhraseKind) -> pl.DataFrame:
    found = comparable(pl.col("text")).str.extract_many(list(phrases(kind)), leftmost=True)
    spelled = pl.element().str.strip_chars().str.replace_all(_GAP, " ", literal=True)
    return (
        searched.filter(holds_phrase(pl.col("comparable"), kind))
        .select("trace_id", "step", text=sentences(pl.col("content")))
        .explode("text", empty_as_null=False, keep_nulls=False)
        .select(pl.lit(kind).alias("kind"), "trace_id", "step", "text", phrases=found.list.eval(spelled))
        .filter(pl.col("phrases").list.len() > 0)
    )
