"""Plain data, as JSON gives it, read back as what it was written from.

What the annotations of a class say is what its fields must be. Fields that the class does not
know, as a newer version may write, are left out; those that are missing have their defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache, partial
from types import NoneType, UnionType
from typing import (
    Any,
    Literal,
    TypeAlias,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

T = TypeVar("T")

# What a value is read by: the value, and where it stands, for errors.
_Read: TypeAlias = Callable[[object, str], Any]


def from_plain(kind: type[T], value: object, where: str) -> T:
    """An object of a class, of what JSON holds of it.

    Args:
        kind: a dataclass or named tuple. Its fields are annotated with text, numbers, true or
            false, literals, "or None", dictionaries with names as keys, tuples of any length, and
            classes of this kind.
        value: what was read.
        where: what it is called in errors.

    Raises:
        ValueError: a field without a default is missing, or one is of another type.
    """
    known: Any = kind
    made: T = _reader(known)(value, where)
    return made


@cache
def _reader(kind: Any) -> _Read:
    if kind is Any:
        return _whatever
    if kind is float:
        return _number
    if kind in _WORDS:
        return partial(_exactly, kind)
    make = _GENERIC.get(get_origin(kind), _object_reader)
    return make(kind)


def _optional_reader(kind: Any) -> _Read:
    return partial(_or_none, _reader(next(each for each in get_args(kind) if each is not NoneType)))


def _object_reader(kind: Any) -> _Read:
    hints = get_type_hints(kind)
    reads = {name: _reader(hints[name]) for name in _names(kind)}
    return partial(_object, kind, reads, _needed(kind))


def _names(kind: Any) -> tuple[str, ...]:
    return tuple(each.name for each in fields(kind)) if is_dataclass(kind) else kind._fields


def _needed(kind: Any) -> tuple[str, ...]:
    """The fields that have no default."""
    if is_dataclass(kind):
        bare = (each for each in fields(kind) if each.default is each.default_factory is MISSING)
        return tuple(each.name for each in bare)
    return tuple(name for name in kind._fields if name not in kind._field_defaults)


def _whatever(value: object, _where: str) -> object:
    return value


def _number(value: object, where: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise _wrong(where, "a number", value)


def _exactly(kind: type, value: object, where: str) -> object:
    if type(value) is kind:
        return value
    raise _wrong(where, _WORDS[kind], value)


def _one_of(known: tuple[object, ...], value: object, where: str) -> object:
    if isinstance(value, str) and value in known:
        return value
    raise _wrong(where, f"one of {', '.join(map(str, known))}", value)


def _or_none(read: _Read, value: object, where: str) -> object:
    return None if value is None else read(value, where)


def _row(read: _Read, value: object, where: str) -> tuple[object, ...]:
    if not isinstance(value, list | tuple):
        raise _wrong(where, "a list", value)
    items = cast("list[object]", value)
    return tuple(read(item, f"{where}[{index}]") for index, item in enumerate(items))


def _named(read: _Read, value: object, where: str) -> dict[str, object]:
    items = _mapping(value, where)
    return {name: read(item, f"{where}[{name!r}]") for name, item in items.items()}


def _object(
    kind: Any, reads: Mapping[str, _Read], needed: tuple[str, ...], value: object, where: str
) -> object:
    given = _mapping(value, where)
    missing = [name for name in needed if name not in given]
    if missing:
        raise ValueError(f"{where}: expected {missing[0]!r}, found {', '.join(given) or 'nothing'}")
    known = {name: given[name] for name in reads if name in given}
    return kind(**{name: reads[name](item, f"{where}.{name}") for name, item in known.items()})


def _mapping(value: object, where: str) -> dict[str, object]:
    if isinstance(value, dict):
        return cast("dict[str, object]", value)
    raise _wrong(where, "an object", value)


def _wrong(where: str, expected: str, value: object) -> ValueError:
    return ValueError(f"{where}: expected {expected}, found {value!r:.100}")


_WORDS: dict[Any, str] = {str: "text", int: "a whole number", bool: "true or false"}
_GENERIC: dict[Any, Callable[[Any], _Read]] = {
    Literal: lambda kind: partial(_one_of, get_args(kind)),
    Union: _optional_reader,
    UnionType: _optional_reader,
    tuple: lambda kind: partial(_row, _reader(get_args(kind)[0])),
    dict: lambda kind: partial(_named, _reader(get_args(kind)[1])),
}
