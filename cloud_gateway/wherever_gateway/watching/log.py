"""A log of calls: one line of JSON for each, without anything that they brought or were given."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, TextIO, TypeAlias

from wherever_gateway.watching.behind import Behind
from wherever_gateway.watching.call import Ended

if TYPE_CHECKING:
    from collections.abc import Callable

# whose lines are written: of every call, of some that failed, or of none
Detail: TypeAlias = Literal["calls", "refused", "off"]

# lines of failures in a second, where those of calls are not asked for
FAILURES_A_SECOND = 10
_MAX_NAME = 200


class CallLog:
    """Writes lines about calls, behind them. Safe to use from many threads.

    Args:
        detail: "calls" for every call; "refused" for those that had no answer, the first ten of
            each second; "off" for none. It may be changed at any time.
        write: takes whole lines; standard error by default.

    Attributes:
        detail: as given.
    """

    def __init__(self, detail: Detail, write: Callable[[str], object] | None = None) -> None:
        self.detail: Detail = detail
        self._write = write or _to(sys.stderr)
        self._spell = Spell(FAILURES_A_SECOND)
        self._behind: Behind[tuple[Ended, int]] = Behind(self._write_all, "wherever-call-log")

    @property
    def lost(self) -> int:
        """Lines that were not written: there were too many, or whatever takes them failed."""
        return self._behind.lost

    def wants(self, *, failed: bool) -> bool:
        """Whether a call's line may be written."""
        detail = self.detail
        return detail == "calls" or (failed and detail == "refused")

    def add(self, ended: Ended) -> None:
        """Have a call's line written, if its kind is."""
        if not self.wants(failed=bool(ended.reason)):
            return
        left_out = self._spell.pass_(ended.at_s) if self.detail == "refused" else 0
        if left_out is not None:
            self._behind.put((ended, left_out))

    def close(self) -> None:
        """Write what waits, and no more."""
        self._behind.close()

    def _write_all(self, items: Sequence[tuple[Ended, int]]) -> None:
        self._write("".join(f"{line(ended, left_out)}\n" for ended, left_out in items))


class Spell:
    """Lets the first few of each second pass, and counts the others.

    Args:
        most: how many pass in a second.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._second = -1
        self._passed = 0
        self._left_out = 0

    def pass_(self, now_s: float) -> int | None:
        """How many were left out since the last that passed; None when this one is, too."""
        second = int(now_s)
        if second != self._second:
            self._second, self._passed = second, 0
        if self._passed >= self._most:
            self._left_out += 1
            return None
        self._passed += 1
        left_out, self._left_out = self._left_out, 0
        return left_out


def line(ended: Ended, left_out: int = 0) -> str:
    """What is written of a call; `left_out` lines of others were left out before it."""
    said: dict[str, Any] = {
        "time": datetime.fromtimestamp(ended.at_s, UTC).isoformat(timespec="milliseconds"),
        "tenant": ended.tenant[:_MAX_NAME],
        "model": ended.model[:_MAX_NAME],
        "version": ended.version[:_MAX_NAME],
        "variant": ended.variant,
        "status": ended.reason or "ok",
        "queue_ms": _ms(ended.queue_s),
        "engine_ms": _ms(ended.engine_s),
        "total_ms": _ms(ended.total_s),
        "bytes": ended.n_bytes,
        "rows": ended.rows,
    }
    if ended.kept:
        said["kept"] = True
    if ended.backend:
        said["backend"] = ended.backend
    if ended.trace is not None:
        said["trace_id"] = f"{ended.trace.trace_id:032x}"
    if left_out:
        said["left_out"] = left_out
    return json.dumps(said, separators=(",", ":"))


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 3)


def _to(stream: TextIO) -> Callable[[str], object]:
    def write(lines: str) -> None:
        stream.write(lines)
        stream.flush()

    return write
