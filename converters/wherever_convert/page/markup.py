"""HTML and SVG, with everything that is not ours escaped in one place. Pure."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import TypeAlias, Union

Value: TypeAlias = str | int | float | bool | None
# Text that would be shown in another order than it is written, and so could pass for other text.
_REORDERING = {chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}
_VOID = frozenset({"meta", "img", "br"})
_UNKNOWN = "\N{REPLACEMENT CHARACTER}"


class Markup(str):
    """Text that is markup already; only `tag` and `join` make it."""

    __slots__ = ()


Child: TypeAlias = Union[str, int, float, Iterable["Child"], None]  # noqa: UP007 (a name in quotes has no |)


def tag(name: str, /, *children: Child, **attributes: Value) -> Markup:
    """An element: its children in order, and its attributes.

    Text is escaped; markup is not. An underscore in an attribute's name is a hyphen, and one at its
    end falls away (`class_`, `stroke_width`); None and False leave the attribute out.
    """
    said = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _VOID:
        return Markup(f"<{name}{said}>")
    return Markup(f"<{name}{said}>{join(*children)}</{name}>")


def join(*children: Child) -> Markup:
    """Children one after the other; text among them is escaped, None left out."""
    return Markup("".join(_flat(each) for each in children))


def cut(text: str, most: int) -> str:
    """Text of at most `most` characters, with a sign where some are missing."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def visible(text: str) -> str:
    """Text without what no page can hold, or what would show it as other text.

    Line ends and tabs become spaces; other control characters, halves of surrogate pairs (as in
    file names that are no UTF-8), and what turns the writing direction become a sign.
    """
    return "".join(_shown(each) for each in text)


def _shown(character: str) -> str:
    if character in "\n\r\t\x85\u2028\u2029":
        return " "
    code = ord(character)
    if code < 0x20 or 0x7F <= code < 0xA0 or 0xD800 <= code < 0xE000:
        return _UNKNOWN
    return _UNKNOWN if character in _REORDERING or code in (0xFFFE, 0xFFFF) else character


def _flat(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Markup):
        return child
    if isinstance(child, str | int | float):
        return html.escape(visible(str(child)))
    return "".join(_flat(each) for each in child)


def _attribute(key: str, value: Value) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f' {name}="{html.escape(visible(_written(value)))}"'


def _written(value: Value) -> str:
    if value is True:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
