"""Calls whose rows may share a run: of one variant, and alike in shape."""

from __future__ import annotations

from wherever_edge.queueing.costs import Costs
from wherever_edge.queueing.policy import Limits

# a joined run that fails may be one caller's fault; so many in a row are the variant's
_FAILURES = 3
# lone runs after which joining is judged anew: each of the first, then one in so many
_FIRST, _JUDGED_EVERY = 4, 8


class Group:
    """What is known of the calls of one shape. Changed under the queue's lock alone.

    Args:
        width: runs at a time that keep every core at work.
        row_bytes: the inputs of one row.
        limits: how much one run may take at most.

    Attributes:
        costs: what its runs cost.
        running: its runs that go on now.
        joins: whether calls gain by waiting for each other, as far as is known.
    """

    __slots__ = (
        "_at_once",
        "_failures",
        "_runs",
        "_width",
        "costs",
        "joins",
        "limits",
        "row_bytes",
        "running",
        "settled",
    )

    def __init__(self, width: int, row_bytes: int, limits: Limits = Limits()) -> None:  # noqa: B008
        self.costs: Costs = Costs()
        self.running: int = 0
        self.joins: bool = False
        self.settled: bool = False
        self.row_bytes: int = row_bytes
        self.limits: Limits = limits
        self._width = self._at_once = width
        self._failures = 0
        self._runs = 0

    @property
    def busy(self) -> bool:
        """Whether one more call does better to wait for the runs that go on."""
        return self.joins and self.running >= self._at_once

    def ended(self, rows: int, elapsed_s: float, *, joined: bool) -> None:
        """One of its runs is over, of one call or of several; `rows` is 0 when it failed."""
        self.running -= 1
        if rows:
            self.costs.learn(rows, elapsed_s, joined=joined)
            self._runs += 1
            if joined or self._runs <= _FIRST or self._runs % _JUDGED_EVERY == 0:
                self._judge()

    def _judge(self) -> None:
        self.joins = self.costs.may_join()
        self.settled = self.costs.known and not self.joins
        self._at_once = 1 if self.costs.brief else self._width

    def joined(self, *, well: bool) -> None:
        """A run of several calls went well, or failed."""
        self._failures = 0 if well else self._failures + 1
        if self._failures >= _FAILURES:
            self.costs.give_up()
            self.joins = False
