"""The review queue of a cycle: which traces, for which reviewer, in which order, and with what chance they were chosen.

Composed here of patterns.py (what a trace is worth), arms.py (which are taken) and dealing.py (who reads). What makes a
trace unusual is in signals/; what reviewers answer is in annotations.py.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import NamedTuple

import polars as pl

from evalpipe.review.queue.arms import UNSURENESS, by_impact, chance_arms, second_draw
from evalpipe.review.queue.confirming import ARM, WANTED, confirming_arm
from evalpipe.review.queue.cycles import cycles_before
from evalpipe.review.queue.dealing import Dealer
from evalpipe.review.queue.experience import HISTORY
from evalpipe.review.queue.patterns import pattern_frame, trace_facts
from evalpipe.review.queue.reviewers import Reviewer, require_distinct
from evalpipe.settings import ReviewSettings
from evalpipe.tables import CANDIDATES, TEXTS

N_DISPUTE_CYCLES = 2  # so long a tie between readers comes back: older ones are history
SecondDraw = Callable[[pl.Series], list[str]]


class Past(NamedTuple):
    """What a queue must know of the time before it; without rows where there is nothing."""

    queued: pl.DataFrame = CANDIDATES.empty()  # this cycle as it was last built, and the other cycles
    skipped: pl.DataFrame = CANDIDATES.empty().select("trace_id", "reviewer")
    disputed: pl.DataFrame = CANDIDATES.empty().select("trace_id")  # readers disagree on it
    unsureness: pl.DataFrame = pl.DataFrame(schema=UNSURENESS)  # of the evaluators, on traces of this cycle
    history: pl.DataFrame = pl.DataFrame(schema=HISTORY)  # of the cycles before
    wanted: pl.DataFrame = pl.DataFrame(schema=WANTED)  # to verify fixes


def candidate_frame(
    cycle: str,
    signals: pl.DataFrame,
    traces: pl.DataFrame | pl.LazyFrame,
    reviewed: pl.DataFrame,
    reviewers: Sequence[Reviewer],
    settings: ReviewSettings,
    past: Past | None = None,
) -> pl.DataFrame:
    """CANDIDATES of `cycle` from TRACE_SIGNALS and TRACES rows of its days; rank is the reading order per reviewer.

    Four arms share the reviewers' capacity: control and uncertainty, drawn at random with known chances
    (`chance_arms`), verification, what fixes have to be checked by (`confirming_arm`), and anomaly, the rest by impact
    (`by_impact`), certain once the signals are known. In the anomaly arm stand also what was queued in the
    `carry_cycles` cycles before and read by nobody, with the priority it had, and traces on which readers disagree,
    for a reader who has not seen them. Unread control and verification traces expire. `traces` holds also the earlier
    traces that may come back, where reviewers have domains.

    `reviewed` (trace_id, reviewer) is what was read. What a reviewer has read out of this queue stays in it, as
    'reviewed', and takes capacity; what somebody read otherwise (a program, say) is left out of the anomaly arm.
    Nothing goes to a reviewer who read it, skipped it, or had it in another cycle, unless it is carried over. About
    `second_share` of the queue has a second reader, whatever its arm.
    """
    require_distinct(reviewers)
    past = past or Past()
    facts = trace_facts(traces.lazy(), reviewers)
    pool = pattern_frame(signals, facts, past.history)
    kept = _kept(past.queued.filter(pl.col("cycle") == cycle), reviewed)
    disputed = _disputed(past, cycle, facts).filter(~_among(kept))
    n_seconds = _n_seconds(reviewers, disputed.height, settings.second_share)
    n_slots = min(sum(reviewer.capacity for reviewer in reviewers) - n_seconds, pool.height)
    chance = chance_arms(pool, past.unsureness, cycle, n_slots, settings)
    others = pool.filter(~_among(chance))
    confirming = confirming_arm(others, past.wanted, kept, n_slots, settings.verification_share)
    chance = pl.concat([chance, confirming.select(chance.columns)])
    carried = _carried(past, cycle, facts, settings.carry_cycles)
    carried = carried.filter(~_among(reviewed) | _among(kept), ~_among(past.disputed))
    ranked = by_impact(pl.concat([pool, carried], how="diagonal"), n_slots - chance.height, settings)
    unread = ranked.filter(~_among(chance), ~_among(reviewed), ~_among(disputed))

    barred = _barred(past, cycle, reviewed, carried)
    dealer = Dealer(reviewers, barred, _usual(past, cycle))
    # Of the traces that fit the same reviewers no more are dealt than there are places, nor refused than are barred.
    in_reach = unread.filter(pl.int_range(pl.len()).over("fits") < dealer.n_free + len(barred))
    taken = _Taken(kept, chance, disputed, in_reach)
    dealt = _deal(dealer, taken, reviewed, facts, n_seconds, partial(second_draw, cycle=cycle, settings=settings))
    chosen = ranked.filter(_among(dealt))
    content = _placed(chance, pl.concat([chosen, disputed, kept], how="diagonal_relaxed"), ranked)
    return CANDIDATES.conform(
        dealt.join(content, on="trace_id")
        .sort("place", "arm", "trace_id")
        .with_columns(cycle=pl.lit(cycle), rank=1 + pl.int_range(pl.len()).over("reviewer"))
        .sort("reviewer", "rank")
    )


class _Taken(NamedTuple):
    """What may stand in the queue, before it is dealt: CANDIDATES-like rows with `fits`."""

    kept: pl.DataFrame  # read out of an earlier build of this queue
    chance: pl.DataFrame  # the control, uncertainty and verification arms
    disputed: pl.DataFrame  # of earlier cycles, for one more opinion
    unread: pl.DataFrame  # the anomaly arm, in order, longer than it will be


def _deal(
    dealer: Dealer, taken: _Taken, reviewed: pl.DataFrame, facts: pl.DataFrame, n_seconds: int, draw: SecondDraw
) -> pl.DataFrame:
    """trace_id, reviewer, is_second_opinion, status: what was read, then the draws, the ties, the rest by impact.

    Second opinions come when all but their share of the capacity is dealt; what they cannot use goes to the rest.
    """
    dealt = [(*row, "reviewed") for row in _read_rows(taken.kept, taken.chance, reviewed)]
    for trace_id, reviewer, _, _ in dealt:
        dealer.hold(trace_id, reviewer)
    # A draw must be read by somebody, whatever it is about: else it would say nothing of what nobody here knows.
    read = {trace_id for trace_id, *_ in dealt}
    drawn = (row for row in _pairs(taken.chance) if row[0] not in read)
    dealt += dealer.deal_all(drawn, to_anyone=True)
    n_ties = max(0, n_seconds - sum(is_second for _, _, is_second, _ in dealt))
    dealt += islice(dealer.deal_all(_pairs(taken.disputed), is_second=True), n_ties)
    n_reserved = max(0, n_seconds - sum(is_second for _, _, is_second, _ in dealt))
    in_order = _pairs(taken.unread)
    dealt += dealer.deal_all(in_order, n_reserved=n_reserved)
    twice = {trace_id for trace_id, _, is_second, _ in dealt if is_second}
    once = pl.Series(sorted({trace_id for trace_id, *_ in dealt} - twice), dtype=pl.String)
    fits = dict(_pairs(facts.filter(pl.col("trace_id").is_in(once.implode()))))
    again = ((trace_id, fits.get(trace_id, [])) for trace_id in draw(once))
    dealt += islice(dealer.deal_all(again, is_second=True), n_reserved)
    dealt += dealer.deal_all(in_order)
    schema = {name: CANDIDATES.schema[name] for name in ("trace_id", "reviewer", "is_second_opinion", "status")}
    return pl.DataFrame(dealt, schema=schema, orient="row")


def _pairs(rows: pl.DataFrame) -> Iterator[tuple[str, list[int]]]:
    return rows.select("trace_id", "fits").iter_rows()  # pyright: ignore[reportReturnType]


def _kept(mine: pl.DataFrame, reviewed: pl.DataFrame) -> pl.DataFrame:
    """The rows of this queue's earlier build that were read; the first reader is who read first what two should."""
    is_second = pl.col("is_second_opinion").fill_null(False)
    had_first = mine.with_columns(had_first=(~is_second).any().over("trace_id"))
    read = had_first.join(reviewed, on=["trace_id", "reviewer"], how="semi").sort("trace_id", is_second)
    is_first = is_second.rank("ordinal").over("trace_id") == 1
    return read.with_columns(is_second_opinion=is_second & ~(is_first & pl.col("had_first"))).drop("had_first")


