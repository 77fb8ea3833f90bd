"""What samples are, whatever they were read from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np

from wherever_contracts.errors import ConversionError, InputError
from wherever_edge.images import Image

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array

# What signatures allow when they do not say otherwise.
_MAX_IMAGE_BYTES = 32 * 1024 * 1024
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})


class Boxes(NamedTuple):
    """What is in an image.

    Boxes float64 [n, 4] (left, top, right, bottom in pixels), the name of each, and whether it
    stands for a crowd, whose members are not counted one by one.
    """

    boxes: Array
    names: tuple[str, ...]
    crowd: Array


Form: TypeAlias = Literal["images", "rows"]
Truth: TypeAlias = "str | float | Boxes | None"


class Sample(NamedTuple):
    """One input of a model, and what the answer should be.

    `value` is what a caller of the model would give: the path of an image, an array, or arrays by
    input name. `truth` is a class, a number, or boxes; None when it is not known.
    """

    name: str
    value: Path | Array | Mapping[str, Array]
    truth: Truth


class Damaged(NamedTuple):
    """A sample that cannot be used."""

    name: str
    reason: str


@dataclass(frozen=True)
class Samples:
    """Samples in a fixed order.

    Attributes:
        name: of the data set.
        form: images, or rows of numbers.
        items: those that can be used.
        labels: the names of the classes in the data set's own order; None without classes.
        damaged: those that were left out.
        left_out: how many whole ones were left out because there are too many.
    """

    name: str
    form: Form
    items: tuple[Sample, ...]
    labels: tuple[str, ...] | None = None
    damaged: tuple[Damaged, ...] = ()
    left_out: int = 0


def thinned(samples: Samples, most: int) -> Samples:
    """At most `most` samples, taken at even distances."""
    count = len(samples.items)
    if most < 1:
        raise ConversionError(f"at least one sample is needed, not {most}")
    if count <= most:
        return samples
    kept = tuple(samples.items[position * count // most] for position in range(most))
    return replace(samples, items=kept, left_out=count - most)


def without_damage(samples: Samples) -> Samples:
    """Decode every image and look at every number once, and name those that cannot be used."""
    damage = _image_damage if samples.form == "images" else _row_damage
    damaged = list(samples.damaged)
    whole: list[Sample] = []
    for item in samples.items:
        reason = damage(item.value)
        if reason:
            damaged.append(Damaged(item.name, reason))
        else:
            whole.append(item)
    return replace(samples, items=tuple(whole), damaged=tuple(damaged))


def _row_damage(value: Any) -> str:
    arrays: list[Array] = [*value.values()] if hasattr(value, "values") else [value]
    if all(array.dtype.kind != "f" or np.isfinite(array).all() for array in arrays):
        return ""
    return "a number that is missing or not finite"


def _image_damage(value: Any) -> str:
    try:
        size = Path(value).stat().st_size
        if size > _MAX_IMAGE_BYTES:
            return f"{size} bytes, at most {_MAX_IMAGE_BYTES}"
        Image.from_encoded(Path(value).read_bytes(), "image").rgb()
    except InputError as error:
        return error.found
    except OSError as error:
        return error.strerror or str(error)
    return ""
