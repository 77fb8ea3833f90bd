"""What a chain sends on to its second model, and how far that may travel."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from wherever_contracts.errors import InputError
from wherever_contracts.places import BOUNDARIES, Boundary, stricter
from wherever_edge.egress.release import released
from wherever_edge.images import Image

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wherever._handle import Model
    from wherever_contracts.releases import ReleaseRule
    from wherever_contracts.values import Box, Detection


class Sending(NamedTuple):
    """How what goes on is made of an input of the first model.

    Attributes:
        crops: whether boxes are cut out of the image `image`, or the input goes on as it is.
        boundary: how far that may travel.
        rule: the rule of the first package that it is made by; None: it needs none.
        margin: what a crop has around its box on each side, as a share of the box.
    """

    crops: bool
    image: str
    boundary: Boundary
    rule: ReleaseRule | None
    margin: float

    def value(self, inputs: Mapping[str, Any], found: Any) -> Any:
        """What goes on for one thing that passed the gate.

        Raises:
            InputError: the image is damaged.
        """
        if self.rule is not None:
            made = released(self.rule, inputs, _corners(found.box) if self.crops else None)
            return made.inputs[self.image]
        if not self.crops:
            return inputs if len(inputs) > 1 else next(iter(inputs.values()))
        return crop(inputs[self.image], found, self.margin, self.image)


def sending_of(first: Model, send: str, margin: float, boundary: Boundary | None) -> Sending:
    """What may be sent on for a call with this boundary.

    What a gate found in an image is part of that image: it may travel no further than the image,
    unless a release rule of the gate's package lets out what is cut out of it.
    """
    manifest = first.edition.package.manifest
    asked = stricter(boundary or "anywhere", first.client.settings.boundary)
    images = [entry.name for entry in manifest.signature.inputs if entry.kind == "image"]
    image = images[0] if images else ""
    crops = send == "crop"
    rules = (rule for rule in manifest.release if rule.input == image and _fits(rule, crops=crops))
    limit = stricter(asked, manifest.boundary)
    for rule in rules:
        reach = stricter(asked, rule.boundary)
        if BOUNDARIES.index(reach) > BOUNDARIES.index(limit):
            return Sending(crops, image, reach, rule, margin)
    return Sending(crops, image, limit, None, margin)


def crop(image: Image, found: Detection, margin: float, field: str) -> Image:
    """The part of an image in which something was found, with a margin where there is room.

    Raises:
        InputError: the image is damaged, or the box lies beside it.
    """
    pixels = image.rgb()
    height, width = pixels.shape[:2]
    box = found.box
    beside_x, beside_y = margin * box.width, margin * box.height
    left, top = max(0, math.floor(box.left - beside_x)), max(0, math.floor(box.top - beside_y))
    right = min(width, math.ceil(box.right + beside_x))
    bottom = min(height, math.ceil(box.bottom + beside_y))
    if left >= right or top >= bottom:
        raise InputError(field, f"an image with pixels in {box}", f"{width}x{height} pixels")
    return Image.from_pixels(pixels[top:bottom, left:right], field)


def _fits(rule: ReleaseRule, *, crops: bool) -> bool:
    """Whether a rule makes what is to be sent: one that crops to the box that was found, or not."""
    return rule.needs_box is crops


def _corners(box: Box) -> tuple[float, float, float, float]:
    return box.left, box.top, box.right, box.bottom
