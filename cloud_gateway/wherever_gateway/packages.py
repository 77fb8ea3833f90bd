"""Where a gateway finds its packages."""

from __future__ import annotations

from pathlib import Path

from wherever_edge.packages.store import Store


def store_of(packages: tuple[Path, ...], home: Path | None) -> Store:
    """The packages in some places, and those that came to a home as signed updates.

    Args:
        packages: directories, packages or archives; the wheel's own models when there are none.
        home: where archives are unpacked and signed updates are; None for neither.
    """
    return Store(
        packages,
        builtin=not packages,
        unpack_into=None if home is None else home / "unpacked",
        signed=None if home is None else home / "signed",
    )
