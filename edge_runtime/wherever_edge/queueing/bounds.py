"""How many runs a host lets go on at once, and how many calls may wait behind them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from wherever_contracts.places import Place
    from wherever_devices.decision import Decision

_MAX_WAITING = 64


class Bounds(NamedTuple):
    """Runs at a time, and calls that wait behind them; None for any number."""

    runs: int | None
    max_waiting: int | None


def bounds_of(wished: Bounds, decision: Decision | None, distance: Place, cores: int) -> Bounds:
    """The bounds of a host's queue.

    Args:
        wished: what its owner asked for, None where nothing.
        decision: how the machine is used; None when nobody decided. Without it the device's own
            program is bounded by its threads alone, and hosts for others by their cores. A gateway
            has many callers, however small its machine: as many may wait as without a decision.
        distance: where the host stands as its callers see it.
        cores: cores that its process may use.
    """
    if decision is not None:
        least = _MAX_WAITING if distance == "cloud" else 0
        usual = Bounds(decision.runs, max(least, decision.max_waiting))
    elif distance == "device":
        usual = Bounds(None, None)
    else:
        usual = Bounds(max(2, cores), _MAX_WAITING)
    return Bounds(
        usual.runs if wished.runs is None else wished.runs,
        usual.max_waiting if wished.max_waiting is None else wished.max_waiting,
    )
