"""One call in line for an engine."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wherever_contracts.errors import WhereverError
    from wherever_contracts.tensors import Array
    from wherever_contracts.urgency import Urgency
    from wherever_edge.queueing.group import Group
    from wherever_edge.queueing.policy import Standing

NEVER = float("inf")


class Turn:
    """One call that waits: for its turn to run the engine, or for its part of another's run.

    Attributes:
        standing: what decides when it is its turn.
        group: whose runs it may share; None for nobody's.
        tensors: what the engine is to run on.
        company: those whose rows it takes along in its run.
        leads: its turn has come: it has to run, and to `end`.
        given: its own rows of the outputs, the seconds in the engine, and how many rows the run
            had, once another ran it.
        again: it was part of a run that failed, and has its place in the house already.
        refused: why it is not run.
    """

    __slots__ = (
        "_bell",
        "again",
        "arrived",
        "company",
        "given",
        "group",
        "leads",
        "refused",
        "standing",
        "tensors",
        "urgency",
    )

    def __init__(
        self,
        standing: Standing,
        group: Group | None,
        tensors: Mapping[str, Any],
        urgency: Urgency,
    ) -> None:
        self.standing: Standing = standing
        self.group: Group | None = group
        self.tensors: Mapping[str, Any] = tensors
        self.urgency: Urgency = urgency
        self.arrived: float = perf_counter()
        self.company: list[Turn] = []
        self.leads: bool = False
        self.given: tuple[dict[str, Array], float, int] | None = None
        self.again: bool = False
        self.refused: WhereverError | None = None
        self._bell = threading.Lock()
        self._bell.acquire()

    def by_itself(self) -> None:
        """Have it wait once more, for a run of its own."""
        self.standing = self.standing._replace(group=None)
        self.group = None
        self.leads = False
        self.again = True

    def ring(self) -> None:
        """Wake the one who waits."""
        self._bell.release()

    def wait(self, ends: float) -> bool:
        """Wait until it rings, or `ends` has come; True when it rang."""
        if ends == NEVER:
            return self._bell.acquire()
        left = min(max(0.0, ends - perf_counter()), threading.TIMEOUT_MAX)
        return self._bell.acquire(timeout=left)
