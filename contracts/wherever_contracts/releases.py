"""Release rules: what has to be done to an image before it may travel further than it may itself.

Other parts of `model.json` keep fields that this version does not know. A rule does not: half of
it would let through what the whole would not.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Annotated, ClassVar, Literal, Self, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from wherever_contracts.places import BOUNDARIES, Boundary

_MAX_SIDE = 65_500


def _rectangle(shares: tuple[float, ...]) -> tuple[float, ...]:
    left, top, right, bottom = shares
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise ValueError("left, top, right and bottom as shares of the image, 0 to 1")
    return shares


# left, top, right, bottom
Shares: TypeAlias = Annotated[tuple[float, float, float, float], AfterValidator(_rectangle)]


class _Strict(BaseModel):
    """A part of a rule: immutable, and refused with fields that are not known here."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False
    )


class Downscale(_Strict):
    """Make the image so small that its longer side has at most `max_side` pixels."""

    op: Literal["downscale"]
    max_side: int = Field(ge=1, le=_MAX_SIDE)


class Blur(_Strict):
    """Blur all of the image, or only the `region`, by a Gauss curve.

    Its standard deviation is `radius` in pixels, or `share` of the image's longer side.
    """

    op: Literal["blur"]
    radius: float | None = Field(default=None, gt=0, le=_MAX_SIDE)
    share: float | None = Field(default=None, gt=0, le=1)
    region: Shares | None = None

    @model_validator(mode="after")
    def _one_strength(self) -> Self:
        if (self.radius is None) == (self.share is None):
            raise ValueError("one of radius (pixels) and share (of the longer side)")
        return self


class Crop(_Strict):
    """Keep the `region` alone; "box" is the one that a chain's gate found in the image."""

    op: Literal["crop"]
    region: Shares | Literal["box"]


ReleaseStep: TypeAlias = Annotated[Downscale | Blur | Crop, Field(discriminator="op")]


class ReleaseRule(_Strict):
    """What comes out of `steps`, applied in order to the image `input`, may travel to `boundary`.

    Nothing else of the call's inputs does.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")
    input: str = Field(min_length=1)
    steps: tuple[ReleaseStep, ...] = Field(min_length=1)
    boundary: Literal["site", "anywhere"]

    @property
    def needs_box(self) -> bool:
        """Whether it can be applied only where a chain's gate says what to send."""
        return any(isinstance(step, Crop) and step.region == "box" for step in self.steps)


def check_releases(
    rules: Sequence[ReleaseRule],
    boundary: Boundary,
    inputs: Sequence[str],
    images: Collection[str],
) -> None:
    """Refuse rules that no call could use, or that promise more than they keep.

    Args:
        rules: the rules of one package.
        boundary: of the package.
        inputs: every input of its signature; all of them are part of every call.
        images: those that are given as images and as nothing else.

    Raises:
        ValueError: what is wrong, with the rule's name.
    """
    names = [rule.name for rule in rules]
    for rule in rules:
        if names.count(rule.name) > 1:
            raise ValueError(f"release rule named twice: {rule.name}")
        if BOUNDARIES.index(rule.boundary) <= BOUNDARIES.index(boundary):
            raise ValueError(
                f"release rule {rule.name!r}: the package's boundary {boundary!r} lets the input "
                f"itself travel as far as {rule.boundary!r}, so the rule would never be applied"
            )
        if rule.input not in images:
            raise ValueError(
                f"release rule {rule.name!r} needs an input that is nothing but an image "
                f"(bare numbers cannot be released), not {rule.input!r}"
            )
        others = [name for name in inputs if name != rule.input]
        if others:
            raise ValueError(
                f"release rule {rule.name!r} does not cover all of a call: "
                f"{', '.join(others)} would have to travel too"
            )
