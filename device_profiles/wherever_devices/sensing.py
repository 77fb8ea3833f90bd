"""Reads the conditions of the moment, cheaply enough to be done again every few seconds.

On Linux some dozens of small files of the kernel are read. Other systems tell the standard library
none of it. A lowered `scaling_max_freq` counts for nothing: it is the user's power mode as often as
it is heat; whether heat slows the processor down the kernel's cooling devices say.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from wherever_devices.conditions import (
    Conditions,
    Supply,
    Zone,
    battery_share,
    on_battery,
    thermal,
)
from wherever_devices.groups import group_limits
from wherever_devices.kernel import entries, number, parse_meminfo, text
from wherever_devices.network import network_now

_SLOWING = ("processor", "cpufreq", "thermal-cpufreq", "intel_powerclamp")
# Of the Raspberry Pi's firmware: frequency capped, throttled, soft limit of heat reached; now.
_PI_SLOWED = 0b1110
# The firmware slows down from here on, of which the kernel's thermal zones know nothing.
_PI_SLOWS_C = 80.0


def conditions_now(root: Path = Path("/")) -> Conditions:
    """Look at the power, the heat, the network and the free memory.

    Args:
        root: where the `proc` and `sys` file systems are mounted.
    """
    supplies, network = _supplies(root), network_now(root)
    return Conditions(
        on_battery=None if supplies is None else on_battery(supplies),
        battery_share=battery_share(supplies or ()),
        thermal=thermal(_zones(root), slowed=_slowed(root)),
        metered=network.metered,
        available_memory_bytes=_available(root),
        offline=network.offline,
    )


def on_battery_now(root: Path = Path("/")) -> bool | None:
    """Whether a battery feeds the machine now; None when nothing says so."""
    supplies = _supplies(root)
    return None if supplies is None else on_battery(supplies)


def _supplies(root: Path) -> list[Supply] | None:
    folder = root / "sys/class/power_supply"
    return [_supply(path) for path in entries(folder, "*")] if folder.is_dir() else None


def _supply(path: Path) -> Supply:
    online, charge = number(path / "online"), number(path / "capacity")
    return Supply(
        kind=text(path / "type"),
        of_device=text(path / "scope") == "Device",
        online=None if online is None else online > 0,
        status=text(path / "status"),
        charge_share=None if charge is None else min(max(charge / 100, 0.0), 1.0),
    )


def _zones(root: Path) -> Iterator[Zone]:
    of_pi = (("passive", _PI_SLOWS_C),) if _firmware(root) else ()
    for path in entries(root / "sys/class/thermal", "thermal_zone*"):
        heat = number(path / "temp")
        if heat is not None:
            yield Zone(heat / 1000, (*_trips(path), *of_pi))


def _trips(zone: Path) -> Iterator[tuple[str, float]]:
    for path in entries(zone, "trip_point_*_type"):
        heat = number(path.with_name(path.name.removesuffix("type") + "temp"))
        if heat is not None:
            yield text(path), heat / 1000


def _slowed(root: Path) -> bool | None:
    """Whether heat slows the processor down now, by what the kernel or a Pi's firmware says."""
    states = [
        number(path / "cur_state") or 0
        for path in entries(root / "sys/class/thermal", "cooling_device*")
        if text(path / "type").lower().startswith(_SLOWING)
    ]
    states.extend(_hexadecimal(text(path)) & _PI_SLOWED for path in _firmware(root))
    return any(state > 0 for state in states) if states else None


def _firmware(root: Path) -> list[Path]:
    return entries(root / "sys/devices/platform", "soc*/*firmware/get_throttled")


def _hexadecimal(said: str) -> int:
    try:
        return int(said, 16)
    except ValueError:
        return 0


def _available(root: Path) -> int | None:
    """What is free, or soon would be; a control group's limit counts as if nothing were taken."""
    free = parse_meminfo(text(root / "proc/meminfo"), "MemAvailable")
    limit = group_limits(root).memory_bytes
    return min(free, limit or free) if free else None
