"""Where the names of things on a chart go, so that none covers another. Pure."""

from __future__ import annotations

import math
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
    """A circle with the names it may have, the best first.

    The last is the shortest, and may stand in the circle.
    """

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
    bubbles: Sequence[Bubble],
    frame: Area,
    texts: Sequence[Area] = (),
    lines: Sequence[Area] = (),
) -> list[Placed | None]:
    """A place for the name of each bubble, inside the frame and clear of all else.

    A bubble without any room has none.

    Args:
        bubbles: what to name; the first choose first.
        frame: where names may be.
        texts: what else they may not cover.
        lines: what they cover only where there is no other room.
    """
    circles = [_around(each) for each in bubbles]
    names: list[Area] = []
    found: list[Placed | None] = []
    for bubble in bubbles:
        rest = [each for each in bubbles if each != bubble]
        within = [_within(bubble)] if len(bubble.names) == 1 else []
        free, beside = [*names, *texts], list(_candidates(bubble))
        # at last a name may lie over a line, or in a circle that it is not alone in
        tries = (
            (within, free),
            (beside, [*free, *circles, *lines]),
            (beside, [*free, *circles]),
            ([_within(bubble)], free),
        )
        fitting = (
            candidate
            for candidates, taken in tries
            for candidate in candidates
            if _fits(candidate, frame, taken) and not _crosses(bubble, candidate[0], rest)
        )
        placed, area = next(fitting, (None, None))
        found.append(placed)
        if area is not None:
            names.append(area)
    return found


def _fits(candidate: tuple[Placed, Area], frame: Area, taken: Sequence[Area]) -> bool:
    area = candidate[1]
    return _inside(area, frame) and not any(_meet(area, other) for other in taken)


def _crosses(bubble: Bubble, placed: Placed, others: Sequence[Bubble]) -> bool:
    """Whether the line to a name would seem to come from another bubble."""
    if placed.lead is None:
        return False
    ends = ((bubble.x, bubble.y), placed.lead)
    return any(_distance((each.x, each.y), *ends) < each.radius for each in others)


_Spot: TypeAlias = tuple[float, float]


def _distance(spot: _Spot, start: _Spot, end: _Spot) -> float:
    """From a spot to the nearest of a line's."""
    along = (end[0] - start[0], end[1] - start[1])
    length = along[0] ** 2 + along[1] ** 2
    share = (spot[0] - start[0]) * along[0] + (spot[1] - start[1]) * along[1]
    share = min(max(share / length if length else 0.0, 0.0), 1.0)
    return math.dist(spot, (start[0] + share * along[0], start[1] + share * along[1]))


def _within(bubble: Bubble) -> tuple[Placed, Area]:
    """The shortest name in the middle of the circle."""
    name = bubble.names[-1]
    half, x, y = width_of(name) / 2, bubble.x, bubble.y
    placed = Placed(x, y + 4, "middle", name, None)
    return placed, Area(x - half, y - HEIGHT / 2, x + half, y + HEIGHT / 2)


def touches(area: Area, bubble: Bubble) -> bool:
    """Whether a rectangle and the square around a bubble share room."""
    return _meet(area, _around(bubble))


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
