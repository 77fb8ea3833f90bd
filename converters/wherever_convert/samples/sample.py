"""What samples are, whatever they were read from."""

from __future__ import annotations

import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, cast

import numpy as np

from wherever_contracts.errors import ConversionError, InputError
from wherever_convert.samples.digests import content_digest, data_digest
from wherever_edge.images import Image

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array

# What signatures allow when they do not say otherwise.
_MAX_FILE_BYTES = 32 * 1024 * 1024
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})


class Boxes(NamedTuple):
    """What is in an image.

    Boxes float64 [n, 4] (left, top, right, bottom in pixels), the name of each, and whether it
    stands for a crowd, whose members are not counted one by one.
    """

    boxes: Array
    names: tuple[str, ...]
    crowd: Array


Form: TypeAlias = Literal["images", "rows", "texts", "files"]
Truth: TypeAlias = "str | float | Boxes | None"
Value: TypeAlias = "Path | bytes | str | Array | Mapping[str, Array]"


class Sample(NamedTuple):
    """One input of a model, and what the answer should be.

    `value` is what a caller of the model would give: the path or the bytes of an image or of any
    file, a text, an array, or arrays by input name. `truth` is a class, a number, or boxes; None
    when it is not known. `content` is the value's digest; "" where it was not read yet.
    """

    name: str
    value: Value
    truth: Truth
    content: str = ""


class Damaged(NamedTuple):
    """A sample that cannot be used."""

    name: str
    reason: str


@dataclass(frozen=True)
class Samples:
    """Samples in a fixed order.

    Attributes:
        name: of the data set.
        form: images, rows of numbers, texts, or files of any kind.
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

    def digest(self) -> str:
        """The sha256 (hex) over names, contents and truths of the usable samples, in order.

        Raises:
            OSError: a file cannot be read.
        """
        return data_digest(self.items)


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
    """Read every sample once, write its digest down, and name those that cannot be used."""
    damage = _DAMAGE[samples.form]
    damaged = list(samples.damaged)
    whole: list[Sample] = []
    for item in samples.items:
        try:
            damage(item.value)
            whole.append(item._replace(content=content_digest(item.value)))
        except InputError as error:
            damaged.append(Damaged(item.name, error.found))
        except OSError as error:
            damaged.append(Damaged(item.name, error.strerror or str(error)))
        except ValueError as error:
            damaged.append(Damaged(item.name, str(error)))
    return replace(samples, items=tuple(whole), damaged=tuple(damaged))


def _look_at_row(value: Any) -> None:
    parts: list[Any] = [*value.values()] if isinstance(value, Mapping) else [value]
    arrays = [np.asarray(part) for part in parts]
    if not all(array.dtype.kind != "f" or np.isfinite(array).all() for array in arrays):
        raise ValueError("a number that is missing or not finite")


def _look_at_image(value: Any) -> None:
    if isinstance(value, np.ndarray):
        Image.from_pixels(cast("Array", value), "image")
    else:
        Image.from_encoded(_file_bytes(value), "image").rgb()


def _look_at_text(value: Any) -> None:
    if not value.strip():
        raise ValueError("an empty text")
    value.encode()


def _file_bytes(value: Path | bytes) -> bytes:
    size = len(value) if isinstance(value, bytes) else _regular_size(value)
    if size > _MAX_FILE_BYTES:
        raise ValueError(f"{size} bytes, at most {_MAX_FILE_BYTES}")
    return value if isinstance(value, bytes) else value.read_bytes()


def _regular_size(path: Path) -> int:
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):
        raise ValueError("it is not a regular file")
    return about.st_size


def _look_at_file(value: Any) -> None:
    if not isinstance(value, bytes):
        _regular_size(value)  # a model may take the two ends of a long one


_DAMAGE: dict[Form, Callable[[Any], None]] = {
    "images": _look_at_image,
    "rows": _look_at_row,
    "texts": _look_at_text,
    "files": _look_at_file,
}
