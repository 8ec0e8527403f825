"""What separates the failures of an issue from its other examples: the evidence, for people and for the search.

The predicates come from bank.py; combining them into a rule is in propose.py and optimise.py. Everything here sees
the labels, so inside a fold it is asked with the rows of that fold only.
"""

from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evalpipe.evaluators.rules import explain_rule
from evalpipe.evaluators.words import Ints
from evalpipe.generation.bank import KINDS, Bank

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

_PER_KIND = {"tool": 80, "number": 80}  # predicates handed to the search: those that show structure, nearly all
_PER_FIELD = 40  # of each text field; 60 found nothing more
_MAX_LISTED = 20  # what a person reads
_MAX_EXAMPLES = 5
_MAX_Q = 0.1  # of the patterns listed at most about a tenth may be chance


class Counts(NamedTuple):
    """Per predicate, the weight of the failures and of the others that have it; and of all."""

    positive: Floats
    negative: Floats
    n_positive: float
    n_negative: float


def count(bank: Bank, rows: Ints, is_failure: Bools, weight: Floats) -> Counts:
    """What each predicate holds of, among `rows`."""
    chosen = np.zeros(bank.n_examples)
    chosen[rows] = weight[rows]
    positive, negative = chosen * is_failure, chosen * ~is_failure
    return Counts(bank.presence @ positive, bank.presence @ negative, float(positive.sum()), float(negative.sum()))


def log_odds(counts: Counts) -> Floats:
    """Log-odds of the predicate in failures over the others, with Jeffreys' prior of half an example each way."""
    return (
        np.log(counts.positive + 0.5)
        - np.log(counts.n_positive - counts.positive + 0.5)
        - np.log(counts.negative + 0.5)
        + np.log(counts.n_negative - counts.negative + 0.5)
    )


def information(counts: Counts) -> Floats:
    """Mutual information of predicate and label, in bits."""
    total = counts.n_positive + counts.n_negative
    cells = [
        (counts.positive, counts.n_positive),
        (counts.negative, counts.n_negative),
    ]
    n_with = counts.positive + counts.negative
    bits = np.zeros_like(n_with)
    with np.errstate(divide="ignore", invalid="ignore"):
        for inside, n_class in cells:
            for joint, marginal in ((inside, n_with), (n_class - inside, total - n_with)):
                term = joint / total * np.log2(joint * total / (marginal * n_class))
                bits += np.where(joint > 0, term, 0.0)
    return bits


def strongest(bank: Bank, rows: Ints, is_failure: Bools, weight: Floats) -> Ints:
    """The predicates of each kind that tell most of the label among `rows`; one for each set of rows they hold of.

    In order of kind, then of what they tell, so that equal ones are met from the simplest.
    """
    tells = information(count(bank, rows, is_failure, weight))
    seen: set[bytes] = set()
    chosen: list[int] = []
    restricted = bank.presence[:, rows].tocsr()
    for kind, name in enumerate(KINDS):
        of_kind = np.flatnonzero(bank.kind == kind)
        wanted = _PER_KIND.get(name, _PER_FIELD)
        for i in of_kind[np.argsort(-np.round(tells[of_kind], 12), kind="stable")].tolist():
            columns = restricted.indices[restricted.indptr[i] : restricted.indptr[i + 1]]
            if (signature := columns.tobytes()) in seen or not 0 < len(columns) < len(rows):
                continue
            seen.add(signature)
            chosen.append(i)
            wanted -= 1
            if not wanted:
                break
    return np.array(chosen, dtype=np.int64)


def pattern_table(bank: Bank, view: pl.DataFrame, is_failure: Bools) -> list[dict[str, Any]]:
    """The predicates that separate the failures best, in words, with their evidence; most telling first.

    support: examples that have it; tpr, fpr: its share among failures and among the others; log_odds; q: the share
    of such findings that chance would make (Benjamini-Hochberg over the whole bank, Fisher's exact test, one line
    for each set of examples); example_ids: failures to read (of a pattern that failures lack: others that have it).
    """
    from scipy.stats import false_discovery_control, hypergeom

    if not bank.predicates:
        return []
    rows = np.arange(bank.n_examples)
    counts = count(bank, rows, is_failure, np.ones(bank.n_examples))
    n_with = counts.positive + counts.negative
    n, n_positive = bank.n_examples, int(counts.n_positive)
    p = 2 * np.minimum(
        hypergeom.sf(counts.positive - 1, n, n_positive, n_with), hypergeom.cdf(counts.positive, n, n_positive, n_with)
    )
    q = false_discovery_control(np.clip(p, 0, 1))
    odds, tells = log_odds(counts), information(counts)
    order = np.lexsort((bank.kind, -np.round(tells, 12)))
    ids = view["trace_id"].to_list()
    table: list[dict[str, Any]] = []
    listed: set[tuple[str, str]] = set()
    for i in order[q[order] <= _MAX_Q].tolist():
        rule = bank.predicates[i]
        if rule["op"] == "number":
            # Asked both ways and at many values: the one that failures have more of, at its best, says it all.
            if odds[i] <= 0 or (rule["field"], rule["compare"]) in listed:
                continue
            listed.add((rule["field"], rule["compare"]))
        holds = bank.presence.indices[bank.presence.indptr[i] : bank.presence.indptr[i + 1]]
        shown = sorted(ids[row] for row in holds if is_failure[row] == (odds[i] > 0))
        table.append(
            {
                "predicate": explain_rule(bank.predicates[i]),
                "support": int(n_with[i]),
                "tpr": round(float(counts.positive[i]) / n_positive, 4),
                "fpr": round(float(counts.negative[i]) / (n - n_positive), 4),
                "log_odds": round(float(odds[i]), 4),
                "q": float(f"{q[i]:.3g}"),
                "example_ids": shown[:_MAX_EXAMPLES],
            }
        )
        if len(table) == _MAX_LISTED:
            break
    return table
