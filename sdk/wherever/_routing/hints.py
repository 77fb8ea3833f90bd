"""What the operating system says of the network, and what follows for hosts. Pure."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

from wherever_contracts.places import Place

# Whether the way to the gateways costs by the byte: as the operating system says, or as one says
# who knows that it does not.
Metered: TypeAlias = Literal["auto", "yes", "no"]

OFFLINE = "this device is offline: no network interface is up"
WAS_OFFLINE = "this device was offline a moment ago"


class Hints(NamedTuple):
    """How this device is connected; None is "not known", and changes nothing.

    Attributes:
        offline: no network interface is up, or none that is has a route.
        metered: the way out costs by the byte.
    """

    offline: bool | None = None
    metered: bool | None = None

    def told(self, metered: Metered) -> Hints:
        """The same where a person has said whether the way out costs by the byte."""
        return self if metered == "auto" else self._replace(metered=metered == "yes")

    def why_not(self, *, here: bool) -> str:
        """Why a host cannot be asked at all; "" when it may be.

        Args:
            here: the host is on this machine.
        """
        return OFFLINE if self.offline and not here else ""

    def costs(self, place: Place, *, here: bool) -> bool:
        """Whether each byte to and from a host costs: a gateway's do, those of a box stay here.

        Args:
            place: the host's distance.
            here: the host is on this machine.
        """
        return bool(self.metered) and place == "cloud" and not here
