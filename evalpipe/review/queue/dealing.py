"""Who reads what: traces are dealt to reviewers by domain and free capacity. Which traces, and in which order, is
decided before."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from evalpipe.review.queue.reviewers import Reviewer


class Dealer:
    """Hands out traces until every reviewer's capacity is used, and never one to somebody who is barred from it.

    `barred` holds (trace_id, reviewer). `usual` says who had a trace when the queue was built before, and whether as a
    second opinion: they keep it, so that nothing moves away from under a reader.
    """

    def __init__(
        self, reviewers: Sequence[Reviewer], barred: Iterable[tuple[str, str]], usual: Mapping[tuple[str, str], bool]
    ) -> None:
        self._reviewers = reviewers
        self._barred = set(barred)
        self._usual = usual
        self._free = {reviewer.name: reviewer.capacity for reviewer in reviewers}

    @property
    def n_free(self) -> int:
        """Traces that can still be handed out."""
        return sum(self._free.values())

    def hold(self, trace_id: str, reviewer: str) -> None:
        """Count a trace that `reviewer` has already."""
        self._barred.add((trace_id, reviewer))
        if self._free.get(reviewer):
            self._free[reviewer] -= 1

    def deal(
        self, trace_id: str, fits: Sequence[int], *, is_second: bool = False, to_anyone: bool = False
    ) -> str | None:
        """Who reads the trace, now with one place less: the narrowest domain first, then the most free capacity.

        `fits` are the positions of the reviewers in whose domain it lies; what lies in nobody's is everybody's. None
        when all of these are full or barred; with `to_anyone` the others are asked then.
        """
        everyone = range(len(self._reviewers))
        chosen = self._best(trace_id, fits or everyone, is_second)
        if chosen is None and to_anyone:
            chosen = self._best(trace_id, everyone, is_second)
        if chosen is not None:
            self.hold(trace_id, chosen)
        return chosen

    def deal_all(
        self,
        waiting: Iterator[tuple[str, Sequence[int]]],
        *,
        n_reserved: int = 0,
        is_second: bool = False,
        to_anyone: bool = False,
    ) -> Iterator[tuple[str, str, bool, str]]:
        """Deal (trace_id, fits) in order while more than `n_reserved` places are free.

        Gives trace_id, reviewer, is_second_opinion and the status 'queued'.
        """
        while self.n_free > n_reserved and (row := next(waiting, None)) is not None:
            reviewer = self.deal(*row, is_second=is_second, to_anyone=to_anyone)
            if reviewer is not None:
                yield row[0], reviewer, is_second, "queued"

    def _best(self, trace_id: str, positions: Iterable[int], is_second: bool) -> str | None:
        able = [
            place
            for place in positions
            if self._free[self._reviewers[place].name] and (trace_id, self._reviewers[place].name) not in self._barred
        ]
        if not able:
            return None
        return self._reviewers[min(able, key=lambda place: self._order(trace_id, place, is_second))].name

    def _order(self, trace_id: str, place: int, is_second: bool) -> tuple[bool, bool, int, float, int]:
        reviewer = self._reviewers[place]
        usual = self._usual.get((trace_id, reviewer.name))
        free_share = self._free[reviewer.name] / reviewer.capacity
        return usual != is_second, usual is None, -reviewer.specificity, -free_share, place
