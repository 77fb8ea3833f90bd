"""The figures as tables: every variant, and the sensitivity of every layer. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from wherever_convert.page import amounts
from wherever_convert.page.markup import Child, Markup, cut, join, tag
from wherever_convert.page.points import Point
from wherever_convert.targets import Layer

MOST_LAYERS = 40
_MOST_FOLDED = 400
_LONGEST_NAME = 160
# Sensitivities reach over many powers of ten; more than this no bar shows.
_DECADES = 5.0


def scrolling(table: Markup, name: str) -> Markup:
    """A table that scrolls by itself where it is too wide, also by keyboard."""
    return tag("div", table, class_="scroll", tabindex="0", role="region", aria_label=name)


def variants_table(points: Sequence[Point], reference: str) -> Markup:
    """Every figure of the chart, and those that it has no room for.

    Args:
        points: in order.
        reference: the id of the variant that others are compared with.
    """
    heads: list[Child] = [_head("#"), _head("variant"), _head("engine")]
    heads += [_head(points[0].metric, number=True), _head("drop, points", number=True)]
    heads += [_head("agrees with reference", number=True), _head("latency", number=True)]
    heads += [_head("of float's time", number=True), _head("peak memory", number=True)]
    heads += [_head("files", number=True), _head("offered to")]
    body = [_variant(each, is_reference=each.variant == reference) for each in points]
    table = tag(
        "table", tag("thead", tag("tr", heads)), tag("tbody", body), class_="wide-table figures"
    )
    return scrolling(table, "Figures of every variant")


def layers_table(layers: Sequence[Layer], name: str) -> Markup:
    """A bar for each layer, the most sensitive first; the lesser ones folded.

    Args:
        layers: in order.
        name: of what they are the layers.
    """
    largest = max((each.error for each in layers if math.isfinite(each.error)), default=0.0)
    rows = [_layer(each, largest) for each in layers[: MOST_LAYERS + _MOST_FOLDED]]
    first, rest = rows[:MOST_LAYERS], rows[MOST_LAYERS:]
    if not rest:
        return _layers(first, name)
    missing = len(layers) - len(rows)
    more = f"{len(rest)} less sensitive layers" + (f" ({missing} more not shown)" * (missing > 0))
    folded = tag("details", tag("summary", more), _layers(rest, f"{name}, less sensitive"))
    return join(_layers(first, name), folded)


def _head(text: str, *, number: bool = False) -> Markup:
    return tag("th", text, scope="col", class_="number" if number else None)


def _number(*children: Child) -> Markup:
    return tag("td", *children, class_="number")


def _variant(point: Point, *, is_reference: bool) -> Markup:
    note = tag("small", "reference") if is_reference else None
    interval = None
    if point.low is not None and point.high is not None:
        ends = (amounts.quality(each, point.metric) for each in (point.low, point.high))
        interval = tag("small", "[{}, {}]".format(*ends))
    return tag(
        "tr",
        tag("td", point.number, class_="number"),
        tag("th", tag("bdi", point.variant), note, scope="row"),
        tag("td", tag("bdi", point.engine)),
        _number(amounts.quality(point.value, point.metric), interval),
        _number(_drop(point)),
        _number(amounts.share(point.agreement)),
        _number(amounts.seconds(point.median_s), _slow_runs(point)),
        _number(_ratio(point)),
        _number(
            amounts.NOTHING if point.memory_bytes is None else amounts.size(point.memory_bytes)
        ),
        _number(amounts.size(point.size_bytes)),
        tag("td", ", ".join(point.places) or amounts.NOTHING),
    )


def _drop(point: Point) -> Markup:
    lost = point.drop > 0.00005
    return tag("span", amounts.points(point.drop), class_="bad" if lost else None)


def _slow_runs(point: Point) -> Markup | None:
    return None if point.p95_s is None else tag("small", f"p95 {amounts.seconds(point.p95_s)}")


def _ratio(point: Point) -> Markup | str:
    if point.of_float is None:
        return amounts.NOTHING
    kind = "good" if point.of_float < 0.95 else "bad" if point.of_float > 1.05 else None
    return tag("span", amounts.times(point.of_float), class_=kind)


def _layers(rows: Sequence[Markup], name: str) -> Markup:
    heads = (_head("layer"), _head("computes"), _head("in"), _head("error when int8 alone"))
    head = tag("thead", tag("tr", heads, _head("share of range", number=True)))
    return scrolling(tag("table", head, tag("tbody", rows), class_="wide-table layers"), name)


def _layer(layer: Layer, largest: float) -> Markup:
    kind = "int8" if layer.quantized else "float"
    bar = tag("rect", width=_length(layer.error, largest), height=10, class_=kind)
    drawn = tag("svg", bar, viewBox="0 0 100 10", preserveAspectRatio="none", aria_hidden="true")
    return tag(
        "tr",
        tag("th", tag("code", tag("bdi", cut(layer.name, _LONGEST_NAME))), scope="row"),
        tag("td", cut(layer.op, 40), class_="op"),
        tag("td", kind),
        tag("td", drawn, class_="bar"),
        _number(f"{layer.error:.2e}"),
    )


def _length(error: float, largest: float) -> float:
    """Of a bar, 0 to 100, on a scale of powers of ten that ends at the largest."""
    if not math.isfinite(error):
        return 100.0
    if error <= 0 or largest <= 0:
        return 0.0
    return max(1.0, 100 * (1 + math.log10(error / largest) / _DECADES))
