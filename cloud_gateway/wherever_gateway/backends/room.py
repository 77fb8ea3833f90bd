"""How many calls may be on their way to a backend, and whose. Pure.

A call on its way holds a thread of this gateway, so there is a bound. While there is plenty of
room everybody has some. From half full on, no tenant has more than its share by weight of those
that are there; and the last places are for tenants that have none, so that one whose calls fill
the rest cannot keep the others out.
"""

from __future__ import annotations

from wherever_edge.queueing.shares import Places

_PLENTY = 0.5
_KEPT_FREE = 0.125


class Room:
    """The calls on their way to one backend. One thread at a time uses it.

    Attributes:
        inside: how many there are.
    """

    def __init__(self) -> None:
        self.inside = 0
        self._places = Places()

    def enter(self, tenant: str, weight: float, most: int) -> bool:
        """Let a call of a tenant in; False when it must not.

        Args:
            tenant: whose call it is.
            weight: how large its share is beside the others'.
            most: how many calls there may be now.
        """
        if not self._may(tenant, weight, most):
            return False
        self._places.take(tenant, weight)
        self.inside += 1
        return True

    def leave(self, tenant: str) -> None:
        """A call of a tenant has ended."""
        self._places.give_back(tenant)
        self.inside -= 1

    def _may(self, tenant: str, weight: float, most: int) -> bool:
        if self.inside >= most:
            return False
        if self._places.weight(tenant) is None or self.inside < _PLENTY * most:
            return True
        if self.inside >= most - int(_KEPT_FREE * most):
            return False
        return self._places.spare_one(tenant, most, weight)
