"""The time, as ages are made of it."""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path

from wherever._outbox.age import Stamp

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def stamp_now() -> Stamp:
    """This moment; where the machine's starts cannot be told apart, by the wall clock alone."""
    boot = _boot()
    return Stamp(time.time(), _up_s() if boot else time.monotonic(), boot)


def _up_s() -> float:
    """Seconds since this machine was started, those in which it slept included."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@cache
def _boot() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
