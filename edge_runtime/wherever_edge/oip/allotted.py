"""The time that a call has, from its beginning and through all that is done for it."""

from __future__ import annotations

from time import monotonic
from typing import NamedTuple

from wherever_contracts.errors import DeadlineError


class Allotted(NamedTuple):
    """The time of one call.

    Attributes:
        timeout_s: how long it may take in all, None for no limit.
        started: when it began, by the monotonic clock.
    """

    timeout_s: float | None
    started: float

    @classmethod
    def from_now(cls, timeout_s: float | None) -> Allotted:
        """The time of a call that begins now."""
        return cls(timeout_s, monotonic())

    @property
    def elapsed_s(self) -> float:
        """How long it has taken so far."""
        return monotonic() - self.started

    @property
    def over(self) -> bool:
        """True when nothing is left."""
        return self.timeout_s is not None and self.elapsed_s >= self.timeout_s

    def left_s(self, host: str) -> float | None:
        """How much is left for asking `host`, None for no limit.

        Raises:
            DeadlineError: nothing is.
        """
        if self.timeout_s is None:
            return None
        left_s = self.started + self.timeout_s - monotonic()
        if left_s <= 0:
            words = f"no time was left to ask {host} ({self.timeout_s:.3g} s in all)"
            raise DeadlineError(words)
        return left_s
