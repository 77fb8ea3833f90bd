"""What becomes known about a variant's answers, one event at a time, and as a line of JSON. Pure.

Evidence outlives a process as a file of such lines; whatever is known is a fold over them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias, cast

VOIDING = ("shift", "broken")
"""Kinds of alarms after which a calibration says nothing of the calls any more."""


class Paired(NamedTuple):
    """The variant and the reference both answered a call.

    Attributes:
        calls: answers that were given and not compared since the event before; this one not.
        confidence: the variant's, 0 to 1.
        loss: how far its answer is from the reference's, 0 to 1.
        probability: how likely it was, before, that the reference would be asked; in (0, 1].
        category: the class that the variant's answer names (`agreement.category_of`).
        at: when, in seconds since 1970.
        given: the variant's answer was given (an audit); False: the reference's (an escalation).
        known: the reference did answer; False: it was to, and could not, and the loss is the worst.
    """

    calls: int
    confidence: float
    loss: float
    probability: float
    category: int
    at: float
    given: bool = False
    known: bool = True


class Judged(NamedTuple):
    """Somebody said how right an answer was; a later one of the same call takes its place.

    Attributes:
        id: the call's.
        right: how right the variant's answer is, 0 to 1; None: that is not known.
        right_reference: the reference's; None: it was not asked, or that is not known.
        confidence: the variant's, 0 to 1; None: it has none, or that is not known.
        category: the class that the variant's answer names; None: that is not known.
        at: when, in seconds since 1970.
        escalated: the reference's answer was the one that was given.
    """

    id: str
    right: float | None
    right_reference: float | None
    confidence: float | None
    category: int | None
    at: float
    escalated: bool = False

    @property
    def right_given(self) -> float | None:
        """How right the answer that was given is; None: that is not known."""
        return self.right_reference if self.escalated else self.right


class Alarmed(NamedTuple):
    """An assumption of a promise was found not to hold; see `words.Alarm`.

    Attributes:
        kind: "shift", "broken", "noise" or "specialist".
        why: what was found.
        at: when, in seconds since 1970.
    """

    kind: str
    why: str
    at: float


class Stood(NamedTuple):
    """How a promise stood, so that other processes can tell.

    Attributes:
        aim: what was asked for, in words.
        threshold: the least confidence that was given without asking the reference.
        why: what set it, in words.
        unkept: calls of which the promise could not be kept, since the one before.
        at: when, in seconds since 1970.
    """

    aim: str
    threshold: float
    why: str
    unkept: int
    at: float


Event: TypeAlias = Paired | Judged | Alarmed | Stood


def pack_event(event: Event) -> bytes:
    """The event as a line of JSON, with the end of the line."""
    return _encode({"event": _NAMES[type(event)], **event._asdict()}).encode() + b"\n"


def unpack_event(line: bytes) -> Event:
    """Read such a line, with or without its end.

    Raises:
        ValueError: it is damaged, or of another version; the message says what is wrong.
    """
    fields = _object(line)
    name = fields.pop("event", None)
    make = _MAKERS.get(name) if isinstance(name, str) else None
    if make is None:
        raise ValueError(f"no event is named {name!r:.40}")
    checks = _CHECKS[make]
    if fields.keys() != checks.keys():
        raise ValueError(f"{name}: expected {', '.join(checks)}; found {', '.join(fields)}")
    for field, fits in checks.items():
        if not fits(fields[field]):
            raise ValueError(f"{name}.{field} cannot be {fields[field]!r:.40}")
    return make(**fields)


def _object(line: bytes) -> dict[str, Any]:
    try:
        data = _decode(line.decode())
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if isinstance(data, dict):
        return cast("dict[str, Any]", data)
    raise ValueError(f"expected a JSON object, found {type(data).__name__}")


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < math.inf


def _is_share(value: Any) -> bool:
    return (type(value) is float or _is_number(value)) and 0 <= value <= 1


def _is_chance(value: Any) -> bool:
    return _is_share(value) and value > 0


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return _is_whole(value) and value >= 0


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _or_none(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or fits(value)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


_CHECKS: Mapping[type[Event], Mapping[str, Callable[[Any], bool]]] = {
    Paired: {
        "calls": _is_count,
        "confidence": _is_share,
        "loss": _is_share,
        "probability": _is_chance,
        "category": _is_whole,
        "at": _is_number,
        "given": _is_flag,
        "known": _is_flag,
    },
    Judged: {
        "id": _is_text,
        "right": _or_none(_is_share),
        "right_reference": _or_none(_is_share),
        "confidence": _or_none(_is_share),
        "category": _or_none(_is_whole),
        "at": _is_number,
        "escalated": _is_flag,
    },
    Alarmed: {"kind": _is_text, "why": _is_text, "at": _is_number},
    Stood: {
        "aim": _is_text,
        "threshold": _is_number,
        "why": _is_text,
        "unkept": _is_count,
        "at": _is_number,
    },
}
_NAMES: Mapping[type[Event], str] = {kind: kind.__name__.lower() for kind in _CHECKS}
_MAKERS: Mapping[str, type[Event]] = {name: kind for kind, name in _NAMES.items()}
# made once, as that costs more than to read a line
_decode = json.JSONDecoder(parse_constant=_refuse_constant).decode
# a float32 of numpy's is a number, too
_encode = json.JSONEncoder(separators=(",", ":"), default=float).encode
