"""A JSON file's settings, each checked when it is read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, cast

from wherever_contracts.errors import ConversionError


@dataclass(frozen=True)
class Said:
    """Settings from a JSON file.

    Every method raises `ConversionError` for a value of another kind; None and what is not there
    are the same.

    Attributes:
        file: its name, for errors.
        values: the settings; empty when the file is not there.
    """

    file: str
    values: Mapping[str, Any]

    def __bool__(self) -> bool:
        return bool(self.values)

    def raw(self, key: str) -> Any:
        """A value as it is; None by default."""
        return self.values.get(key)

    def text(self, key: str) -> str:
        """A text; "" by default."""
        value = self.raw(key)
        if value is None:
            return ""
        return value if isinstance(value, str) else self._refuse(key, "a text")

    def flag(self, key: str, *, default: bool) -> bool:
        """True or false."""
        value = self.raw(key)
        if value is None:
            return default
        return value if isinstance(value, bool) else self._refuse(key, "true or false")

    def number(self, key: str) -> float | None:
        """A finite number; None by default."""
        value = self.raw(key)
        if value is None:
            return None
        return float(value) if _is_number(value) else self._refuse(key, "a number")

    def count(self, key: str) -> int | None:
        """A whole number above 0; None by default, and for the huge ones that mean "no limit"."""
        value = self.number(key)
        if value is None or value > 2**31:
            return None
        return int(value) if value >= 1 and value == int(value) else self._refuse(key, "1 or more")

    def numbers(self, key: str) -> list[float] | None:
        """A list of numbers, or one number as a list; None by default."""
        value = self.raw(key)
        if value is None:
            return None
        if _is_number(value):
            return [float(value)]
        many = _many(value)
        if many and all(map(_is_number, many)):
            return [float(each) for each in many]
        return self._refuse(key, "a list of numbers")

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts; empty by default."""
        value = self.raw(key)
        if value is None:
            return ()
        many = _many(value)
        if many is not None and all(isinstance(each, str) for each in many):
            return tuple(map(str, many))
        return self._refuse(key, "a list of texts")

    def part(self, key: str) -> Said:
        """Settings inside of these; none by default."""
        value = self.raw(key)
        if value is None:
            return Said(f"{self.file}: {key}", {})
        if isinstance(value, dict):
            return Said(f"{self.file}: {key}", cast("dict[str, Any]", value))
        return self._refuse(key, "an object")

    def parts(self, key: str) -> tuple[Said, ...]:
        """Settings in a list inside of these; none by default."""
        many = _many(self.raw(key)) or ()
        return tuple(
            Said(f"{self.file}: {key}", {str(n): each}).part(str(n)) for n, each in enumerate(many)
        )

    def _refuse(self, key: str, expected: str) -> NoReturn:
        found = repr(self.raw(key))
        raise ConversionError(f"{self.file}: {key} must be {expected}, not {found[:80]}")


def labels_of(config: Said) -> tuple[str, ...] | None:
    """The names of the classes, in the model's order; None where they are not said.

    Raises:
        ConversionError: their numbers are not 0, 1, 2 and so on.
    """
    named = config.part("id2label").values
    if not named:
        return None
    if sorted(named) != sorted(map(str, range(len(named)))):
        raise ConversionError(f"{config.file}: id2label must number the classes 0, 1, 2, ...")
    return tuple(str(named[str(number)]) for number in range(len(named)))


def listed(names: Sequence[str]) -> str:
    """Names with commas between them, or "nothing"."""
    return ", ".join(names) or "nothing"


def _many(value: object) -> Sequence[Any] | None:
    """A list's elements; None for anything else."""
    return cast("Sequence[Any]", value) if isinstance(value, list) else None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
