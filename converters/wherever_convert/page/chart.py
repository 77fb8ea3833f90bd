"""Quality against latency against size: one bubble for each variant in each engine. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from wherever_convert.page import amounts
from wherever_convert.page.labels import Area, Bubble, Placed, place, touches, width_of
from wherever_convert.page.markup import Markup, cut, join, tag
from wherever_convert.page.points import Point
from wherever_convert.page.scales import Scale, linear, logarithmic
from wherever_convert.page.style import SERIES

_RADIUS = (6.0, 26.0)
_MOST_LETTERS = 28
# An axis of a smaller span would make noise look like a difference.
_LEAST_SPAN = 0.004


# A narrow chart names more than a few bubbles by their numbers in the table.
_NARROW = 400
_MOST_NARROW = 4
_Naming: TypeAlias = Literal["number", "variant", "engine"]


Kind: TypeAlias = Literal["narrow", "medium", "wide"]
_SIZES: Mapping[Kind, tuple[int, int]] = {
    "narrow": (360, 330),
    "medium": (680, 390),
    "wide": (1040, 440),
}


class Limit(NamedTuple):
    """The least value that a variant may have."""

    value: float
    name: str


class _Plot(NamedTuple):
    x: Scale
    y: Scale
    frame: Area


def chart(points: Sequence[Point], limit: Limit | None, kind: Kind) -> Markup:
    """The drawing, for a window of some width: its letters are of the page's size there.

    Args:
        points: at least one.
        limit: drawn where the values' own range comes near it.
        kind: "narrow" is for telephones.
    """
    width, height = _SIZES[kind]
    plot = _plot(points, limit, width, height)
    title, description = f"chart-title-{kind}", f"chart-description-{kind}"
    return tag(
        "svg",
        tag("title", f"{points[0].metric} against latency and size", id=title),
        tag("desc", _described(points), id=description),
        _grid(plot, points[0].metric),
        _limit_and_bubbles(plot, points, limit),
        class_=f"chart {kind}",
        viewBox=f"0 0 {width} {height}",
        role="img",
        aria_labelledby=f"{title} {description}",
    )


def legend(points: Sequence[Point]) -> Markup:
    """What the colours and areas mean."""
    entries = [
        tag("li", _swatch(number), tag("bdi", engine)) for engine, number in _series(points).items()
    ]
    sizes = f"area: file size ({amounts.size(min(each.size_bytes for each in points))} to "
    sizes += f"{amounts.size(max(each.size_bytes for each in points))})"
    notes = [tag("li", sizes), tag("li", "a number: the row of the table")]
    if any(each.low is not None for each in points):
        notes.append(tag("li", "bars: 95 % interval"))
    return tag("ul", entries, notes, class_="legend")


def _plot(points: Sequence[Point], limit: Limit | None, width: int, height: int) -> _Plot:
    frame = Area(64, 14, width - 8, height - 44)
    values = [v for p in points for v in (p.value, p.low, p.high) if v is not None]
    values = [v for v in values if math.isfinite(v)] or [0.0]
    span = max(max(values) - min(values), _LEAST_SPAN)
    if limit is not None and min(values) - limit.value <= span:
        values.append(limit.value)
    x = logarithmic([each.median_s for each in points], frame.left, frame.right)
    return _Plot(x, linear(values, frame.bottom, frame.top, _LEAST_SPAN), frame)


def _near(plot: _Plot, limit: Limit) -> bool:
    return plot.y.low <= limit.value <= plot.y.high


def _described(points: Sequence[Point]) -> str:
    """The chart in words, for those who do not see it; the table holds the same figures."""
    said = [
        f"{each.short} in {each.engine}: {amounts.quality(each.value, each.metric)}, "
        f"{amounts.seconds(each.median_s)}, {amounts.size(each.size_bytes)}"
        for each in points[:30]
    ]
    return "Up is better, left is faster, smaller is smaller. " + "; ".join(said)


def _grid(plot: _Plot, metric: str) -> Markup:
    frame = plot.frame
    lines = [_horizontal(frame, plot.y.at(tick), "grid") for tick in plot.y.ticks]
    lines += [_vertical(frame, plot.x.at(tick)) for tick in plot.x.ticks]
    names = [
        _text(frame.left - 8, plot.y.at(tick) + 4, _tick(tick, metric), "end")
        for tick in plot.y.ticks
    ]
    names += [
        _text(plot.x.at(tick), frame.bottom + 18, amounts.round_seconds(tick), "middle")
        for tick in _roomy(plot.x)
    ]
    axis = _horizontal(frame, frame.bottom, "axis")
    below = _text(frame.right, frame.bottom + 36, "median time in the engine →", "end")
    above = _text(frame.left + 6, frame.top + 2, f"↑ {metric}", "start")
    return tag("g", lines, axis, names, below, above)


def _roomy(scale: Scale) -> list[float]:
    """The ticks that have room for their names."""
    kept: list[float] = []
    for tick in scale.ticks:
        at, half = scale.at(tick), width_of(amounts.round_seconds(tick)) / 2
        clear = not kept or at - scale.at(kept[-1]) > 2 * half + 8
        if clear and scale.start - 20 < at - half and at + half < scale.end + 8:
            kept.append(tick)
    return kept


def _tick(value: float, metric: str) -> str:
    return amounts.round_quality(value, metric)


def _limit_and_bubbles(plot: _Plot, points: Sequence[Point], limit: Limit | None) -> Markup:
    drawn = _bubbles(plot, points)
    frame = plot.frame
    # names keep off the axis' title
    texts = [Area(frame.left, frame.top - 12, frame.left + 90, frame.top + 6)]
    lines, line = _whiskers(plot, points), None
    if limit is not None and _near(plot, limit):
        at = plot.y.at(limit.value)
        area = _limit_area(plot, limit, drawn)
        texts.append(area)
        lines.append(Area(frame.left, at - 1, frame.right, at + 1))
        name = _text(area.left, area.bottom - 4, limit.name, "start", "limit-name")
        line = join(_horizontal(frame, at, "limit"), name)
    placed = place(drawn, frame, texts, lines)
    return tag("g", line, _named_circles(plot, points, drawn, placed))


def _limit_area(plot: _Plot, limit: Limit, bubbles: Sequence[Bubble]) -> Area:
    """Room for the limit's name at its line, where it covers the fewest bubbles."""
    at, width, frame = plot.y.at(limit.value), width_of(limit.name), plot.frame
    areas = [
        Area(left, top, left + width, top + 16)
        for left in (frame.right - 4 - width, frame.left + 4)
        for top in (at + 2, at - 18)
    ]
    inside = [each for each in areas if frame.top <= each.top and each.bottom <= frame.bottom]
    return min(inside or areas, key=lambda area: sum(touches(area, each) for each in bubbles))


