"""Which sessions leave when memory is short, and how much one is expected to take. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

# Before a variant was ever measured: what an engine's session takes for each byte of its files,
# and besides; and what its runtime takes from its first session on. From 12 models of 0.3 to 40 MB
# in each, on Linux.
_MIB = 1 << 20
# Budgets from here on are not worth what it costs to return every block at once.
_AMPLE_BYTES = 1 << 30


class _Appetite(NamedTuple):
    factor: float
    session_bytes: int
    runtime_bytes: int


_APPETITES = {
    "onnxruntime": _Appetite(3.0, 12 * _MIB, 28 * _MIB),
    "openvino": _Appetite(4.0, 20 * _MIB, 75 * _MIB),
    "litert": _Appetite(2.0, 4 * _MIB, 14 * _MIB),
}
_UNKNOWN = _Appetite(4.0, 16 * _MIB, 64 * _MIB)


@dataclass(frozen=True, slots=True)
class Tenant:
    """A session in memory.

    Attributes:
        key: what it is known by.
        used: grows with each use; the smallest was used longest ago.
        held_bytes: what it is thought to take.
        stays: it may not be put out.
    """

    key: int
    used: int
    held_bytes: int
    stays: bool = False


class Pin(NamedTuple):
    """A wish to keep a model's sessions in memory; an empty field means any."""

    model: str
    version: str = ""
    variant: str = ""

    def covers(self, model: str, version: str, variant: str) -> bool:
        """True for a session that the wish is about; "1.0" is about every "1.0.x"."""
        return (
            model == self.model
            and f"{version}.".startswith(f"{self.version}." if self.version else "")
            and self.variant in ("", variant)
        )


def is_tight(max_bytes: int) -> bool:
    """Whether a budget is worth some speed: below it, what allocators keep back counts."""
    return max_bytes < _AMPLE_BYTES


def to_put_out(
    tenants: Iterable[Tenant], *, taken_bytes: int, coming_bytes: int, max_bytes: int
) -> list[Tenant]:
    """Whom to put out so that what comes finds room: those who were used longest ago, first.

    Args:
        tenants: the sessions in memory.
        taken_bytes: what is taken now.
        coming_bytes: what is about to be taken.
        max_bytes: what may be taken.

    Returns:
        As few as are thought to be enough; where all would not be enough, all who may be put out.
    """
    excess = taken_bytes + coming_bytes - max_bytes
    leaving: list[Tenant] = []
    for tenant in sorted(tenants, key=lambda tenant: tenant.used):
        if excess <= 0:
            break
        if not tenant.stays:
            leaving.append(tenant)
            excess -= tenant.held_bytes
    return leaving


def expected_bytes(
    engine: str, file_bytes: int, needs_bytes: int, measured: Sequence[int], *, first: bool
) -> int:
    """What opening a session is expected to take.

    Args:
        engine: the engine's name.
        file_bytes: the size of the variant's files.
        needs_bytes: what its manifest says it needs; 0 where it does not.
        measured: what it took when it was opened before, the last few times.
        first: it is the engine's first session in this process, and brings its runtime along.
    """
    appetite = _APPETITES.get(engine, _UNKNOWN)
    guess = needs_bytes or int(file_bytes * appetite.factor) + appetite.session_bytes
    runtime = appetite.runtime_bytes if first else 0
    return runtime + (max(measured) if measured else guess)


def too_large(needs_bytes: int, measured: Sequence[int], max_bytes: int) -> str:
    """Why a variant cannot ever be within a budget, as half a sentence; "" when it may be."""
    least = min(measured, default=0)
    if needs_bytes > max_bytes:
        return f"it needs {_mib(needs_bytes)} of memory, the models' budget is {_mib(max_bytes)}"
    if least > max_bytes:
        return f"it took {_mib(least)} of memory, the models' budget is {_mib(max_bytes)}"
    return ""


def _mib(size: int) -> str:
    return f"{size / _MIB:,.0f} MiB"
