"""Refusals of a `model.json`: another schema, and fields that are wrong."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from wherever_contracts.errors import ManifestError

if TYPE_CHECKING:
    from pydantic import ValidationError


def check_schema(found: object, source: str, major: int) -> None:
    """Refuse a schema that is no version, or one of another major version.

    Args:
        found: what the file says.
        source: what to call the file.
        major: the version that is known here.

    Raises:
        ManifestError: it is another.
    """
    match = re.fullmatch(r"([0-9]+)\.[0-9]+", found) if isinstance(found, str) else None
    if match is None:
        raise ManifestError(source, "schema", f'a version like "{major}.0"', repr(found))
    if match[1] != str(major):
        expected = f"major version {major} (update wherever to read it)"
        raise ManifestError(source, "schema", expected, match[0])


def refusal_of(
    error: ValidationError, source: str, schema: str, known: tuple[int, int]
) -> ManifestError:
    """The error for fields that are wrong; it names the first of them.

    Args:
        error: what pydantic says of them.
        source: what to call the file.
        schema: the version that the file says, checked.
        known: major and minor version that are known here.
    """
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    found = "nothing" if first["type"] == "missing" else _short(first["input"])
    expected = first["msg"].removeprefix("Value error, ")
    more = error.error_count() - 1
    suffix = f" (and {more} more wrong fields)" if more else ""
    return ManifestError(
        source, field or "the manifest", expected, found + suffix + _advice(schema, known)
    )


def _advice(schema: str, known: tuple[int, int]) -> str:
    """What to do where the file is newer than what is known; it may use what came since."""
    minor = int(schema.partition(".")[2][:18])
    if minor <= known[1]:
        return ""
    newer = f"schema {schema} is newer than {known[0]}.{known[1]}, which is known here"
    return f"; {newer}: update wherever to read it"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
