"""What separates the failures of an issue from its other examples: the evidence, for people and for the search.

The predicates come from bank.py; combining them into a rule is in propose.py and optimise.py. Everything here sees
the labels, so inside a fold it is asked with the rows of that fold only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evalpipe.evaluators.rules import Rule, columns_asked, compile_rule
from evalpipe.evaluators.words import Ints
from evalpipe.generation.bank import KINDS, Bank, presence_of
from evalpipe.generation.findings import (
    Finding,
    calls_asked,
    family_of,
    findings,
    in_words,
    is_one_number,
    is_one_phrase,
)
from evalpipe.generation.groups import labelled_cases
from evalpipe.quality.intervals import mcc_of_cells

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

_PER_KIND = {"tool": 80, "number": 80}  # predicates handed to the search: those that show structure, nearly all
_PER_FIELD = 40  # of each text field; 60 found nothing more
_PRIOR_CASES = 4.0  # beside ten failures, enough that two which share a word prove little
_MAX_LISTED = 6  # of a family: what a person reads
_MAX_CANDIDATES = 500  # of which one line each is made
_MAX_BACKGROUND = 2_000  # traces: a share is known to a hundredth by then. Ids are random, so the first are a sample
_MUST_ADD = 0.8  # what is said of a call must tell a quarter more than the call alone
_ALIKE = 0.85  # Jaccard similarity from which two sets of traces are almost the same
_MAX_EXAMPLES = 5
_MAX_Q = 0.1  # of the patterns listed at most about a tenth may be chance


class Counts(NamedTuple):
    """Per predicate, the weight of the failures and of the others that have it; and of all."""

    positive: Floats
    negative: Floats
    n_positive: float
    n_negative: float


class Odds(NamedTuple):
    """Of each predicate: log-odds, and how many standard deviations they are from 0."""

    log_odds: Floats
    z: Floats


def count(bank: Bank, rows: Ints, is_failure: Bools, weight: Floats) -> Counts:
    """What each predicate holds of, among `rows`."""
    chosen = np.zeros(bank.n_examples)
    chosen[rows] = weight[rows]
    positive, negative = chosen * is_failure, chosen * ~is_failure
    return Counts(bank.presence @ positive, bank.presence @ negative, float(positive.sum()), float(negative.sum()))


def with_prior(counts: Counts, share: Floats) -> Counts:
    """As if _PRIOR_CASES more failures and as many others were known, of which `share` have the predicate.

    So what much of the traffic has needs more evidence than what is rare.
    """
    prior = _PRIOR_CASES * share
    return Counts(
        counts.positive + prior,
        counts.negative + prior,
        counts.n_positive + _PRIOR_CASES,
        counts.n_negative + _PRIOR_CASES,
    )


def informed_log_odds(counts: Counts, share: Floats) -> Odds:
    """Log-odds of the predicate in failures over the others, with an informative Dirichlet prior, and its z-score.

    The prior is that of `with_prior`. Source: Monroe, Colaresi and Quinn (2008), Fightin' Words, Political Analysis
    16(4), with cases for words; a case has the predicate or not, so that the variance keeps all four terms.
    """
    known = with_prior(counts, share)
    cells = (
        *(known.positive, known.n_positive - known.positive),
        *(known.negative, known.n_negative - known.negative),
    )
    odds = np.log(cells[0] / cells[1]) - np.log(cells[2] / cells[3])
    return Odds(odds, odds / np.sqrt(sum(1 / cell for cell in cells)))


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


def best_predicate(bank: Bank, rows: Ints, is_failure: Bools, weight: Floats) -> Rule:
    """The predicate, or its negation, that agrees best (MCC) with the labels of `rows`; never, where none does."""
    counts = count(bank, rows, is_failure, weight)
    tp, fp = counts.positive, counts.negative
    agreement = mcc_of_cells(np.stack([tp, fp, counts.n_negative - fp, counts.n_positive - tp], axis=1))
    if not np.isfinite(agreement).any():
        return {"op": "constant", "value": False}
    place = int(np.nanargmax(np.round(np.abs(agreement), 12)))
    rule = bank.predicates[place]
    return rule if agreement[place] > 0 else {"op": "not", "of": rule}


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


def pattern_table(
    bank: Bank,
    view: pl.DataFrame,
    is_failure: Bools,
    groups: Sequence[str] | None = None,
    *,
    background: pl.DataFrame | None = None,
) -> list[dict[str, Any]]:
    """What separates the failures best, in words and with its evidence: family by family, most telling first.

    Each line says something that failures have more often than the others; with `is_absent` it is that something is
    missing. One line a finding: what holds of almost the same traces, says part of the same phrase or cuts the same
    number elsewhere is counted in `n_alike`. rule: the line as a rule. support: traces that have it; tpr, fpr: its
    share among failures and among the others. The rest counts cases (`groups`; None: each trace is one), because the
    traces of a case repeat one another. log_odds, z: as in `informed_log_odds`, the prior being the share of
    `background` (view rows of any traffic; None: of all examples) that has it. q: the share of such findings that
    chance would make (Benjamini-Hochberg over all that was asked, Fisher's exact test, one question for each set of
    traces). example_ids: failures that have it, of different cases first.
    """
    found = findings(bank, view)
    if not found or is_failure.all() or not is_failure.any():
        return []
    presence = presence_of([one.examples for one in found], view.height)
    named = groups if groups is not None else [str(row) for row in range(view.height)]
    cases = _count_cases(presence, is_failure, named)
    q = _chance(presence, cases)
    shares = _share(cases.positive + cases.negative, cases.n_positive + cases.n_negative)
    z = informed_log_odds(cases, shares).z
    tells = information(with_prior(cases, shares))
    may_be_said = ((z > 0) | np.array([one.absence is not None for one in found])) & ~_is_roundabout(
        found, np.sign(z) * tells
    )
    chosen = np.flatnonzero((q <= _MAX_Q) & may_be_said)
    chosen = chosen[np.argsort(-np.round(tells[chosen], 9), kind="stable")][:_MAX_CANDIDATES]
    if background is not None and background.height:
        shares[chosen] = _shares_of(background, [found[i].rule for i in chosen.tolist()], shares[chosen])
    odds, tells = informed_log_odds(cases, shares), information(with_prior(cases, shares))
    ids = view["trace_id"].to_list()
    candidates: list[_Line] = []
    for i in chosen.tolist():
        has = np.zeros(view.height, bool)
        has[found[i].examples] = True
        candidates.append(_Line.of(found[i], has, *(float(of[i]) for of in (tells, odds.log_odds, odds.z, q))))
    return [line.as_row(ids, is_failure, named) for line in _distinct(candidates)]


def _count_cases(presence: Any, is_failure: Bools, groups: Sequence[str]) -> Counts:
    """As `count`, of cases: the failures of a group are one, its others another. A case has what half of it has."""
    from scipy.sparse import csr_matrix

    distinct, case, size = np.unique(labelled_cases(groups, is_failure), return_inverse=True, return_counts=True)
    member = csr_matrix((1 / size[case], (np.arange(len(case)), case)), shape=(len(case), len(distinct)))
    has = ((presence @ member) >= 0.5 - 1e-6).astype(np.float64)
    failed = distinct % 2
    return Counts(has @ failed, has @ (1 - failed), float(failed.sum()), float((1 - failed).sum()))


def _chance(presence: Any, cases: Counts) -> Floats:
    """The false discovery rate at which each predicate is listed; those with the same examples are asked once."""
    from scipy.stats import false_discovery_control, hypergeom

    starts, indices = presence.indptr, presence.indices.astype(np.int32)
    first: dict[bytes, int] = {}
    asked = np.array(
        [first.setdefault(indices[a:b].tobytes(), i) for i, (a, b) in enumerate(pairwise(starts.tolist()))]
    )
    once, place = np.unique(asked, return_inverse=True)
    positive, n_with = cases.positive[once], cases.positive[once] + cases.negative[once]
    n, n_positive = cases.n_positive + cases.n_negative, cases.n_positive
    tails = hypergeom.sf(positive - 1, n, n_positive, n_with), hypergeom.cdf(positive, n, n_positive, n_with)
    return false_discovery_control(np.clip(2 * np.minimum(*tails), 0, 1))[place]


def _is_roundabout(found: Sequence[Finding], tells: Floats) -> Bools:
    """Whether the mere call of a tool tells nearly as much as what is said of its calls.

    `tells` has the sign of the log-odds.
    """
    plain: dict[str | None, float] = {}
    for one, own in zip(found, tells.tolist(), strict=True):
        if one.rule["op"] == "tool" and not calls_asked(one.rule):
            plain[one.rule["name"]] = own
        elif one.rule["op"] == "number" and one.rule["field"] == "n_tool_errors" and one.rule["compare"] == ">=":
            plain.setdefault(None, own)  # of the thresholds the lowest: one failure
    return np.array(
        [
            any(own * plain[tool] > 0 and abs(plain[tool]) >= _MUST_ADD * abs(own) for tool in asked & plain.keys())
            for own, asked in zip(tells.tolist(), (calls_asked(one.rule) for one in found), strict=True)
        ]
    )


def _share(n_with: Floats, n: float) -> Floats:
    """A share that is neither none nor all: what was never seen may come."""
    return (n_with + 0.5) / (n + 1)


def _shares_of(background: pl.DataFrame, rules: Sequence[Rule], otherwise: Floats) -> Floats:
    """The share of the background that each rule holds of; `otherwise` where it lacks what the rule asks for."""
    rows = background.sort("trace_id").head(_MAX_BACKGROUND)
    answered = [i for i, rule in enumerate(rules) if columns_asked(rule) <= set(rows.columns)]
    if not answered:
        return otherwise
    n_with = rows.select(compile_rule(rules[i]).sum().alias(str(i)) for i in answered)
    shares = otherwise.copy()
    shares[answered] = _share(np.array(n_with.row(0), dtype=np.float64), rows.height)
    return shares


@dataclass
class _Line:
    """A line of the table: a rule that failures satisfy more often, the examples that do, and its evidence."""

    rule: Rule
    family: str
    is_absent: bool
    has: Bools
    bits: float  # what it tells of the label, the prior counted in
    log_odds: float
    z: float
    q: float
    n_alike: int = 0

    @classmethod
    def of(cls, finding: Finding, has: Bools, bits: float, log_odds: float, z: float, q: float) -> "_Line":
        """The finding, or that it is absent where failures have it less often."""
        if z > 0 or finding.absence is None:
            return cls(finding.rule, family_of(finding.rule), finding.is_absent, has, bits, log_odds, z, q)
        return cls(finding.absence, family_of(finding.rule), True, ~has, bits, -log_odds, -z, q)

    def says_as(self, other: "_Line") -> bool:
        """Whether two lines of a family are one finding."""
        n_both = int((self.has & other.has).sum())
        is_same_set = n_both >= _ALIKE * int((self.has | other.has).sum())
        is_same_phrase = self.is_absent == other.is_absent and is_one_phrase(self.rule, other.rule)
        return is_same_set or is_same_phrase or is_one_number(self.rule, other.rule)

    def as_row(self, ids: Sequence[str], is_failure: Bools, groups: Sequence[str]) -> dict[str, Any]:
        """The line as an artifact holds it."""
        of_failures = sorted((ids[row], groups[row]) for row in np.flatnonzero(self.has & is_failure).tolist())
        seen: set[str] = set()
        of_new_case = [(group in seen or bool(seen.add(group)), trace_id) for trace_id, group in of_failures]
        return {
            "predicate": in_words(self.rule),
            "family": self.family,
            "is_absent": self.is_absent,
            "rule": self.rule,
            "support": int(self.has.sum()),
            "tpr": round(float(self.has[is_failure].mean()), 4),
            "fpr": round(float(self.has[~is_failure].mean()), 4),
            "log_odds": round(self.log_odds, 4),
            "z": round(self.z, 4),
            "q": float(f"{self.q:.3g}"),
            "n_alike": self.n_alike,
            "example_ids": [trace_id for _, trace_id in sorted(of_new_case)][:_MAX_EXAMPLES],
        }


def _distinct(candidates: list[_Line]) -> list[_Line]:
    """One line for each finding, the strongest, by family; families in the order of their strongest."""
    listed: dict[str, list[_Line]] = {}
    # That something is there is easier to read than that something is missing.
    for line in sorted(candidates, key=lambda line: (-round(line.bits, 9), line.is_absent)):
        family = listed.setdefault(line.family, [])
        said = next((other for other in family if line.says_as(other)), None)
        if said is not None:
            said.n_alike += not is_one_number(line.rule, said.rule)
        elif line.z > 0 and len(family) < _MAX_LISTED:
            family.append(line)
    return [line for family in listed.values() for line in family]
