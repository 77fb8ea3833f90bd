"""The parts of the page that say what was made, left out, tried and recorded. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from wherever_contracts.certificate import Certificate
from wherever_convert.page import amounts
from wherever_convert.page.chart import Kind, Limit, chart, legend
from wherever_convert.page.markup import Child, Markup, cut, join, tag
from wherever_convert.page.points import Point
from wherever_convert.page.tables import layers_table, variants_table
from wherever_convert.targets import TARGETS, Layer

if TYPE_CHECKING:
    from wherever_convert.report import ConversionReport

_MOST_FACTS = 80
_LONGEST_FACT = 400
_MOST_DAMAGED = 50
_FEW_DAMAGED = 8
_MOST_NAMED_LAYERS = 5
_MOST_TRIED = 200
_DEEPEST = 4


def heading(report: ConversionReport, points: Sequence[Point], reference: str) -> Markup:
    """Which model, and its figures in short."""
    title = tag("h1", tag("bdi", report.name), " ", tag("small", tag("bdi", report.version)))
    count = len({each.variant for each in points})
    made = f"{count} measured variant{'s' * (count != 1)}, made of "
    about = tag("p", made, tag("bdi", _origin(report.source)), class_="soft")
    return tag("header", title, about, tag("dl", _tiles(report, points, reference), class_="tiles"))


def warnings(report: ConversionReport) -> Markup:
    """What is odd about the figures."""
    return join(
        [tag("div", tag("p", each), class_="warn", role="note") for each in report.warnings]
    )


def figures(report: ConversionReport, points: Sequence[Point], reference: str) -> Markup:
    """Quality against latency against size, as a drawing and as a table."""
    limit = _limit(report, points, reference)
    kinds: tuple[Kind, ...] = ("wide", "medium", "narrow")
    drawn = [chart(points, limit, kind) for kind in kinds]
    return tag(
        "section",
        tag("h2", "Quality, latency and size"),
        tag("p", _measured_on(report), class_="soft"),
        tag("figure", drawn, legend(points)),
        variants_table(points, reference),
    )


def left_out(report: ConversionReport) -> Markup | None:
    """Which targets there are no variants of, and why; and what was tried on the way."""
    refused = [_refusal(report, target, why) for target, why in report.left_out.items()]
    tried = [_trace(target, lines) for target, lines in report.traces.items() if lines]
    if not refused and not tried:
        return None
    title = "What was left out, and what was tried" if refused else "What was tried"
    return tag("section", tag("h2", title), refused, tried)


def sensitivity(report: ConversionReport) -> Markup | None:
    """How much each layer suffers from int8."""
    shown = [(target, layers) for target, layers in report.layers.items() if layers]
    if not shown:
        return None
    about = (
        "How far the outputs move when this layer alone computes in int8, as a share of their "
        "range, on a scale of powers of ten. Layers in float were put back to keep the quality."
    )
    parts = [
        join(_layers_title(target, layers), layers_table(layers, f"Layers of {target}"))
        for target, layers in shown
    ]
    return tag("section", tag("h2", "Sensitivity of the layers"), tag("p", about), parts)


def records(report: ConversionReport, certificates: Sequence[Certificate]) -> Markup:
    """What it takes to do the same again: sources, data, tools, machines."""
    return tag(
        "section",
        tag("h2", "Record"),
        _facts("Source", report.source),
        _facts("Samples", _data(report, certificates)),
        _damaged(report),
        _facts("Tools", _tools(certificates)),
        [_facts("Machine", machine) for machine in _machines(certificates)],
        _steps(report),
        _facts("Provenance, as the package says it", report.provenance, folded=True),
    )


def _origin(source: Mapping[str, Any]) -> str:
    named = [
        str(source[key])
        for key in ("file", "module", "estimator", "model", "program", "folder")
        if source.get(key)
    ]
    kind = source.get("kind") or source.get("framework")
    return cut(" ".join([*named[:1], *([f"({kind})"] if kind else [])]) or "a model", 200)


def _tiles(report: ConversionReport, points: Sequence[Point], reference: str) -> list[Markup]:
    first = next((each for each in points if each.variant == reference), points[0])
    value = amounts.quality(first.value, first.metric)
    tiles = [_tile(f"{first.metric} of the reference", value, _interval(first))]
    if len(points) > 1:
        fastest = min(points, key=lambda each: each.median_s)
        smallest = min(points, key=lambda each: each.size_bytes)
        tiles.append(_tile("Fastest", amounts.seconds(fastest.median_s), _where(fastest)))
        note = f"{smallest.short}: {smallest.size_bytes / first.size_bytes:.0%} of the reference"
        tiles.append(_tile("Smallest", amounts.size(smallest.size_bytes), note))
    if report.max_drop is not None:
        allowed = amounts.in_points(report.max_drop)
        tiles.append(_tile("Allowed to lose", allowed, "else a variant is left out"))
    counts = f"{report.calibration} for int8 ranges"
    tiles.append(_tile("Measured on", f"{report.test} samples", f"{report.dataset}; {counts}"))
    return tiles


def _tile(name: str, value: str, note: str | None) -> Markup:
    shown = tag("dd", value, note and tag("small", tag("bdi", cut(note, 160))))
    return tag("div", tag("dt", name), shown)


def _interval(point: Point) -> str | None:
    if point.low is None or point.high is None:
        return None
    low, high = (amounts.quality(each, point.metric) for each in (point.low, point.high))
    return f"95 % interval {low} to {high}"


def _where(point: Point) -> str:
    said = f"{point.short} in {point.engine}"
    return said if point.of_float is None else f"{said}: {amounts.times(point.of_float)} of float"


def _limit(report: ConversionReport, points: Sequence[Point], reference: str) -> Limit | None:
    values = [each.value for each in points if each.variant == reference]
    if report.max_drop is None or not values:
        return None
    return Limit(min(values) - report.max_drop, f"{amounts.in_points(report.max_drop)} lost")


def _measured_on(report: ConversionReport) -> str:
    said = f"Measured through the whole pipeline on {report.test} samples of {report.dataset}"
    if report.shared:
        said += ", the same that int8 ranges were found on, as there are too few to divide"
    return f"{said}. Up is better, left is faster."


def _refusal(report: ConversionReport, target: str, why: str) -> Markup:
    layers = report.layers.get(target, ())
    named = [tag("code", tag("bdi", cut(each.name, 120))) for each in layers[:_MOST_NAMED_LAYERS]]
    most = join("Most sensitive: ", _listed(named)) if named else None
    return join(tag("h3", _title(target), ": left out"), tag("p", why), most and tag("p", most))


def _listed(items: Sequence[Markup]) -> Markup:
    """Items with commas between them."""
    return join([join(", " if number else None, item) for number, item in enumerate(items)])


def _title(target: str) -> str:
    return TARGETS[target].title if target in TARGETS else target


def _trace(target: str, lines: Sequence[str]) -> Markup:
    steps = tag("ol", [tag("li", cut(line, 1000)) for line in lines[:_MOST_TRIED]])
    title = f"Tried on the way to {_title(target)} ({len(lines)} step{'s' * (len(lines) != 1)})"
    return tag("details", tag("summary", title), steps)


def _layers_title(target: str, layers: Sequence[Layer]) -> Markup:
    kept = sum(not each.quantized for each in layers)
    count = f"{len(layers)} layers, {kept} of them left in float"
    return tag("h3", f"{_title(target)}: {count}")


def _data(report: ConversionReport, certificates: Sequence[Certificate]) -> dict[str, Any]:
    digests = sorted({each.dataset.sha256 for each in certificates})
    return {
        "name": report.dataset,
        "sha256 of those measured on": ", ".join(digests) or None,
        "measured on": report.test,
        "for int8 ranges": report.calibration,
        "not looked at": report.skipped or None,
        "damaged": len(report.damaged) or None,
    }


def _damaged(report: ConversionReport) -> Markup | None:
    if not report.damaged:
        return None
    shown = [
        tag("li", tag("bdi", cut(each.name, 200)), ": ", cut(each.reason, 300))
        for each in report.damaged[:_MOST_DAMAGED]
    ]
    left = len(report.damaged) - len(shown)
    more = tag("li", f"and {left} more") if left else None
    title = f"Damaged samples, which were left out: {len(report.damaged)}"
    listed = tag("ul", shown, more, class_="plain")
    if len(report.damaged) > _FEW_DAMAGED:
        return tag("details", tag("summary", title), listed)
    return join(tag("h3", title), listed)


def _tools(certificates: Sequence[Certificate]) -> dict[str, str]:
    found: dict[str, set[str]] = {}
    for each in certificates:
        for tool, version in each.tools.items():
            found.setdefault(tool, set()).add(version)
    return {tool: ", ".join(sorted(versions)) for tool, versions in sorted(found.items())}


def _machines(certificates: Sequence[Certificate]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for each in certificates:
        if each.machine and each.machine not in found:
            found.append(each.machine)
    return found


def _steps(report: ConversionReport) -> Markup | None:
    named = {"pre": "before the engine", "post": "after the engine"}
    steps = {
        f"{name}, {number}. {step.get('op', '')}": _without(step, "op")
        for side, name in named.items()
        for number, step in enumerate(report.pipeline.get(side, ()), start=1)
    }
    return _facts("Pipeline", steps, folded=True)


def _without(step: Mapping[str, Any], key: str) -> str:
    return (
        ", ".join(f"{name}={value}" for name, value in step.items() if name != key)
        or amounts.NOTHING
    )


def _facts(title: str, facts: Mapping[str, Any], *, folded: bool = False) -> Markup | None:
    """Names and values; what is within others is named by its way, None is left out."""
    rows = list(_flat(facts, ()))
    if not rows:
        return None
    shown: list[Child] = [
        join(tag("dt", cut(name, 120)), tag("dd", tag("bdi", cut(value, _LONGEST_FACT))))
        for name, value in rows[:_MOST_FACTS]
    ]
    if len(rows) > _MOST_FACTS:
        shown.append(join(tag("dt", "…"), tag("dd", f"{len(rows) - _MOST_FACTS} more")))
    listed = tag("dl", shown, class_="facts")
    if folded:
        return tag("details", tag("summary", title), listed)
    return join(tag("h3", title), listed)


def _flat(facts: Mapping[str, Any], way: tuple[str, ...]) -> Iterable[tuple[str, str]]:
    for key, value in facts.items():
        own = (*way, str(key))
        if isinstance(value, Mapping) and len(own) < _DEEPEST:
            yield from _flat(cast("Mapping[str, Any]", value), own)
        elif value is not None and _said(value):
            yield " / ".join(own).replace("_", " "), _said(value)


def _said(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(str(each) for each in cast("Sequence[Any]", value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)
