"""Plug-ins by entry point; ours register the same way as everybody's."""

from __future__ import annotations

from functools import cache
from typing import Any

from wherever_contracts.errors import SettingsError


@cache
def entry_points(group: str) -> dict[str, Any]:
    """Name -> entry point of `group`; nothing is imported yet."""
    from importlib.metadata import entry_points as find  # noqa: PLC0415 (28 ms)

    return {point.name: point for point in find(group=group)}


def load(group: str, name: str) -> Any:
    """Import and return the plug-in `name` of `group`.

    Raises:
        SettingsError: no such plug-in is installed, or importing it failed.
    """
    known = entry_points(group)
    if name not in known:
        installed = ", ".join(sorted(known)) or "none"
        raise SettingsError(
            f"no {group} plug-in named {name!r} is installed (there are: {installed})"
        )
    try:
        return known[name].load()
    except Exception as error:
        raise SettingsError(f"{group} plug-in {name!r} cannot be imported: {error}") from error
