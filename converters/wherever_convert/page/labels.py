"""Where the names of things on a chart go, so that none covers another. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, TypeAlias

HEIGHT = 15.0
_LETTER = 7.2
_WIDE_LETTER = 13.5

Anchor: TypeAlias = Literal["start", "middle", "end"]


class Area(NamedTuple):
    """A rectangle by its edges."""

    left: float
    top: float
    right: float
    bottom: float


class Bubble(NamedTuple):
    """A circle with the names it may have, the best first; the last is the shortest."""

    x: float
    y: float
    radius: float
    names: tuple[str, ...]


class Placed(NamedTuple):
    """A name: where its baseline begins (or its middle, or end), and what it says.

    `lead` is the end of a line from the bubble to it, when it stands far off.
    """

    x: float
    y: float
    anchor: Anchor
    text: str
    lead: tuple[float, float] | None


def width_of(text: str) -> float:
    """About how wide a text is in 12 pixels; rather too much than too little."""
    return sum(_WIDE_LETTER if unicodedata.east_asian_width(c) in "WF" else _LETTER for c in text)


def place(
    bubbles: Sequence[Bubble], frame: Area, others: Sequence[Area] = ()
) -> list[Placed | None]:
    """A place for the name of each bubble, inside the frame and clear of all else.

    A bubble without any room has none.

    Args:
        bubbles: what to name; the first choose first.
        frame: where names may be.
        others: what else they may not cover.
    """
    taken = [*(_around(each) for each in bubbles), *others]
    found: list[Placed | None] = []
    for bubble in bubbles:
        fitting = (
            (placed, area)
            for placed, area in _candidates(bubble)
            if _inside(area, frame) and not any(_meet(area, other) for other in taken)
        )
        placed, area = next(fitting, (None, None))
        found.append(placed)
        if area is not None:
            taken.append(area)
    return found


_FAR = (0.0, 16.0, 32.0, 52.0, 76.0, 104.0)


def _candidates(bubble: Bubble) -> Iterator[tuple[Placed, Area]]:
    """Every place that a name could have, the best first."""
    for name in bubble.names:
        width = width_of(name)
        for far in _FAR:
            gap = bubble.radius + 5 + far
            for side in ("right", "left", "above", "below", "upper", "lower"):
                area, anchor, x = _beside(bubble, side, gap, width)
                lead = ((area.left + area.right) / 2, (area.top + area.bottom) / 2)
                baseline = area.bottom - 4
                yield Placed(x, baseline, anchor, name, lead if far else None), area


def _beside(bubble: Bubble, side: str, gap: float, width: float) -> tuple[Area, Anchor, float]:
    x, y, half = bubble.x, bubble.y, HEIGHT / 2
    if side == "right":
        return Area(x + gap, y - half, x + gap + width, y + half), "start", x + gap
    if side == "left":
        return Area(x - gap - width, y - half, x - gap, y + half), "end", x - gap
    if side in ("above", "below"):
        top = y - gap - HEIGHT if side == "above" else y + gap
        return Area(x - width / 2, top, x + width / 2, top + HEIGHT), "middle", x
    top = y - gap * 0.75 - HEIGHT if side == "upper" else y + gap * 0.75
    left = x + gap * 0.75
    return Area(left, top, left + width, top + HEIGHT), "start", left


def _around(bubble: Bubble) -> Area:
    x, y, radius = bubble.x, bubble.y, bubble.radius
    return Area(x - radius, y - radius, x + radius, y + radius)


def _inside(area: Area, frame: Area) -> bool:
    return (
        area.left >= frame.left
        and area.right <= frame.right
        and area.top >= frame.top
        and area.bottom <= frame.bottom
    )


def _meet(area: Area, other: Area) -> bool:
    return (
        area.left < other.right
        and other.left < area.right
        and area.top < other.bottom
        and other.top < area.bottom
    )
