"""What servers said about models: fresh for a while, and known after that. Pure."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")

_MOST = 1024


class Remembered(Generic[T]):
    """What was said about each model and version.

    Args:
        fresh_s: how long it need not be asked again.
    """

    def __init__(self, fresh_s: float) -> None:
        self._fresh_s = fresh_s
        self._said: dict[tuple[str, str], tuple[T, float]] = {}

    def fresh(self, model: str, version: str, now: float) -> T | None:
        """What was said lately; None: nothing."""
        known = self._said.get((model, version))
        return known[0] if known is not None and now < known[1] else None

    def last(self, model: str, version: str) -> T | None:
        """What was said last, however long ago; None: nothing."""
        known = self._said.get((model, version))
        return None if known is None else known[0]

    def keep(self, model: str, version: str, said: T, now: float) -> None:
        """Keep what is said now; there is room for so many, and then all else is forgotten."""
        if len(self._said) >= _MOST:
            self._said.clear()
        self._said[model, version] = said, now + self._fresh_s
