"""Reading JSON that others wrote: every refusal names the field, what was expected, what came."""

from __future__ import annotations

import json
import math
from collections.abc import Sized
from typing import Any, Self, cast

from wherever_contracts.wire.framing import WireError
from wherever_contracts.wire.tensors import Parameter, Parameters

_LEAST_INTEGER, _MOST_INTEGER = -(2**63), 2**64 - 1
_MAX_QUOTED = 60
_MISSING = object()


class Field:
    """A value, and where it stands in its document.

    Every method but `wrong` raises `WireError` when the value is of another kind.
    """

    __slots__ = ("path", "value")

    def __init__(self, path: str, value: Any) -> None:
        self.path = path
        self.value = value

    @classmethod
    def parse(cls, document: bytes) -> Self:
        """The value that is the whole document.

        Raises:
            WireError: it is no JSON, which has no NaN and no Infinity.
        """
        try:
            return cls("", json.loads(document.decode(), parse_constant=_refuse_constant))
        except (ValueError, RecursionError) as error:
            raise WireError(f"the body: expected a JSON document, found none ({error})") from error

    @property
    def given(self) -> bool:
        """True when the field is there and is not null."""
        return self.value is not _MISSING and self.value is not None

    def wrong(self, expected: str, found: str = "") -> WireError:
        """The error to raise; without `found` it describes the value."""
        place = self.path or "the body"
        return WireError(f"{place}: expected {expected}, found {found or describe(self.value)}")

    def member(self, name: str) -> Field:
        """The field `name` of this object; it is not given either when this one is not."""
        path = f"{self.path}.{name}" if self.path else name
        return Field(path, self._members().get(name, _MISSING))

    def elements(self) -> list[Field]:
        """The elements of this array."""
        values = self.array()
        return [Field(f"{self.path}[{index}]", value) for index, value in enumerate(values)]

    def array(self) -> list[Any]:
        """The bare elements of this array."""
        elements: list[Any] = self._of(list, "an array")
        return elements

    def text(self, default: str | None = None) -> str:
        """This string; with a `default` it need not be given."""
        if default is not None and not self.given:
            return default
        text: str = self._of(str, "a string")
        return text

    def flag(self, *, default: bool) -> bool:
        """This boolean; it need not be given."""
        flag: bool = self._of(bool, "true or false") if self.given else default
        return flag

    def size(self, most: int = _MOST_INTEGER) -> int:
        """This whole number, from 0 to `most`."""
        if type(self.value) is not int or not 0 <= self.value <= most:
            raise self.wrong(f"a whole number from 0 to {most}")
        return self.value

    def integer(self) -> int:
        """This whole number of at most 64 bits."""
        if type(self.value) is not int or not _LEAST_INTEGER <= self.value <= _MOST_INTEGER:
            raise self.wrong("a whole number")
        return self.value

    def parameters(self, *, skip_null: bool = False) -> Parameters:
        """This object of strings, booleans and numbers; empty when it is not given.

        With `skip_null` those that are null count as not given.
        """
        members = {name: self.member(name) for name in self._members()}
        return {
            name: _parameter(field)
            for name, field in members.items()
            if field.given or not skip_null
        }

    def _members(self) -> dict[str, Any]:
        members: dict[str, Any] = self._of(dict, "an object") if self.given else {}
        return members

    def _of(self, kind: type, words: str) -> Any:
        if not isinstance(self.value, kind):
            raise self.wrong(words)
        return self.value


def describe(value: Any) -> str:
    """A JSON value in words, which are few however large it is."""
    if value is _MISSING:
        return "nothing"
    if type(value) is list:
        return f"an array of {len(cast('Sized', value))}"
    if type(value) is dict:
        return "an object"
    words = json.dumps(value)
    return words if len(words) <= _MAX_QUOTED else f"{words[:_MAX_QUOTED]}..."


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _parameter(field: Field) -> Parameter:
    value = field.value
    if isinstance(value, int) and _LEAST_INTEGER <= value <= _MOST_INTEGER:
        return value
    if isinstance(value, str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise field.wrong("a string, a boolean or a number of at most 64 bits")
