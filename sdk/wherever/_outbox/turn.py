"""Who sends: one process at a time, and another one as soon as that ends, however it ends."""

from __future__ import annotations

import os
from pathlib import Path
from weakref import WeakSet

from wherever_edge.durable import lock


class Turn:
    """The right to send what lies in one outbox.

    Args:
        path: the file that is locked; its directory must be there when the turn is taken.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        _turns.add(self)

    @property
    def mine(self) -> bool:
        """Whether this process has the turn."""
        return self._descriptor is not None

    def take(self) -> bool:
        """Take the turn, unless another process has it.

        Raises:
            OSError: the file cannot be opened.
        """
        if self._descriptor is not None:
            return True
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            lock(descriptor, wait=False)
        except OSError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def give_back(self) -> None:
        """Let another process have the turn."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


_turns: WeakSet[Turn] = WeakSet()


def _after_fork_in_child() -> None:
    """A child that kept the file open would keep the turn when its parent has ended."""
    for turn in list(_turns):
        turn.give_back()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
