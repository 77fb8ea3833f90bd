"""What is wrong with a `gateway.toml`, each fault in a sentence that an operator can act on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NamedTuple

from wherever_contracts.errors import SettingsError
from wherever_gateway.config.lines import dotted, line_of

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError
    from pydantic_core import ErrorDetails

    from wherever_gateway.config.lines import Path

_PASSWORD = re.compile(r"(://[^/:@\s]*):[^/@\s]*@")
_LONG = 80

# what pydantic calls them, and TOML does
_KINDS = {
    "a valid tuple": "a list",
    "a valid dictionary": "a table",
    "a valid number": "a number",
    "a valid integer": "a whole number",
    "a valid boolean": "true or false",
    "a valid string": "text",
}


class Fault(NamedTuple):
    """One thing that is wrong, or that is probably not meant.

    Attributes:
        key: the key concerned as TOML writes it; "" for the file as a whole.
        words: what is wrong, and what to do.
        line: where it stands in the file, counted from 1; None when that is not known.
        fatal: whether the gateway does not start with it.
    """

    key: str
    words: str
    line: int | None = None
    fatal: bool = True

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line is not None else ""
        return where + (f"{self.key}: {self.words}" if self.key else self.words)


class ConfigError(SettingsError):
    """A `gateway.toml` cannot be used.

    Attributes:
        source: the file.
        faults: everything that is wrong with it.
    """

    def __init__(self, source: str, faults: tuple[Fault, ...]) -> None:
        said = [str(fault) for fault in faults]
        if len(said) == 1:
            super().__init__(f"{source}: {said[0]}")
        else:
            each = "".join(f"\n  {one}" for one in said)
            super().__init__(f"{source}: {len(said)} things are wrong{each}")
        self.source = source
        self.faults = faults

    def __reduce__(self) -> tuple[type, tuple[str, tuple[Fault, ...]]]:
        return type(self), (self.source, self.faults)


def faults_of(
    error: ValidationError, schema: type[BaseModel], lines: Mapping[Path, int]
) -> tuple[Fault, ...]:
    """Every fault that pydantic found, in the order of the file.

    Args:
        error: what it said.
        schema: what it checked against.
        lines: where keys stand, from `lines_of`.
    """
    found = [_fault(each, schema, lines) for each in error.errors(include_url=False)]
    return tuple(sorted(dict.fromkeys(found), key=lambda fault: (fault.line or 0, fault.key)))


def hidden(text: str) -> str:
    """Text without the passwords of the URLs in it."""
    return _PASSWORD.sub(r"\1:***@", text)


def _fault(each: ErrorDetails, schema: type[BaseModel], lines: Mapping[Path, int]) -> Fault:
    path = _said_path(each["loc"])
    if each["type"] == "extra_forbidden":
        return Fault(dotted(path), _unknown(path, schema), line_of(lines, path))
    if each["type"] == "missing":
        words = f"is missing ({_meaning(path, schema)})"
        return Fault(dotted(path), words, line_of(lines, path))
    words = f"{_expected(each['msg'])}, found {_short(each['input'])}"
    return Fault(dotted(path), words, line_of(lines, path))


def _expected(message: str) -> str:
    words = message.removeprefix("Value error, ").replace("Input should be", "expected")
    for theirs, ours in _KINDS.items():
        words = words.replace(theirs, ours)
    return words


def _said_path(location: tuple[int | str, ...]) -> Path:
    """The path in the file, without what pydantic adds to tell alternatives apart."""
    kinds = re.compile(r"(tuple|dict|list)\[.*|\[key\]")
    return tuple(part for part in location if isinstance(part, int) or not kinds.fullmatch(part))


def _unknown(path: Path, schema: type[BaseModel]) -> str:
    known = list(_fields(path[:-1], schema))
    near = get_close_matches(str(path[-1]), known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}"
    return f"there is no such key; {hint}"


def _meaning(path: Path, schema: type[BaseModel]) -> str:
    field = _fields(path[:-1], schema)[str(path[-1])]
    return str(field.description or "").replace("\n", " ").rstrip(".")


def _fields(path: Path, schema: type[BaseModel]) -> Mapping[str, Any]:
    """The keys of the table at a path."""
    fields: Mapping[str, Any] = schema.model_fields
    for part in path:
        if part not in fields:
            continue  # a pattern, or a place in an array: tables of the same kind lie below
        fields = next(_models(fields[str(part)].annotation), schema).model_fields
    return fields


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The tables that an annotation speaks of."""
    if hasattr(annotation, "model_fields"):
        yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from _models(part)


def _short(value: object) -> str:
    text = hidden(repr(value))
    return text if len(text) <= _LONG else text[: _LONG - 3] + "..."