def _read_rows(kept: pl.DataFrame, chance: pl.DataFrame, reviewed: pl.DataFrame) -> list[tuple[str, str, bool]]:
    """trace_id, reviewer, is_second_opinion of what was read out of this queue, and of draws read otherwise."""
    otherwise = (
        reviewed.join(chance, on="trace_id", how="semi")
        .join(kept, on="trace_id", how="anti")
        .sort("trace_id", "reviewer")
        .unique("trace_id", keep="first", maintain_order=True)
    )
    columns = ["trace_id", "reviewer", "is_second_opinion"]
    return pl.concat(
        [kept.select(columns), otherwise.select("trace_id", "reviewer", is_second_opinion=pl.lit(False))]
    ).rows()


def _n_seconds(reviewers: Sequence[Reviewer], n_disputed: int, share: float) -> int:
    """Places of the capacity for second opinions, `share` of the traces; a lone reader only settles ties."""
    places = math.floor(sum(reviewer.capacity for reviewer in reviewers) * share / (1 + share) + 0.5)
    return places if sum(reviewer.capacity > 0 for reviewer in reviewers) > 1 else min(places, n_disputed)


def _carried(past: Past, cycle: str, facts: pl.DataFrame, n_cycles: int) -> pl.DataFrame:
    """Traces of the `n_cycles` cycles before, first queued there, with the priority they had; in the anomaly arm."""
    origin = pl.coalesce("carried_from", "cycle")
    return _from_queue(
        past.queued.filter(
            pl.col("cycle") < cycle,
            origin.is_in(cycles_before(cycle, n_cycles)),
            ~pl.col("arm").is_in(["control", ARM]),
            ~pl.col("is_second_opinion").fill_null(False),
        ).with_columns(carried_from=origin, is_flagged=pl.lit(True)),
        facts,
    )


