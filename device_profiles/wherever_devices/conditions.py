"""What changes while a machine runs: its power, its heat, its network, the memory that is free.

On Linux the kernel's own text files are read, some dozens of small ones, so it may be done again
every few seconds. What an operating system does not tell that cheaply is None, "not known", and
changes no decision.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Thermal: TypeAlias = Literal["normal", "warm", "hot"]


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
    """

    on_battery: bool | None = None
    battery_share: float | None = None
    thermal: Thermal | None = None
    metered: bool | None = None
    available_memory_bytes: int | None = None
