"""Inputs by what they hold: told apart in microseconds mostly, and for certain when it matters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array

_SAMPLES = 64


def sample(feed: Mapping[str, Array]) -> bytes:
    """Some of the bytes of contiguous inputs; other inputs may have the same."""
    return b"".join(
        array.reshape(-1)[:: max(1, array.size // _SAMPLES)].tobytes() for array in feed.values()
    )


def digest(feed: Mapping[str, Array]) -> bytes:
    """A digest of inputs; no others have the same."""
    import hashlib  # noqa: PLC0415 (only after a crash)

    made = hashlib.blake2b(digest_size=16)
    for name, array in feed.items():
        made.update(f"{name}:{array.dtype.name}{array.shape};".encode())
        made.update(array.tobytes())
    return made.digest()
