"""Drawing an answer on its image, for people to look at."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Mapping
from dataclasses import astuple
from typing import TypeAlias

import numpy as np

from wherever_contracts.errors import missing_extra
from wherever_contracts.manifest import DetectionsValue, LabelValue, Signature
from wherever_contracts.tensors import Array
from wherever_contracts.values import Detection, Label, detections
from wherever_edge.images import Image

try:
    from PIL import Image as pillow  # noqa: N813 (our own class is called Image)
    from PIL import ImageDraw, ImageFont
except ImportError as error:
    raise missing_extra("drawing answers", "image") from error

_LONG_SIDE = 448
_SHORT_SIDE = 64
_MOST = 4096
_Colour: TypeAlias = tuple[int, int, int]
_Rectangle: TypeAlias = tuple[float, float, float, float]
_Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont


def plot(
    image: Image | Array, signature: Signature, outputs: Mapping[str, Array], min_score: float
) -> pillow.Image:
    """Draw an answer on its image.

    Small images are enlarged, so that names can be read. An embedding, or bare tensors, leave the
    image as it is.

    Args:
        image: an image, or its numbers on the scale that the signature's first image input states.
        signature: says what the outputs are.
        outputs: the answer's tensors.
        min_score: leave out detections that score less.

    Returns:
        An RGB image; detections as boxes with name and score, a label in a line below.
    """
    picture = pillow.fromarray(_pixels(image, signature)).convert("RGB")
    zoom = _zoom(*picture.size)
    if zoom > 1:
        size = (picture.width * zoom, picture.height * zoom)
        picture = picture.resize(size, pillow.Resampling.NEAREST)
    value = signature.value
    if isinstance(value, LabelValue):
        return _captioned(picture, Label(value.labels, outputs[value.scores]))
    if isinstance(value, DetectionsValue):
        tensors = (outputs[value.boxes], outputs[value.scores], outputs[value.classes])
        shown = [each for each in detections(value.labels, *tensors) if each.score >= min_score]
        colours = {name: _colour(position) for position, name in enumerate(value.labels)}
        _draw(picture, shown, zoom, colours)
    return picture


def _pixels(image: Image | Array, signature: Signature) -> Array:
    if isinstance(image, Image):
        return image.rgb()
    numbers = next(entry.numbers for entry in signature.inputs if entry.numbers is not None)
    shares = (image.reshape(image.shape[-2:]) - numbers.min) / (numbers.max - numbers.min)
    return (shares * 255).round().astype(np.uint8)


def _zoom(width: int, height: int) -> int:
    """How many times to enlarge a picture, so that a name has room in it."""
    long, short = max(width, height), min(width, height)
    wanted = max(_LONG_SIDE / long, _SHORT_SIDE / short)
    return max(1, min(math.ceil(wanted), _MOST // long))


def _captioned(picture: pillow.Image, label: Label) -> pillow.Image:
    """The picture with the label in a line of its own below."""
    font = _font(picture, 24)
    text = f"{label}  {label.score:.2f}"
    width, height = _extent(font, text)
    total = max(picture.width, width + height)
    canvas = pillow.new("RGB", (total, picture.height + 2 * height), "white")
    canvas.paste(picture, ((total - picture.width) // 2, 0))
    middle = (total / 2, picture.height + height)
    ImageDraw.Draw(canvas).text(middle, text, "black", font, anchor="mm")
    return canvas


def _draw(
    picture: pillow.Image, found: list[Detection], zoom: int, colours: Mapping[str, _Colour]
) -> None:
    """Every box, and then the names; the best, which come first, have the first choice of place."""
    draw, font = ImageDraw.Draw(picture), _font(picture, 45)
    line = max(2, round(max(picture.size) / 300))
    taken: list[_Rectangle] = []
    boxes = [tuple(corner * zoom for corner in astuple(each.box)) for each in found]
    for each, box in zip(found, boxes, strict=True):
        draw.rectangle(box, outline=colours[each.label], width=line)
    for each, box in zip(found, boxes, strict=True):
        colour = colours[each.label]
        text = f"{each.label} {each.score:.2f}"
        tag = _free(taken, _places(box, _extent(font, text), picture.size))
        taken.append(tag)
        draw.rectangle(tag, fill=colour)
        middle = ((tag[0] + tag[2]) / 2, (tag[1] + tag[3]) / 2)
        draw.text(middle, text, _ink(colour), font, anchor="mm")


def _places(box: _Rectangle, text: tuple[int, int], size: tuple[int, int]) -> list[_Rectangle]:
    """Where a box's tag may be: on its upper edge, under it, and the same at the lower edge."""
    width, height = text[0] + text[1] // 3, text[1] + text[1] // 3
    left = max(0.0, min(box[0], size[0] - width))
    tops = (box[1] - height, box[1], box[3], box[3] - height)
    inside = [max(0.0, min(top, size[1] - height)) for top in tops]
    return [(left, top, left + width, top + height) for top in inside]


def _free(taken: list[_Rectangle], places: list[_Rectangle]) -> _Rectangle:
    """The first place that touches none that is taken, or the first."""
    for place in places:
        if not any(_touch(place, other) for other in taken):
            return place
    return places[0]


def _touch(one: _Rectangle, other: _Rectangle) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _font(picture: pillow.Image, lines: int) -> _Font:
    """A font of which so many lines make the picture's longer side."""
    long, short = max(picture.size), min(picture.size)
    return ImageFont.load_default(size=max(14, min(long / lines, short / 6)))


def _extent(font: _Font, text: str) -> tuple[int, int]:
    """Width of the text, and height of a line, in pixels."""
    left, _, right, _ = font.getbbox(text)
    _, top, _, bottom = font.getbbox("Ag")
    return math.ceil(right - left), math.ceil(bottom - top)


def _colour(position: int) -> _Colour:
    """A colour for each class, far from those of its neighbours."""
    red, green, blue = colorsys.hsv_to_rgb(position * 0.618034 % 1, 0.85, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


def _ink(colour: _Colour) -> str:
    red, green, blue = colour
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "white"
