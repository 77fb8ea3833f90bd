"""The samples that a variant answers otherwise than the reference, each on a card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from wherever_convert.page import amounts
from wherever_convert.page.markup import Child, Markup, cut, join, tag
from wherever_convert.page.thumbnails import Picture, Thumbnails, beginning

if TYPE_CHECKING:
    from wherever_convert.findings import Box, Change, Said, Worst

# Two rows on a wide screen.
_FIRST = 8
_FIRST_LARGE = 6
_SIDE = 176
_LARGE_SIDE = 320
_LONGEST_TEXT = 360
_LONGEST_NAME = 120
_LONGEST_ANSWER = 200
_MOST_NUMBERS = 12
_MOST_NAMED = 4
_MOST_FIRST_BYTES = 48
_MOST_OF_CURVE = 256

_BADGES: Mapping[Change, tuple[str, str]] = {
    "lost": ("was right, now wrong", "bad"),
    "gained": ("was wrong, now right", "good"),
    "changed": ("another answer", "soft"),
}


def cards(worst: Sequence[Worst], thumbnails: Thumbnails) -> Markup:
    """A card for each sample, in order; the later ones folded."""
    large = any(each.answer.boxes or each.reference.boxes for each in worst)
    kind, first = ("cards large", _FIRST_LARGE) if large else ("cards", _FIRST)
    shown = [_card(each, thumbnails, large=large) for each in worst]
    if len(shown) <= first:
        return tag("div", shown, class_=kind)
    more = tag("summary", f"{len(shown) - first} more")
    folded = tag("details", more, tag("div", shown[first:], class_=kind))
    return join(tag("div", shown[:first], class_=kind), folded)


def _card(worst: Worst, thumbnails: Thumbnails, *, large: bool) -> Markup:
    value: Any = worst.sample.value
    picture = thumbnails.of(value, _LARGE_SIDE if large else _SIDE)
    shown = _values(value) if picture is None else _picture(picture, worst)
    said = (("right", worst.truth), ("reference", worst.reference), ("variant", worst.answer))
    facts = [
        join(tag("dt", name), tag("dd", tag("bdi", _answer(each)))) for name, each in said if each
    ]
    name = cut(worst.sample.name, _LONGEST_NAME)
    return tag(
        "article",
        shown,
        tag("div", tag("bdi", name, dir="ltr"), class_="source"),
        _badge(worst, large=large),
        tag("dl", facts),
        class_="card",
    )


def _badge(worst: Worst, *, large: bool) -> Markup:
    text, kind = _BADGES[worst.change]
    if worst.change == "changed" and (large or 0 < worst.likeness < 1):
        text = f"{amounts.share(worst.likeness)} alike"
    return tag("div", text, class_=f"badge {kind}")


def _answer(said: Said) -> str:
    """In words; of detections the surest are named."""
    if not said.boxes:
        return cut(said.text, _LONGEST_ANSWER)
    named = [cut(_box_name(each), 40) for each in said.boxes[:_MOST_NAMED]]
    more = len(said.boxes) - len(named)
    return f"{said.text}: {', '.join(named)}" + (f" and {more} more" * (more > 0))


def _box_name(box: Box) -> str:
    return box.label if box.score is None else f"{box.label} {box.score:.2f}"


def _picture(picture: Picture, worst: Worst) -> Markup:
    size = f"{picture.width} \N{MULTIPLICATION SIGN} {picture.height} pixels"
    if picture.exact or not (worst.reference.boxes or worst.answer.boxes):
        kind = "picture pixels" if picture.exact else "picture"
        width, height = picture.width, picture.height
        return tag("img", src=picture.uri, alt=size, width=width, height=height, class_=kind)
    return tag(
        "svg",
        tag("title", "Boxes of the reference (lines) and of the variant (dashes)"),
        tag("image", href=picture.uri, width=picture.width, height=picture.height),
        [_rectangle(each, "box-reference", picture) for each in worst.reference.boxes],
        [_rectangle(each, "box-variant", picture) for each in worst.answer.boxes],
        class_="picture",
        viewBox=f"0 0 {picture.width} {picture.height}",
        role="img",
    )


def _rectangle(box: Box, kind: str, picture: Picture) -> Markup:
    left, right = (min(max(each, 0), picture.width) for each in (box.left, box.right))
    top, bottom = (min(max(each, 0), picture.height) for each in (box.top, box.bottom))
    return tag(
        "rect",
        tag("title", _box_name(box)),
        x=left,
        y=top,
        width=max(0.0, right - left),
        height=max(0.0, bottom - top),
        vector_effect="non-scaling-stroke",
        class_=kind,
    )


def _values(value: Any) -> Child:
    """What else than a picture there is to see of an input."""
    if isinstance(value, str):
        return tag("p", tag("bdi", cut(value, _LONGEST_TEXT)), class_="quote", dir="auto")
    if isinstance(value, np.ndarray):
        return join(_curve(value), tag("div", tag("code", _numbers(value))))
    if isinstance(value, Mapping):
        named = list(cast("Mapping[str, Any]", value).items())
        return [_named(str(name), each) for name, each in named[:_MOST_NAMED]]
    if isinstance(value, Path | bytes):
        size, first = beginning(value, _MOST_FIRST_BYTES)
        said = tag("code", repr(first)[2:-1], "…" if size > len(first) else None)
        return tag("div", tag("div", amounts.size(size), class_="soft"), said)
    return tag("p", cut(str(value), _LONGEST_TEXT), class_="quote")


def _named(name: str, value: Any) -> Markup:
    shown = _numbers(value) if isinstance(value, np.ndarray) else cut(str(value), _LONGEST_TEXT)
    return tag("div", tag("span", f"{cut(name, 40)}: ", class_="soft"), tag("code", shown))


def _numbers(value: Any) -> str:
    flat = np.asarray(value).ravel()
    shown = ", ".join(_number(each) for each in flat[:_MOST_NUMBERS].tolist())
    return shown + (f", … ({flat.size} values)" if flat.size > _MOST_NUMBERS else "")


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else cut(str(value), 40)


def _curve(value: Any) -> Markup | None:
    """The values of a row as a line; a row of few says more in numbers."""
    flat = np.asarray(value).ravel()
    if flat.dtype.kind not in "fiu" or flat.size <= _MOST_NUMBERS:
        return None
    some = flat[:: 1 + flat.size // _MOST_OF_CURVE].astype(np.float64)
    low, high = float(some.min()), float(some.max())
    heights = 29 - (some - low) / ((high - low) or 1.0) * 28
    steps = np.linspace(0, 100, len(some))
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(steps, heights, strict=True))
    drawn = tag("polyline", points=line, vector_effect="non-scaling-stroke")
    return tag(
        "svg",
        drawn,
        class_="curve",
        viewBox="0 0 100 30",
        preserveAspectRatio="none",
        aria_hidden="true",
    )
