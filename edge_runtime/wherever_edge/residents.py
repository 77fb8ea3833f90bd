"""The sessions of a host: each opened once, and together within the memory they may take."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from wherever_edge.eviction import Pin
from wherever_edge.memory import Budget, Room
from wherever_edge.resident import Lodging, Resident

if TYPE_CHECKING:
    from wherever_contracts.manifest import Variant
    from wherever_devices.plans import RunPlan
    from wherever_edge.engines.engine import Session
    from wherever_edge.packages.store import Package

# digest of the package, id of the variant, and how it runs
_Key: TypeAlias = "tuple[str, str, RunPlan]"


class Loaded(NamedTuple):
    """A variant that a host has loaded, in memory or able to come back.

    `held_bytes` is what its session took when it was opened last, roughly where several were
    opened at once; `pids` are the processes that it lives in, other than this one.
    """

    model: str
    version: str
    variant: str
    plan: RunPlan
    held_bytes: int
    pinned: bool
    in_memory: bool
    pids: tuple[int, ...]


class Residents:
    """Residents by package, variant and plan. Safe to use from many threads.

    Args:
        open_session: opens a variant of a package as a plan says.
        max_bytes: what they may take (see `Budget`); None for no limit.
        started_bytes: what the process took when the host began.
    """

    def __init__(
        self,
        open_session: Callable[[Package, Variant, RunPlan], Session],
        max_bytes: int | None,
        started_bytes: int,
    ) -> None:
        self._open = open_session
        self._max_bytes = max_bytes
        self._started_bytes = started_bytes
        self._pins: set[Pin] = set()
        self._lock = threading.Lock()
        self._by_key: dict[_Key, Resident] = {}
        self._room = self._new_room()

    def __len__(self) -> int:
        return len(self._by_key)

    def all(self) -> list[Resident]:
        """Every one, those that never opened included."""
        with self._lock:
            return list(self._by_key.values())

    def get(self, package: Package, variant: Variant, plan: RunPlan) -> Resident:
        """The resident of a variant under a plan, perhaps not opened yet."""
        key = (package.digest, variant.id, plan)
        with self._lock:
            resident = self._by_key.get(key)
            if resident is None:
                resident = self._by_key[key] = Resident(
                    plan,
                    lambda: self._open(package, variant, plan),
                    _lodging(package, variant),
                    self._room,
                )
        return resident

    def release(self, used: Collection[str]) -> None:
        """Let go of those from packages of other digests than `used`.

        A session is freed when the last call in it has ended.
        """
        with self._lock:
            for key in [key for key in self._by_key if key[0] not in used]:
                # the lane knows it too, and who is known by nobody else is freed at once
                self._by_key.pop(key).lane = None

    def close(self) -> None:
        """Let every session leave, each when the last call in it has ended."""
        for resident in self.all():
            resident.put_out()

    def forget(self) -> None:
        """Know none any more, without touching a lock that another process may hold."""
        self._lock = threading.Lock()
        self._by_key = {}
        self._room = self._new_room()

    def too_large(self, package: Package, variant: Variant, plan: RunPlan) -> str:
        """Why a variant cannot ever be within the budget; "" when it may be."""
        resident = self._by_key.get((package.digest, variant.id, plan))
        return self._room.too_large(variant.needs.memory_bytes, resident)

    def pin(self, pin: Pin) -> None:
        """Keep what `pin` covers in memory."""
        with self._lock:
            self._pins = {*self._pins, pin}

    def unpin(self, pin: Pin) -> None:
        """Take it back."""
        with self._lock:
            self._pins = self._pins - {pin}

    def loaded(self) -> list[Loaded]:
        """Those that were opened; used last first."""
        opened = [resident for resident in self.all() if resident.opened]
        return [
            Loaded(
                *resident.lodging[:3],
                resident.plan,
                resident.held_bytes,
                pinned=self._pinned(resident),
                in_memory=resident.session is not None,
                pids=resident.pids,
            )
            for resident in sorted(opened, key=lambda resident: -resident.used)
        ]

    def _new_room(self) -> Room:
        if self._max_bytes is None:
            return Room()
        return Budget(self._max_bytes, self._started_bytes, self.all, self._pinned)

    def _pinned(self, resident: Resident) -> bool:
        return any(pin.covers(*resident.lodging[:3]) for pin in self._pins)


def _lodging(package: Package, variant: Variant) -> Lodging:
    return Lodging(
        package.name,
        package.version,
        variant.id,
        sum(entry.bytes for entry in variant.files),
        variant.needs.memory_bytes,
        lambda: package.still_has(variant),
    )
