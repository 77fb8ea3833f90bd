"""How many calls may be on their way to a backend, and whose. Pure.

A call on its way holds a thread of this gateway, so there is a bound. While there is plenty of
room everybody has some. From half full on, no tenant has more than its share by weight of those
that are there; and the last places are for tenants that have none, so that one whose calls fill
the rest cannot keep the others out.
"""

from __future__ import annotations

_PLENTY = 0.5
_KEPT_FREE = 0.125


class Room:
    """The calls on their way to one backend. One thread at a time uses it.

    Attributes:
        inside: how many there are.
    """

    def __init__(self) -> None:
        self.inside = 0
        self._held: dict[str, tuple[int, float]] = {}

    def enter(self, tenant: str, weight: float, most: int) -> bool:
        """Let a call of a tenant in; False when it must not.

        Args:
            tenant: whose call it is.
            weight: how large its share is beside the others'.
            most: how many calls there may be now.
        """
        held = self._held.get(tenant, (0, weight))[0]
        if not self._may(tenant, held, weight, most):
            return False
        self._held[tenant] = held + 1, weight
        self.inside += 1
        return True

    def leave(self, tenant: str) -> None:
        """A call of a tenant has ended."""
        held, weight = self._held.pop(tenant)
        if held > 1:
            self._held[tenant] = held - 1, weight
        self.inside -= 1

    def _may(self, tenant: str, held: int, weight: float, most: int) -> bool:
        if self.inside >= most:
            return False
        if not held or self.inside < _PLENTY * most:
            return True
        if self.inside >= most - int(_KEPT_FREE * most):
            return False
        weights = weight + sum(other[1] for name, other in self._held.items() if name != tenant)
        return held < most * weight / weights
