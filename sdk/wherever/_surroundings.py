"""What the operating system says of network and power, looked up when somebody asks."""

from __future__ import annotations

from pathlib import Path
from time import monotonic

from wherever._routing.hints import Hints, Metered
from wherever_devices.network import network_now
from wherever_devices.sensing import on_battery_now

# A call is kept from a network that is gone when that was seen so long ago at most. A look takes
# less than 0.1 ms, and only those who ask a host at a distance look.
NETWORK_FRESH_S = 0.1
POWER_FRESH_S = 10.0


class Surroundings:
    """Network and power of this device. Safe to use from many threads.

    Args:
        metered: whether the way out costs by the byte; "auto": as the operating system says.
        root: where the `proc` and `sys` file systems are mounted.
    """

    def __init__(self, metered: Metered = "auto", root: Path = Path("/")) -> None:
        self._metered: Metered = metered
        self._root = root
        self._network = Hints().told(metered)
        self._network_until = 0.0
        self._on_battery: bool | None = None
        self._power_until = 0.0

    def network(self) -> Hints:
        """How this device is connected, as seen a moment ago at most."""
        now = monotonic()
        if now >= self._network_until:
            self._network_until = now + NETWORK_FRESH_S  # first: one of many threads looks
            self._network = Hints(*network_now(self._root)).told(self._metered)
        return self._network

    def on_battery(self) -> bool:
        """Whether a battery is known to feed this device, as seen some seconds ago at most."""
        now = monotonic()
        if now >= self._power_until:
            self._power_until = now + POWER_FRESH_S
            self._on_battery = on_battery_now(self._root)
        return bool(self._on_battery)
