"""Runtimes that talk on standard error about what nobody asked, from code that is not Python."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_STDERR = 2
_lock = threading.Lock()


def without_line(chatter: bytes, call: Callable[[], T]) -> T:
    """Call a function, and let through what it prints on standard error but for one kind of line.

    What other threads print meanwhile comes through too, a little later.

    Args:
        chatter: how the lines begin that are left out.
        call: the function.
    """
    with _lock, tempfile.TemporaryFile() as caught:
        try:
            kept = os.dup(_STDERR)
        except OSError:  # there is no standard error
            return call()
        os.dup2(caught.fileno(), _STDERR)
        try:
            return call()
        finally:
            os.dup2(kept, _STDERR)
            os.close(kept)
            caught.seek(0)
            rest = b"".join(line for line in caught if not line.startswith(chatter))
            if rest:
                os.write(_STDERR, rest)
