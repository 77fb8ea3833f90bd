"""Places, boundaries, modes and priorities: the words that routing is about."""

from __future__ import annotations

from typing import Literal, TypeAlias

Place: TypeAlias = Literal["device", "nearby", "cloud"]
Boundary: TypeAlias = Literal["device", "site", "anywhere"]
Mode: TypeAlias = Literal[
    "auto", "prefer_on_device", "only_on_device", "prefer_in_cloud", "only_in_cloud"
]

Priority: TypeAlias = Literal["interactive", "batch", "background"]

PLACES: tuple[Place, ...] = ("device", "nearby", "cloud")
BOUNDARIES: tuple[Boundary, ...] = ("device", "site", "anywhere")
# Who goes first where calls have to wait, in this order; none waits for ever.
PRIORITIES: tuple[Priority, ...] = ("interactive", "batch", "background")

# How far the data of a call may travel, and so which places may see it.
WITHIN: dict[Boundary, tuple[Place, ...]] = {
    "device": ("device",),
    "site": ("device", "nearby"),
    "anywhere": ("device", "nearby", "cloud"),
}


def stricter(one: Boundary, other: Boundary) -> Boundary:
    """The boundary of the two that lets the data travel less far."""
    return one if BOUNDARIES.index(one) <= BOUNDARIES.index(other) else other
