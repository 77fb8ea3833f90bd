"""On which line of a TOML text a key stands: the parser of the standard library does not say."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, cast

Path: TypeAlias = tuple[str | int, ...]

_HEADER = re.compile(r"\s*(\[\[?)(?P<key>(?:\"[^\"]*\"|'[^']*'|[^\]\"'#])+)\]")
_KEY = re.compile(r"\s*(?P<key>(?:\"[^\"]*\"|'[^']*'|[\w\s.\-])+?)\s*=")


def lines_of(text: str) -> dict[Path, int]:
    """The line of each table and key, counted from 1.

    Args:
        text: TOML that can be read. A text of several lines that looks like keys itself is taken
            for keys: a line is help to find something, and no more.

    Returns:
        Path -> line; the tables of an array are told apart by a number, from 0.
    """
    found: dict[Path, int] = {}
    counts: dict[Path, int] = {}
    table: Path = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            table = _numbered(_path(header["key"]), counts, is_array=header[1] == "[[")
            _note(found, table, number)
        elif key := _KEY.match(line):
            _note(found, (*table, *_path(key["key"])), number)
    return found


def line_of(found: Mapping[Path, int], path: Path) -> int | None:
    """The line of a key, or of the nearest table or key around it; None when there is none."""
    for end in range(len(path), 0, -1):
        if path[:end] in found:
            return found[path[:end]]
    return None


def dotted(path: Sequence[str | int]) -> str:
    """A path as TOML writes it: `tenants."shop-*".quotas[0]`."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{_quoted(part)}" for part in path]
    return "".join(parts).removeprefix(".")


def _note(found: dict[Path, int], path: Path, number: int) -> None:
    """Note the line of a key, and of the tables that it is the first to speak of."""
    for end in range(1, len(path) + 1):
        found.setdefault(path[:end], number)


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)


def _numbered(path: Path, counts: dict[Path, int], *, is_array: bool) -> Path:
    """A header's path, with the number of each array's table that it is in."""
    numbered: Path = ()
    for position, part in enumerate(path, 1):
        numbered = (*numbered, part)
        if is_array and position == len(path):
            counts[numbered] = counts.get(numbered, -1) + 1
        if numbered in counts:
            numbered = (*numbered, counts[numbered])
    return numbered


def _path(key: str) -> Path:
    """The parts of a dotted key; none for what only looks like one."""
    try:
        said: Any = tomllib.loads(f"{key} = 0")
    except tomllib.TOMLDecodeError:
        return ()
    path: Path = ()
    while isinstance(said, dict):
        ((name, said),) = cast("dict[str, Any]", said).items()
        path = (*path, name)
    return path