def _disputed(past: Past, cycle: str, facts: pl.DataFrame) -> pl.DataFrame:
    """Traces of the last cycles' queues on which readers disagree."""
    recent = past.queued.filter(pl.col("cycle").is_in(cycles_before(cycle, N_DISPUTE_CYCLES)))
    return _from_queue(
        recent.join(past.disputed, on="trace_id", how="semi").with_columns(
            carried_from=pl.lit(None, pl.String),
            # Who said what stays untold: the third opinion is to be independent too.
            reasons=pl.lit(["one more opinion decides"], TEXTS),
        ),
        facts,
    )


def _from_queue(rows: pl.DataFrame, facts: pl.DataFrame) -> pl.DataFrame:
    """Rows of earlier queues as rows of the anomaly arm, each trace once, as it was queued last; what fits whom now."""
    return (
        rows.sort("cycle", "trace_id", "reviewer", descending=[True, False, False])
        .unique("trace_id", keep="first", maintain_order=True)
        .drop("cycle", "reviewer", "rank", "is_second_opinion", "status")
        .join(facts.select("trace_id", "fits"), on="trace_id", how="left", maintain_order="left")
        .with_columns(pl.col("fits").fill_null([]), arm=pl.lit("anomaly"), inclusion_probability=pl.lit(1.0))
    )


def _barred(past: Past, cycle: str, reviewed: pl.DataFrame, carried: pl.DataFrame) -> set[tuple[str, str]]:
    """(trace_id, reviewer) that must not be: read, skipped, or queued in another cycle and not carried over."""
    elsewhere = past.queued.filter(pl.col("cycle") != cycle).join(carried, on="trace_id", how="anti")
    return set(pl.concat([rows.select("trace_id", "reviewer") for rows in (reviewed, past.skipped, elsewhere)]).rows())


def _usual(past: Past, cycle: str) -> dict[tuple[str, str], bool]:
    """(trace_id, reviewer) -> is_second_opinion of this queue as it was last built, and of what is carried over."""
    queues = past.queued.filter(pl.col("cycle") <= cycle).sort("cycle")
    second = pl.col("is_second_opinion").fill_null(False)
    return {(row[0], row[1]): row[2] for row in queues.select("trace_id", "reviewer", second).iter_rows()}


def _placed(chance: pl.DataFrame, rest: pl.DataFrame, ranked: pl.DataFrame) -> pl.DataFrame:
    """One row a trace, with `place` in (0, 1) of the reading order: each arm evenly spread, the rest as it is ranked.

    A draw that was read and is none any more, because the traffic or the verdicts changed, stays in the anomaly arm:
    as a sample it would be biased.
    """
    positions = ranked.select("trace_id").with_row_index("position")
    others = (
        rest.join(chance, on="trace_id", how="anti", maintain_order="left")
        .unique("trace_id", keep="first", maintain_order=True)
        .join(positions, on="trace_id", how="left", maintain_order="left")
        .sort("position", "trace_id", nulls_last=False)
        .with_columns(
            arm=pl.lit("anomaly"), inclusion_probability=pl.lit(1.0), place=(pl.int_range(pl.len()) + 0.5) / pl.len()
        )
    )
    return pl.concat([chance, others], how="diagonal_relaxed").drop(
        "cycle", "reviewer", "rank", "status", "is_second_opinion", strict=False
    )


def _among(rows: pl.DataFrame) -> pl.Expr:
    return pl.col("trace_id").is_in(rows["trace_id"].unique().implode())
