"""Loading and forking do not happen at once.

A child that is forked while another thread imports a module or loads a model inherits the locks
of that thread, which nobody will ever release. So a fork waits until no load is under way.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Generator
from contextlib import contextmanager


class _Gate:
    """Loads pass side by side; a fork waits for the last one, and new ones wait for the fork."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._inside = 0
        self._own = threading.local()

    @contextmanager
    def loading(self) -> Generator[None]:
        """Around everything that imports modules or loads models; may be nested."""
        depth = getattr(self._own, "depth", 0)
        with self._changed:
            self._inside += 1
        self._own.depth = depth + 1
        try:
            yield
        finally:
            self._own.depth = depth
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    def before_fork(self) -> None:
        self._changed.acquire()
        # a thread that forks in the middle of its own load cannot wait for itself
        while self._inside > getattr(self._own, "depth", 0):
            self._changed.wait()

    def after_fork_in_parent(self) -> None:
        self._changed.release()

    def after_fork_in_child(self) -> None:
        self._changed = threading.Condition(threading.Lock())


_gate = _Gate()
loading = _gate.loading

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_gate.before_fork,
        after_in_parent=_gate.after_fork_in_parent,
        after_in_child=_gate.after_fork_in_child,
    )
