"""Where pipelines work for calls of others: as many at a time as there are cores."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING

from wherever_contracts.urgency import CALM
from wherever_edge.queueing.run_queue import RunQueue

if TYPE_CHECKING:
    from wherever_contracts.manifest import Signature
    from wherever_contracts.places import Place
    from wherever_contracts.urgency import Urgency
    from wherever_edge.pipelines.pipeline import State, Step

# where a call's state says how much it can wait; no tensor's name has a blank
URGENCY = "the urgency"


class Desk:
    """Bounds the pipelines at work, so that calls that wait for an engine hold no large image.

    They are places of their own: no pipeline keeps an engine from its work, and no engine a
    pipeline. Who waits for one has its turn as in front of the engines.

    Args:
        places: pipelines at work at a time.
    """

    def __init__(self, places: int) -> None:
        self._places = RunQueue(places)

    def around(self, steps: Sequence[Step]) -> tuple[Step, ...]:
        """The same steps, done when there is a place.

        They raise DeadlineError when the call's time ran out before that.
        """
        if not steps:
            return ()

        def at_desk(state: State) -> None:
            urgency: Urgency = state.get(URGENCY, CALM)
            if not self._places.begin(None):
                self._places.wait(self._places.turn({}, urgency, None, 1))
            started, done = perf_counter(), 0
            try:
                for step in steps:
                    step(state)
                done = 1
            finally:
                self._places.end(None, done, perf_counter() - started)

        return (at_desk,)


def desk_for(distance: Place, cores: int) -> Desk | None:
    """The desk of a host; None on the device, whose program bounds its calls by its threads."""
    return None if distance == "device" else Desk(cores)


def needs_desk(signature: Signature) -> bool:
    """Whether the pipelines of a model do more than hand tensors on."""
    return any(entry.kind != "tensor" for entry in signature.inputs)
