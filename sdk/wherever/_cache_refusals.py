"""What hosts refused lately: the same call is not sent to the same host again for a while."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic
from typing import NamedTuple

from wherever_contracts.errors import (
    NotAllowedError,
    RefusedError,
    UnreachableError,
    WhereverError,
)

REMEMBERED_S = 30.0
MOST = 256


class _Refusal(NamedTuple):
    at_s: float
    why: str


class Refusals:
    """Firm refusals by host and call, in memory.

    Only what lies in the call itself is remembered (`RefusedError`: an unknown model, an input
    that the host will not take), not a missing key. A host that then cannot be reached may hold
    other models when it is back: its refusals are forgotten.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._refused: dict[tuple[str, bytes], _Refusal] = {}

    def why_not(self, host: str, call: bytes) -> str:
        """Why `host` need not be asked; "" when nothing is known against it."""
        refusal = self._refused.get((host, call))
        if refusal is None:
            return ""
        ago_s = self._clock() - refusal.at_s
        if ago_s >= REMEMBERED_S:
            return ""
        return f"it refused the same call {ago_s:.0f} s ago: {refusal.why}"

    def note(self, host: str, call: bytes, error: WhereverError) -> None:
        """Learn from how an attempt failed."""
        with self._lock:
            if isinstance(error, UnreachableError):
                self._refused = {at: why for at, why in self._refused.items() if at[0] != host}
            elif isinstance(error, RefusedError) and not isinstance(error, NotAllowedError):
                self._remember(host, call, str(error))

    def _remember(self, host: str, call: bytes, why: str) -> None:
        self._refused.pop((host, call), None)
        while len(self._refused) >= MOST:
            del self._refused[next(iter(self._refused))]
        self._refused[host, call] = _Refusal(self._clock(), why)
