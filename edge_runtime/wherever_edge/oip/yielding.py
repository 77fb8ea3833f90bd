"""Letting another thread of this process go on at once."""

from __future__ import annotations

import os
import time


def let_others_run() -> None:
    """Give up the interpreter and the core for a moment.

    Whoever was just given something to do would else begin when this thread waits, or after the
    5 ms that the interpreter leaves it.
    """
    _yield()


def _sleep() -> None:
    time.sleep(0)


_yield = getattr(os, "sched_yield", _sleep)
