"""What runs of one shape cost by their number of rows, learned, and whether joining calls pays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

# Waking a thread that waits and giving it its rows, under Python's lock.
HAND_OVER_S = 20e-6
# What a call of a small model does under that lock all in all.
_AROUND_S = 2 * HAND_OVER_S
# Together must take less than this share of what the calls take one by one.
_CLEARLY = 0.8

# so many runs of a size are needed before it is judged
SAMPLES = 3
# a run that lasts no longer may try what it saves, whatever its size
_SOON_OVER_S = 20e-3
# so many joined runs may try what they save, once in so many runs
_TRIALS, _PERIOD = 32, 2000
# the least is forgotten a little with each run, the usual follows each by so much
_FORGETTING, _FOLLOWING = 1.001, 0.2


class _Size:
    """Runs of about the same number of rows: seconds for a row."""

    __slots__ = ("least_s", "pays", "samples", "usual_s")

    def __init__(self) -> None:
        self.samples = 0
        self.least_s = 0.0
        self.usual_s = 0.0
        self.pays = False

    def learn(self, row_s: float) -> None:
        self.samples += 1
        if self.samples == 1:
            self.least_s = self.usual_s = row_s
        aged_s = self.least_s * _FORGETTING
        self.least_s = row_s if row_s < aged_s else aged_s  # noqa: FURB136 (hot path)
        self.usual_s += _FOLLOWING * (row_s - self.usual_s)

    @property
    def known(self) -> bool:
        return self.samples >= SAMPLES


class Costs:
    """Learns from runs; decides from the least that each size took, which load disturbs least.

    Sizes are told apart by powers of two. Not safe to use from several threads at once.
    """

    def __init__(self) -> None:
        self._sizes: dict[int, _Size] = {}
        self._runs = 0
        self._trials = _TRIALS
        self._broken = False

    def learn(self, rows: int, elapsed_s: float, *, joined: bool = False) -> None:
        """A run of `rows` rows, of one call or of several that were joined, took `elapsed_s`."""
        self._runs += 1
        self._trials -= joined and self._trials > 0
        if self._runs % _PERIOD == 0:
            self._trials = _TRIALS
        size = self._sizes.get(rows.bit_length())
        if size is None:
            size = self._sizes[rows.bit_length()] = _Size()
        size.learn(elapsed_s / rows)

    def give_up(self) -> None:
        """Joined runs do not work: nothing is joined from now on."""
        self._broken = True

    @property
    def known(self) -> bool:
        """Whether it is known what the smallest runs take."""
        return bool(self._sizes) and self._sizes[min(self._sizes)].known

    def expected_s(self, rows: int) -> float:
        """What a run of `rows` rows usually takes; 0.0 while nothing is known."""
        if not self._sizes:
            return 0.0
        bits = rows.bit_length()
        nearest = min(self._sizes, key=lambda size: (abs(size - bits), size))
        return self._sizes[nearest].usual_s * rows

    def may_join(self) -> bool:
        """Whether calls gain by waiting for others, as far as is known.

        False until it is known what one takes alone, and for what takes hardly longer than handing
        it over. What never paid is tried again now and then.
        """
        if self._broken or not self.known:
            return False
        if _CLEARLY * self._alone_s(1 << (min(self._sizes) - 1)) <= HAND_OVER_S:
            return False
        return self._trials > 0 or any(size.pays for size in self._sizes.values())

    @property
    def brief(self) -> bool:
        """Whether joined rows take less in the engine than their callers do around it.

        Python's lock is busy with the callers then: several runs at a time would only be smaller.
        """
        return any(size.pays and size.least_s < _AROUND_S for size in self._sizes.values())

    def pays(self, parts: Sequence[int]) -> bool:
        """Whether calls of so many rows each gain by one run together, or may try whether they do.

        What is not known to pay is tried where it cannot hold its callers up for long, and else in
        the size next to what pays.

        Args:
            parts: the rows of each call.
        """
        apart_s = sum(self._alone_s(rows) * calls for rows, calls in Counter(parts).items())
        spared_s = _CLEARLY * apart_s - HAND_OVER_S * len(parts)
        if self._broken or spared_s <= 0:
            return False
        total = sum(parts)
        together = self._sizes.get(total.bit_length())
        if together is None or not together.known:
            return self._may_try(total)
        together.pays = together.least_s * total < spared_s
        return together.pays or (self._trials > 0 and self._may_try(total))

    def _may_try(self, rows: int) -> bool:
        paid = [bits for bits, size in self._sizes.items() if size.pays]
        next_size = (2 << max(paid, default=min(self._sizes))) - 1
        return rows <= next_size or self._alone_s(1) * rows <= _SOON_OVER_S

    def _alone_s(self, rows: int) -> float:
        """What a run of `rows` rows takes at least, as far as is known."""
        known = [bits for bits, size in self._sizes.items() if size.known]
        fitting = max((bits for bits in known if bits <= rows.bit_length()), default=0)
        least = min(rows, (1 << fitting) - 1)
        return self._sizes[fitting].least_s * least if fitting else 0.0
