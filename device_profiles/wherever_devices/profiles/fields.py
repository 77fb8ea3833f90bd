"""What a profile's file may say, field by field. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple, cast

from wherever_devices.onednn import LEVELS
from wherever_devices.processor import FEATURES
from wherever_devices.profiles import Hardware, Profile, Saving


class Rule(NamedTuple):
    """What a field may hold: in words, and as a test."""

    expected: str
    holds: Callable[[object], bool]


def _one_of(*words: str) -> Rule:
    def holds(value: object) -> bool:
        return value in words

    return Rule(" or ".join(map(repr, words)), holds)


def _some_of(*words: str, least: int = 1) -> Rule:
    def holds(value: object) -> bool:
        if not isinstance(value, list):
            return False
        listed = cast("list[object]", value)
        once = all(one in words and listed.count(one) == 1 for one in listed)
        return once and len(listed) >= least

    amount = "a list of one or more" if least else "a list"
    return Rule(f"{amount} of {', '.join(words)}, none twice", holds)


def _whole(least: int) -> Rule:
    def holds(value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and value >= least

    return Rule(f"a whole number of {least} or more", holds)


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


_TEXT = Rule("text", _is_text)
_FLAG = Rule("true or false", _is_flag)
_COUNT = _whole(1)
_SHARE = Rule("a number over 0, up to 1", _is_share)
_OBJECTIVE = _one_of("latency", "cpu_time")

_SAVING = {
    "threads_share": _SHARE,
    "runs_share": _SHARE,
    "prefer_small": _FLAG,
    "objective": _OBJECTIVE,
}
FIELDS: Mapping[str, Rule] = {
    "summary": _TEXT,
    "extends": _TEXT,
    "max_threads": _COUNT,
    "max_runs": _COUNT,
    "memory_max_share": _SHARE,
    "memory_max_bytes": _COUNT,
    "max_waiting": _whole(0),
    "devices": _some_of("cpu", "gpu", "npu"),
    "precisions": _some_of("float32", "bfloat16", "float16"),
    "objective": _OBJECTIVE,
    "prefer_small": _FLAG,
}
TABLES: Mapping[str, Mapping[str, Rule]] = {
    "on_battery": {**_SAVING, "below_share": _SHARE},
    "warm": _SAVING,
    "hot": _SAVING,
    "hardware": {
        "cores": _COUNT,
        "memory_bytes": _COUNT,
        "cpu_features": _some_of(*FEATURES, least=0),
        "accelerators": _some_of("gpu", "npu", least=0),
        "onednn_max_cpu_isa": _one_of("", *LEVELS),
    },
}


def faults(said: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with what a file says, one sentence for each field.

    Args:
        said: the file's content.
    """
    for name, value in said.items():
        if name not in TABLES:
            yield from _fault(name, value, FIELDS, "")
        elif not isinstance(value, dict):
            yield f"{name}: expected a table, found {value!r}"
        else:
            for field, found in cast("dict[str, Any]", value).items():
                yield from _fault(field, found, TABLES[name], f"{name}.")


def merged(base: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """What holds when a file extends another: its fields win, in tables one by one."""
    tables = {
        name: {**base[name], **said[name]} for name in TABLES if name in base and name in said
    }
    return {**base, **said, **tables}


def profile_of(name: str, said: Mapping[str, Any]) -> Profile:
    """The profile that a content without faults describes.

    Args:
        name: how it is called.
        said: the content, with that of the files that it extends.

    Raises:
        ValueError: the hardware has no cores or no memory.
    """
    lacking = [key for key in ("cores", "memory_bytes") if key not in said.get("hardware", {})]
    if "hardware" in said and lacking:
        raise ValueError(f"hardware: expected {' and '.join(lacking)} in the table, found none")
    plain = {key: _frozen(value) for key, value in said.items() if key in FIELDS}
    plain.pop("extends", None)
    hardware = {key: _frozen(value) for key, value in said.get("hardware", {}).items()}
    return Profile(
        name=name,
        on_battery=Saving(**said.get("on_battery", {})),
        warm=Saving(**said.get("warm", {})),
        hot=Saving(**said.get("hot", {})),
        hardware=Hardware(**hardware) if hardware else None,
        **plain,
    )


def _fault(name: str, value: object, rules: Mapping[str, Rule], table: str) -> Iterator[str]:
    rule = rules.get(name)
    if rule is None:
        yield f"there is no field {table}{name}{_meant(name, rules, table)}"
    elif not rule.holds(value):
        yield f"{table}{name}: expected {rule.expected}, found {value!r}"


def _meant(name: str, rules: Mapping[str, Rule], table: str) -> str:
    known: Sequence[str] = [*rules] if table else [*rules, *TABLES]
    near = get_close_matches(name, known, n=1)
    return f": did you mean {table}{near[0]}?" if near else f"; fields: {', '.join(known)}"


def _frozen(value: object) -> Any:
    return tuple(cast("list[object]", value)) if isinstance(value, list) else value
