"""Which boxes were seen on the network, within bounds. Pure: the time is passed in."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from wherever_edge.box.adverts import Advert

MAX_UNPAIRED = 64


@dataclass(frozen=True, slots=True)
class Sighting:
    """A box as it was last seen.

    Attributes:
        advert: what it said.
        seen_at: when.
    """

    advert: Advert
    seen_at: float


class Sightings:
    """A table of boxes. Paired ones always have room; of the others, the newest 64 are kept.

    Args:
        paired: ids of the boxes that this device is paired with.
        max_unpaired: how many others are kept.
    """

    def __init__(self, paired: Collection[str] = (), max_unpaired: int = MAX_UNPAIRED) -> None:
        self._paired = frozenset(paired)
        self._max_unpaired = max_unpaired
        self._known: dict[str, Sighting] = {}
        self._others: dict[str, Sighting] = {}

    def saw(self, advert: Advert, now: float) -> None:
        """Note an advert; the one unpaired box that was not seen for longest may give way."""
        sighting = Sighting(advert, now)
        if advert.id in self._paired:
            self._known[advert.id] = sighting
            return
        self._others.pop(advert.id, None)
        self._others[advert.id] = sighting
        if len(self._others) > self._max_unpaired:
            del self._others[next(iter(self._others))]

    def left(self, box_id: str) -> None:
        """Note that a box said goodbye. A paired one stays: only its health can shut it out."""
        self._others.pop(box_id, None)

    def list(self) -> list[Sighting]:
        """Every box in the table: paired ones first, then by name."""
        return [
            *sorted(self._known.values(), key=_by_name),
            *sorted(self._others.values(), key=_by_name),
        ]


def _by_name(sighting: Sighting) -> tuple[str, str]:
    return sighting.advert.name, sighting.advert.id
