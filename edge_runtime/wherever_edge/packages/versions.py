"""Which of several versions is meant, by the rules of semver.org. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeAlias

# semver forbids leading zeros; they would be endless other names of one version
_NUMBER = "(0|[1-9][0-9]{0,17})"
_FULL = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?")
_PREFIX = re.compile(rf"{_NUMBER}(?:\.{_NUMBER})?")

Precedence: TypeAlias = tuple[tuple[int, ...], bool, tuple[tuple[bool, int, str], ...]]


def precedence(version: str) -> Precedence:
    """A key that sorts versions as semver does; build metadata does not count.

    Raises:
        ValueError: `version` is not a full version.
    """
    match = _FULL.fullmatch(version)
    if match is None:
        raise ValueError(f"not a version: {version!r}")
    numbers = (int(match[1]), int(match[2]), int(match[3]))
    pre = match[4]
    return numbers, pre is None, tuple(map(_identifier, pre.split("."))) if pre else ()


def choose(wanted: str, versions: Iterable[str]) -> str | None:
    """The version that `wanted` means, or None.

    "" means the highest, "1" and "1.4" the highest that begins so, a full version that one alone.
    A pre-release is chosen only when it was asked for in full, or when no release fits.
    """
    known = sorted(versions, key=lambda version: (precedence(version), version))
    if wanted in known:
        return wanted
    fitting = [version for version in known if _fits(wanted, version)]
    releases = [version for version in fitting if precedence(version)[1]]
    return next(reversed(releases or fitting), None)


def _fits(wanted: str, version: str) -> bool:
    if _FULL.fullmatch(wanted):
        return "+" not in wanted and precedence(wanted) == precedence(version)
    if not wanted:
        return True
    if not _PREFIX.fullmatch(wanted):
        return False
    asked = tuple(map(int, wanted.split(".")))
    return precedence(version)[0][: len(asked)] == asked


def _identifier(text: str) -> tuple[bool, int, str]:
    """Numbers sort before words, and by value."""
    return (False, int(text), "") if text.isdigit() else (True, 0, text)
