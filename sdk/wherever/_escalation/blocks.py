"""Calls between two audits, which become evidence together or not at all. Pure.

An audit that does not come through must not count as one that found nothing: then the calls around
it would seem better than they are. So calls are settled in blocks. A block ends when a call is
drawn for an audit, and is settled when the reference answered that; otherwise it is left out, with
the pairs of its escalated calls, whatever they show. What ends an audit early has nothing to do
with the answers, so that the blocks that are settled are like those that are not.
"""

from __future__ import annotations

from wherever._escalation.events import Event, Paired, Passed

# of unsure calls in a row; what comes beyond is left out
_MOST_PAIRS = 10_000


class Block:
    """Calls since the last one that was drawn for an audit."""

    __slots__ = ("_pairs", "_passed", "_spoilt")

    def __init__(self) -> None:
        self._passed = 0
        self._pairs: list[Paired] = []
        self._spoilt = False

    def passed(self) -> None:
        """An answer was given, and nobody compares it."""
        self._passed += 1

    def escalated(self, pair: Paired) -> None:
        """The reference answered in the variant's place."""
        if len(self._pairs) < _MOST_PAIRS:
            self._pairs.append(pair)
        else:
            self._spoilt = True

    def failed(self) -> None:
        """A call was to be escalated, and the reference did not answer."""
        self._spoilt = True

    def settled(self, audit: Paired) -> tuple[Event, ...]:
        """What becomes known with the audit that ended the block."""
        if self._spoilt:
            return ()
        return (*self._pairs, audit._replace(calls=self._passed))

    def ended(self, at: float) -> tuple[Event, ...]:
        """What becomes known when no further call comes; nothing where no pair shows that any
        reference was to be had.
        """
        if self._spoilt or not self._pairs:
            return ()
        return (*self._pairs, Passed(self._passed, at)) if self._passed else tuple(self._pairs)
