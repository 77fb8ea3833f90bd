"""Where pipelines work for calls of others: as many at a time as there are cores."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wherever_contracts.manifest import Signature
    from wherever_contracts.places import Place
    from wherever_edge.pipelines.pipeline import State, Step


class Desk:
    """Bounds the pipelines at work, so that calls that wait for an engine hold no large image.

    Args:
        places: pipelines at work at a time.
    """

    def __init__(self, places: int) -> None:
        self._places = threading.BoundedSemaphore(places)

    def around(self, steps: Sequence[Step]) -> tuple[Step, ...]:
        """The same steps, done when there is a place."""
        if not steps:
            return ()

        def at_desk(state: State) -> None:
            with self._places:
                for step in steps:
                    step(state)

        return (at_desk,)


def desk_for(distance: Place, cores: int) -> Desk | None:
    """The desk of a host; None on the device, whose program bounds its calls by its threads."""
    return None if distance == "device" else Desk(cores)


def needs_desk(signature: Signature) -> bool:
    """Whether the pipelines of a model do more than hand tensors on."""
    return any(entry.kind != "tensor" for entry in signature.inputs)
