"""Small texts of the `proc`, `sys` and `dev` file systems, read so that nothing fails."""

from __future__ import annotations

import re
from pathlib import Path


def text(path: Path) -> str:
    """What a file says, without blanks at its ends; "" when it cannot be read."""
    try:
        return path.read_text(errors="replace").strip(" \t\r\n\0")
    except OSError:
        return ""


def number(path: Path) -> int | None:
    """The whole number that a file says; None when it says none."""
    try:
        return int(text(path))
    except ValueError:
        return None


def entries(folder: Path, pattern: str) -> list[Path]:
    """What a folder holds under names that match, in order; nothing when it is not there."""
    return sorted(folder.glob(pattern))


def numbers(listed: str) -> frozenset[int]:
    """The numbers of a list as the kernel writes it: "0-3,8" means 0, 1, 2, 3 and 8."""
    found: set[int] = set()
    for part in listed.split(","):
        first, _, last = part.strip().partition("-")
        if first.isdigit():
            found.update(range(int(first), int(last if last.isdigit() else first) + 1))
    return frozenset(found)


def parse_meminfo(meminfo: str, field: str = "MemTotal") -> int:
    """Bytes that a field of /proc/meminfo's text says; 0 when it does not say."""
    match = re.search(rf"^{field}:\s+(\d+) kB$", meminfo, re.MULTILINE)
    return int(match[1]) * 1024 if match else 0