def _bubbles(plot: _Plot, points: Sequence[Point]) -> list[Bubble]:
    several = len(_series(points)) > 1
    largest = max(each.size_bytes for each in points)
    narrow = plot.frame.right < _NARROW and len(points) > _MOST_NARROW
    naming: _Naming = "number" if narrow else "engine" if several else "variant"
    return [_bubble(plot, each, largest, naming) for each in points]


def _named_circles(
    plot: _Plot, points: Sequence[Point], drawn: Sequence[Bubble], names: Sequence[Placed | None]
) -> Markup:
    series = _series(points)
    # large ones first, so that none hides a smaller one
    order = sorted(range(len(points)), key=lambda n: -drawn[n].radius)
    circles = [_circle(plot, points[n], drawn[n], series[points[n].engine]) for n in order]
    pairs = zip(drawn, names, strict=True)
    leads = [_lead(bubble, name) for bubble, name in pairs if name is not None]
    return join(leads, circles, [_name(name) for name in names if name is not None])


def _whiskers(plot: _Plot, points: Sequence[Point]) -> list[Area]:
    found: list[Area] = []
    for each in points:
        x, ends = plot.x.at(each.median_s), _ends(each)
        if ends is not None:
            low, high = ends
            found.append(Area(x - 5, plot.y.at(high) - 1, x + 5, plot.y.at(low) + 1))
    return found


def _bubble(plot: _Plot, point: Point, largest: int, naming: _Naming) -> Bubble:
    radius = max(_RADIUS[0], _RADIUS[1] * math.sqrt(point.size_bytes / largest))
    value = point.value if math.isfinite(point.value) else plot.y.low
    short = cut(point.short, _MOST_LETTERS)
    long = f"{short} · {cut(point.engine, _MOST_LETTERS)}"
    names = {"engine": (long, short), "variant": (short,), "number": ()}[naming]
    named = (*names, str(point.number))
    return Bubble(plot.x.at(point.median_s), plot.y.at(value), radius, named)


def _circle(plot: _Plot, point: Point, bubble: Bubble, series: int) -> Markup:
    ends, whisker = _ends(point), None
    if ends is not None:
        whisker = tag("path", d=_whisker(plot, bubble, *ends), class_="whisker")
    circle = tag("circle", cx=bubble.x, cy=bubble.y, r=bubble.radius, class_="bubble")
    dot = tag("circle", cx=bubble.x, cy=bubble.y, r=2)
    title = tag("title", f"{point.short} in {point.engine}")
    return tag("g", title, circle, whisker, dot, class_=f"s{series}")


def _ends(point: Point) -> tuple[float, float] | None:
    """Of the interval; None when there is none."""
    if point.low is None or point.high is None or not math.isfinite(point.low + point.high):
        return None
    return point.low, point.high


def _whisker(plot: _Plot, bubble: Bubble, low: float, high: float) -> str:
    x, bottom, top = bubble.x, plot.y.at(low), plot.y.at(high)
    ends = "".join(f"M{x - 4:.1f} {y:.1f}H{x + 4:.1f}" for y in (bottom, top))
    return f"M{x:.1f} {bottom:.1f}V{top:.1f}{ends}"


def _lead(bubble: Bubble, name: Placed) -> Markup | None:
    if name.lead is None:
        return None
    return tag("line", x1=bubble.x, y1=bubble.y, x2=name.lead[0], y2=name.lead[1], class_="lead")


def _name(name: Placed) -> Markup:
    return _text(name.x, name.y, name.text, name.anchor, "name")


def _series(points: Sequence[Point]) -> Mapping[str, int]:
    engines = sorted({each.engine for each in points})
    return {engine: min(n, len(SERIES) - 1) for n, engine in enumerate(engines)}


def _swatch(series: int) -> Markup:
    circle = tag("circle", cx=6, cy=6, r=5, class_=f"s{series}")
    return tag("svg", circle, width=12, height=12, viewBox="0 0 12 12", aria_hidden="true")


def _horizontal(frame: Area, y: float, kind: str) -> Markup:
    return tag("line", x1=frame.left, x2=frame.right, y1=y, y2=y, class_=kind)


def _vertical(frame: Area, x: float) -> Markup:
    return tag("line", x1=x, x2=x, y1=frame.top, y2=frame.bottom, class_="grid")


def _text(x: float, y: float, text: str, anchor: str, kind: str = "tick") -> Markup:
    return tag("text", join(text), x=x, y=y, text_anchor=anchor, class_=kind)
