"""What a host took for the calls that it was asked, and so would have taken for one beside them.

Between two recorded calls a host is taken to do as it did for one of them: for the nearer the more
likely, and rather for one of like size. What it took is then moved by how much more or less was
expected of it for the call in question. So means and tails over many calls come out as they were,
times in which nobody asked count by how long they lasted, and an outage stays where it was.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

# So many recorded calls on either side are looked at for one of like size.
_SIDE = 6
# A call of twice or half the size counts as one that is so much farther away in time.
_FARTHER = 4.0
# A call that was given up would have taken longer; by how much it did not say.
_BEYOND = 1.25
# What was expected is a guess too: so much of what it says of two calls is believed. Chosen on
# recorded links, where all of it and nothing of it did worse.
_TRUST = 0.5
# Nobody is moved by more than this factor: what is expected after an outage is a guess.
_MOST = 3.0


class Took(NamedTuple):
    """What one attempt came to, or would have.

    Attributes:
        call: the number of its call.
        at: when that was made, in seconds.
        elapsed_s: until the answer or the failure; infinity: it never comes.
        expected_s: what was expected before it was asked; 0: not known.
        error: the code of the failure; "": it answers.
        censored: it was ended before its own end: it would have taken longer than `elapsed_s`.
        shut: the host was not asked, because it was known not to answer.
        up_bytes: what travels to the host.
        down_bytes: what travels back.
        queue_s: of it, waiting for the engine.
        compute_s: of it, inside the engine; 0: not known.
        beyond: it is longer than any time that is recorded near it, and so a guess.
        confidence: of the answer; None: it has none.
        variant: what answers; "": not known.
    """

    call: int
    at: float
    elapsed_s: float
    expected_s: float = 0.0
    error: str = ""
    censored: bool = False
    shut: bool = False
    up_bytes: int = 0
    down_bytes: int = 0
    queue_s: float = 0.0
    compute_s: float = 0.0
    beyond: bool = False
    confidence: float | None = None
    variant: str = ""

    @property
    def answers(self) -> bool:
        """Whether it is an answer, and whole."""
        return not self.error and not self.censored


class Evidence:
    """What is recorded of one host.

    Args:
        seen: its attempts; those of one call in the order they were made.
    """

    def __init__(self, seen: Sequence[Took]) -> None:
        known = sorted(seen, key=lambda each: each.at)
        self._moments = [each.at for each in known]
        self._seen = [_whole(known, place) for place in range(len(known))]
        self._of: dict[int, list[Took]] = defaultdict(list)
        for took in self._seen:
            self._of[took.call].append(took)

    def __len__(self) -> int:
        return len(self._seen)

    def own(self, call: int, number: int = 0) -> Took | None:
        """What the host took for a call that it was asked; `number` counts its attempts."""
        made = self._of.get(call, ())
        return made[number] if number < len(made) else None

    def near(self, wanted: Took, chance: float) -> Took:
        """What it would have taken for a call that it was not asked; there is some evidence.

        Args:
            wanted: when the call was made, its size, and what was expected.
            chance: in [0, 1); where it is spread evenly over the calls, so are the choices.
        """
        place = bisect_left(self._moments, wanted.at)
        before = _likest(self._seen[max(0, place - _SIDE) : place], wanted)
        after = _likest(self._seen[place : place + _SIDE], wanted)
        if before is None or after is None:
            return _moved(before or after or wanted, wanted)
        apart_s = after.at - before.at
        share = (wanted.at - before.at) / apart_s if apart_s > 0.0 else 0.5
        return _moved(after if chance < share else before, wanted)

    def round_trip_s(self, at: float) -> float | None:
        """The most that a small message would take there and back; None: it is not answered.

        It is answered when the call nearest in time was, and takes no longer than the quickest of
        those around it did on the way.
        """
        place = bisect_left(self._moments, at)
        beside = self._seen[max(0, place - 1) : place + 1]
        if min(beside, key=lambda each: abs(each.at - at)).error:
            return None
        around = self._seen[max(0, place - _SIDE) : place + _SIDE]
        ways = (each.elapsed_s - each.queue_s - each.compute_s for each in around if each.answers)
        return max(0.0, min(ways))


def _likest(side: Sequence[Took], wanted: Took) -> Took | None:
    return min(side, key=lambda each: _distance(each, wanted), default=None)


def _distance(each: Took, wanted: Took) -> float:
    apart_s = abs(each.at - wanted.at)
    if not (each.up_bytes and wanted.up_bytes):
        return apart_s
    return apart_s * (1.0 + _FARTHER * abs(math.log2(each.up_bytes / wanted.up_bytes)))


def _moved(seen: Took, wanted: Took) -> Took:
    """What was seen of another call, as it would be of this one."""
    moved = seen._replace(
        call=wanted.call,
        at=wanted.at,
        expected_s=wanted.expected_s or seen.expected_s,
        up_bytes=wanted.up_bytes or seen.up_bytes,
    )
    if not (seen.answers and seen.expected_s and wanted.expected_s):
        return moved
    ratio = min(_MOST, max(1.0 / _MOST, wanted.expected_s / seen.expected_s))
    return moved._replace(elapsed_s=seen.elapsed_s * ratio**_TRUST)


def _whole(known: Sequence[Took], place: int) -> Took:
    """The attempt, or where it was ended too early what it would have come to.

    That is what the nearest call took that took longer, as in Efron's redistribution to the right
    (The two sample problem with censored data, 1967). Where nobody near did, it is somewhat more
    than it had; or it never comes, where the host was known not to answer right after it.
    """
    took = known[place]
    if not took.censored:
        return took
    around = (*known[max(0, place - _SIDE) : place], *known[place + 1 : place + 1 + _SIDE])
    longer = [each for each in around if each.answers and each.elapsed_s > took.elapsed_s]
    if longer:
        nearest = min(longer, key=lambda each: _distance(each, took))
        return nearest._replace(call=took.call, at=took.at, up_bytes=took.up_bytes)
    after = known[place + 1 : place + 2]
    if took.error and after and after[0].shut:
        return took._replace(elapsed_s=math.inf, censored=False)
    beyond_s = took.elapsed_s * _BEYOND
    return took._replace(elapsed_s=beyond_s, error="", censored=False, beyond=True)
