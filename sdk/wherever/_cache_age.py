"""How old a kept answer is, whatever was done to the clock on the wall meanwhile.

Within one boot of the machine a steady clock counts, which nobody sets. Across boots there is only
the wall clock: an answer that is older by it than allowed is not given, and neither is one from
its future, whose age nobody knows. So a clock that jumps can cost answers of earlier boots, and
never makes an old answer young within a boot.
"""

from __future__ import annotations

import secrets
import time
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, cast

_STEADY = getattr(time, "CLOCK_BOOTTIME", None)  # counts while the machine sleeps, too


class Stamp(NamedTuple):
    """A moment: on a steady clock, which clock that is, and on the wall's (Unix time)."""

    clock: str
    steady_s: float
    wall_s: float


def stamp_of(fact: object) -> Stamp | None:
    """A stamp out of JSON, or None when it is none."""
    fields = cast("list[object]", fact) if isinstance(fact, list) else []
    if [type(field) for field in fields] != [str, float, float]:
        return None
    return Stamp(*cast("list[Any]", fields))


def is_fresh(kept: Stamp, now: Stamp, ttl_s: float | None) -> bool:
    """Whether what was kept then may still be given, when it may be `ttl_s` old at most.

    Args:
        kept: when it was kept.
        now: the present moment.
        ttl_s: seconds; None: whatever its age.
    """
    if ttl_s is None:
        return True
    same = kept.clock == now.clock
    age_s = now.steady_s - kept.steady_s if same else now.wall_s - kept.wall_s
    return 0 <= age_s <= ttl_s


def present() -> Stamp:
    """Now, on this machine."""
    steady_s = time.monotonic() if _STEADY is None else time.clock_gettime(_STEADY)
    return Stamp(_clock(), steady_s, time.time())


@cache
def _clock() -> str:
    """Which steady clock it is: this boot's, or where that has no name, this process's."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return secrets.token_hex(16)
