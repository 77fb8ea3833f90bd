"""What changes while a machine runs: its power, its heat, its network, the memory that is free.

What an operating system does not tell cheaply is None, "not known", and changes no decision. Pure;
`sensing` reads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

Thermal: TypeAlias = Literal["normal", "warm", "hot"]

# Kernels know where to slow down as trip points of types "passive" and "hot"; where a zone has
# neither, it is done somewhere below the "critical" one, at which the machine is switched off.
_BELOW_CRITICAL_C = 10.0
_WARM_WITHIN_C = 8.0
# Lower trip points belong to the case, where hands are, and to the battery.
_LEAST_TRIP_C = 60.0


@dataclass(frozen=True, slots=True)
class Conditions:
    """How things stand at one moment; None is "not known".

    Attributes:
        on_battery: whether a battery feeds the machine now.
        battery_share: of its charge what is left, 0 to 1; None without a battery, too.
        thermal: "hot" when the system slows the processor down, or is about to; "warm" within
            some degrees of that.
        metered: whether the way to the network costs by the byte.
        available_memory_bytes: what could be taken now without swapping.
        offline: whether no way leads out of the machine.
    """

    on_battery: bool | None = None
    battery_share: float | None = None
    thermal: Thermal | None = None
    metered: bool | None = None
    available_memory_bytes: int | None = None
    offline: bool | None = None

    def __str__(self) -> str:
        left = "" if self.battery_share is None else f", {self.battery_share:.0%} left"
        power = {None: "power not known", True: "on battery", False: "on mains"}
        network = {None: "not known to be metered", True: "metered", False: "not metered"}
        heat = self.thermal or "not known"
        way = "offline" if self.offline else f"network {network[self.metered]}"
        return f"{power[self.on_battery]}{left}; heat {heat}; {way}"


class Supply(NamedTuple):
    """A power supply as the kernel describes it.

    Attributes:
        kind: "Mains", "Battery", "USB", "UPS", ...
        of_device: it feeds a mouse or the like, not the machine.
        online: of mains, whether they are there.
        status: of a battery: "Discharging", "Charging", "Full", ...
        charge_share: of a battery, what is left, 0 to 1.
    """

    kind: str
    of_device: bool = False
    online: bool | None = None
    status: str = ""
    charge_share: float | None = None


class Zone(NamedTuple):
    """A thermal zone: how hot it is, and at which heat the kernel does what."""

    heat_c: float
    trips: tuple[tuple[str, float], ...] = ()


def on_battery(supplies: Sequence[Supply]) -> bool:
    """Whether the machine lives on a battery: one empties, and no mains are there."""
    own = [supply for supply in supplies if not supply.of_device]
    if any(supply.kind == "Mains" and supply.online for supply in own):
        return False
    return any(supply.kind == "Battery" and supply.status == "Discharging" for supply in own)


def battery_share(supplies: Sequence[Supply]) -> float | None:
    """What is left of the charge, the mean of several batteries; None without one."""
    left = [
        supply.charge_share
        for supply in supplies
        if supply.kind == "Battery" and not supply.of_device and supply.charge_share is not None
    ]
    return sum(left) / len(left) if left else None


def thermal(zones: Iterable[Zone], *, slowed: bool | None) -> Thermal | None:
    """How close the hottest zone is to where the system slows the processor down.

    Args:
        zones: the thermal zones; those without a heat at which something happens say nothing.
        slowed: whether the processor is slowed down already; None when nothing says so.
    """
    if slowed:
        return "hot"
    left = [limit - zone.heat_c for zone in zones if (limit := _limit_c(zone)) is not None]
    if not left:
        return None if slowed is None else "normal"
    return "hot" if min(left) <= 0 else "warm" if min(left) <= _WARM_WITHIN_C else "normal"


def _limit_c(zone: Zone) -> float | None:
    slowing = [heat for kind, heat in zone.trips if kind in ("passive", "hot")]
    critical = [heat - _BELOW_CRITICAL_C for kind, heat in zone.trips if kind == "critical"]
    usual = (heat for heat in slowing or critical if heat >= _LEAST_TRIP_C)
    return min(usual, default=None)
