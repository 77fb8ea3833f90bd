"""Release rules carried out: the image that may travel further than the one it was made of.

A rule's steps work on pixels, and what comes out is encoded anew from pixels: of the file that the
image came as, nothing travels, neither its metadata nor a thumbnail in it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from wherever_contracts.errors import InputError, missing_extra
from wherever_contracts.manifest import DetectionsValue
from wherever_contracts.releases import Blur, Crop, Downscale
from wherever_edge.images import Image

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherever_contracts.manifest import Signature
    from wherever_contracts.receipts import Answer
    from wherever_contracts.releases import ReleaseRule, ReleaseStep
    from wherever_contracts.tensors import Array

# left, top, right and bottom, in pixels
Box: TypeAlias = "Sequence[float]"
_Corners: TypeAlias = tuple[int, int, int, int]

# of JPEG at quality 95
_BYTES_OF_A_PIXEL = 0.5


class Placement(NamedTuple):
    """Where the pixels of a released image lie in the original: x * scale_x + left, likewise y."""

    left: float = 0.0
    top: float = 0.0
    scale_x: float = 1.0
    scale_y: float = 1.0

    def cut(self, left: int, top: int) -> Placement:
        """The placement of a part that begins at this pixel."""
        x, y = self.left + left * self.scale_x, self.top + top * self.scale_y
        return self._replace(left=x, top=y)

    def scaled(self, by_x: float, by_y: float) -> Placement:
        """The placement after so many pixels became one."""
        return self._replace(scale_x=self.scale_x * by_x, scale_y=self.scale_y * by_y)

    def inward(self, box: Box) -> tuple[float, float, float, float]:
        """A box in the original as one in the released image."""
        left, top, right, bottom = box
        return (
            (left - self.left) / self.scale_x,
            (top - self.top) / self.scale_y,
            (right - self.left) / self.scale_x,
            (bottom - self.top) / self.scale_y,
        )

    def outward(self, boxes: Array) -> Array:
        """Boxes, float32 [n, 4], in the released image as boxes in the original."""
        scale = np.array([self.scale_x, self.scale_y] * 2, np.float32)
        return boxes * scale + np.array([self.left, self.top] * 2, np.float32)


class Released(NamedTuple):
    """What may travel by a rule.

    Attributes:
        inputs: the call's inputs, none of them as they were given.
        placement: where the released image lies in the original.
    """

    inputs: dict[str, Any]
    placement: Placement

    def restored(self, answer: Answer, signature: Signature) -> Answer:
        """An answer about the released image as one about the original: its boxes are moved."""
        value = signature.value
        if not isinstance(value, DetectionsValue) or self.placement == Placement():
            return answer
        moved = self.placement.outward(answer.outputs[value.boxes])
        return answer._replace(outputs={**answer.outputs, value.boxes: moved})


def released(rule: ReleaseRule, inputs: Mapping[str, Any], box: Box | None = None) -> Released:
    """Apply a rule to the inputs of a call.

    Args:
        rule: a rule of the package.
        inputs: the checked inputs; none but the rule's goes on.
        box: left, top, right and bottom in pixels of the original: what a chain's gate found there.
            Needed by rules that crop to it.

    Raises:
        InputError: the image is damaged, or nothing of it lies in the region.
        MissingExtraError: Pillow is not installed.
        ValueError: the rule needs a box and there is none.
    """
    image = inputs[rule.input]
    pixels: Array = image.rgb()
    placement = Placement()
    for step in rule.steps:
        pixels, placement = _applied(step, pixels, placement, box, rule)
    return Released({rule.input: Image.from_pixels(pixels, rule.input)}, placement)


def released_bytes(rule: ReleaseRule, up_bytes: int) -> int:
    """About how many bytes of an image come out of a rule, where the image has so many."""
    sides = [step.max_side for step in rule.steps if isinstance(step, Downscale)]
    return min(up_bytes, int(min(sides) ** 2 * _BYTES_OF_A_PIXEL)) if sides else up_bytes


def _applied(
    step: ReleaseStep, pixels: Array, placement: Placement, box: Box | None, rule: ReleaseRule
) -> tuple[Array, Placement]:
    if isinstance(step, Downscale):
        return _downscaled(pixels, step.max_side, placement)
    if isinstance(step, Blur):
        return _blurred(pixels, step), placement
    left, top, right, bottom = _corners(step, pixels, placement, box, rule)
    return pixels[top:bottom, left:right], placement.cut(left, top)


def _downscaled(pixels: Array, max_side: int, placement: Placement) -> tuple[Array, Placement]:
    height, width = pixels.shape[:2]
    factor = max_side / max(height, width)
    if factor >= 1:
        return pixels, placement
    size = max(1, round(width * factor)), max(1, round(height * factor))
    pillow = _pillow()
    small = pillow.fromarray(pixels).resize(size, pillow.Resampling.LANCZOS)
    return np.asarray(small), placement.scaled(width / size[0], height / size[1])


def _blurred(pixels: Array, step: Blur) -> Array:
    pillow = _pillow()
    from PIL import ImageFilter  # noqa: PLC0415 (the same extra)

    height, width = pixels.shape[:2]
    radius = step.radius or max(1.0, (step.share or 0.0) * max(height, width))
    left, top, right, bottom = _by_shares(step.region or (0.0, 0.0, 1.0, 1.0), width, height)
    part = pillow.fromarray(pixels[top:bottom, left:right])
    blurred = pixels.copy()
    blurred[top:bottom, left:right] = np.asarray(part.filter(ImageFilter.GaussianBlur(radius)))
    return blurred


def _corners(
    step: Crop, pixels: Array, placement: Placement, box: Box | None, rule: ReleaseRule
) -> _Corners:
    height, width = pixels.shape[:2]
    if step.region != "box":
        return _by_shares(step.region, width, height)
    if box is None:
        raise ValueError(f"release rule {rule.name!r} needs a box, which only a chain gives")
    left, top, right, bottom = placement.inward(box)
    corners = (
        max(0, math.floor(left)),
        max(0, math.floor(top)),
        min(width, math.ceil(right)),
        min(height, math.ceil(bottom)),
    )
    if corners[0] >= corners[2] or corners[1] >= corners[3]:
        expected = f"an image with pixels in the box {[round(float(each), 1) for each in box]}"
        raise InputError(rule.input, expected, f"{width}x{height} pixels")
    return corners


def _by_shares(shares: Sequence[float], width: int, height: int) -> _Corners:
    left, top, right, bottom = shares
    return (
        math.floor(left * width),
        math.floor(top * height),
        math.ceil(right * width),
        math.ceil(bottom * height),
    )


def _pillow() -> Any:  # the module
    try:
        from PIL import Image as pillow  # noqa: N813, PLC0415 (57 ms, and an extra)
    except ImportError as error:
        raise missing_extra("a release rule", "image") from error
    return pillow
