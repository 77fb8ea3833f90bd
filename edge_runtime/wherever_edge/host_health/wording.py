"""How what went wrong is told where there is no room for all of it."""

from __future__ import annotations

_LONGEST = 120


def brief(text: str) -> str:
    """What happened, without the cause and the advice that errors have in brackets and after."""
    short = text.partition(" (")[0]
    return short if len(short) <= _LONGEST else short[: _LONGEST - 3] + "..."
