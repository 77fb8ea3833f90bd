"""Calls up to one that was drawn, which become evidence together or not at all. Pure.

An audit that does not come through must not count as one that found nothing: then the calls around
it would seem better than they are. So calls are settled in blocks. Of every call it is drawn,
whatever its answer, whether it ends the block; an answer that was given is then audited. The block
is settled when the reference answered that last call, and left out as a whole otherwise, as is what
came after the last one that was drawn. As neither depends on the answers, the blocks that are
settled are like those that are not. Where processes end after few calls, long blocks are missing,
and with them calls that nobody compared: risks then seem higher than they are, never lower.
"""

from __future__ import annotations

from wherever._escalation.events import Paired

# of unsure calls in a row; a block with more is left out
_MOST_PAIRS = 10_000


class Block:
    """Calls since the last one that was drawn."""

    __slots__ = ("_pairs", "_passed")

    def __init__(self) -> None:
        self._passed = 0
        self._pairs: list[Paired] = []

    def passed(self) -> None:
        """An answer was given, and nobody compares it."""
        self._passed += 1

    def escalated(self, pair: Paired) -> None:
        """The reference answered in the variant's place."""
        if len(self._pairs) <= _MOST_PAIRS:
            self._pairs.append(pair)

    def failed(self, pair: Paired) -> None:
        """A call was to be escalated, and the reference did not answer.

        No threshold is lowered for it: to that end it counts as one whose answers differ, lest
        calls that are hard to escalate seem harmless. Of how far answers agree it says nothing.
        """
        self.escalated(pair._replace(loss=1.0, known=False))

    def settled(self, audit: Paired | None = None) -> tuple[Paired, ...]:
        """What becomes known with the reference's answer to the call that ended the block.

        Args:
            audit: that call, where the variant's answer was given; None: it was escalated.
        """
        if len(self._pairs) > _MOST_PAIRS:
            return ()
        pairs = self._pairs if audit is None else [*self._pairs, audit]
        return (pairs[0]._replace(calls=self._passed), *pairs[1:])
