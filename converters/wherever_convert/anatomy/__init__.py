"""What model files are made of: weights, operators, tensors, and what they say of themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wherever_contracts.manifest import Format
from wherever_convert.model_file import Precision

if TYPE_CHECKING:
    from wherever_edge.bare.manifest import Pixels

# Tensors of fewer numbers are scales, axes and lengths, and say nothing of a model's precision.
_FEW = 64


@dataclass(frozen=True, slots=True)
class Weights:
    """The constants of one type.

    Attributes:
        tensors: how many there are.
        numbers: in all of them.
        bytes: that they take.
    """

    tensors: int
    numbers: int
    bytes: int

    def __add__(self, other: Weights) -> Weights:
        return Weights(
            self.tensors + other.tensors, self.numbers + other.numbers, self.bytes + other.bytes
        )


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output as the file declares it; a length that is open is a word."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class Anatomy:
    """What a model file is made of.

    Attributes:
        format: of the file.
        weights: type -> its constants.
        operators: name -> how many there are, the most frequent first.
        inputs: what it takes.
        outputs: what it gives.
        version: of the format, in the format's own words.
        producer: what wrote it.
        labels: the names of the classes, where the file carries them.
        pixels: how images become its input, where the file says so.
        metadata: what else it says of itself.
        carries: files that are packed into it.
    """

    format: Format
    weights: Mapping[str, Weights]
    operators: Mapping[str, int]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    version: str = ""
    producer: str = ""
    labels: tuple[str, ...] | None = None
    pixels: Pixels | None = None
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    carries: tuple[str, ...] = ()

    @property
    def parameters(self) -> int:
        """How many numbers its weights have."""
        return sum(each.numbers for each in self.weights.values())

    @property
    def open_rows(self) -> bool:
        """Whether the first axis of every input may have any length."""
        return bool(self.inputs) and all(
            bool(port.shape) and not isinstance(port.shape[0], int) for port in self.inputs
        )


def add_weights(weights: dict[str, Weights], dtype: str, numbers: int, size: int) -> None:
    """Count one more constant of a type."""
    weights[dtype] = weights.get(dtype, Weights(0, 0, 0)) + Weights(1, numbers, size)


def frequent_first(names: Mapping[str, int]) -> dict[str, int]:
    """The same counts, the highest first, names in order among equals."""
    return dict(sorted(names.items(), key=lambda item: (-item[1], item[0])))


def precision_by(weights: Mapping[str, Weights], integers: frozenset[str]) -> Precision:
    """The precision that most numbers of the weights have.

    Args:
        weights: type -> its constants.
        integers: the types that stand for real numbers here.
    """
    counted = {
        "int8": sum(each.numbers for name, each in weights.items() if name in integers),
        "float16": sum(weights[name].numbers for name in weights if name == "float16"),
        "float32": sum(weights[name].numbers for name in weights if name == "float32"),
    }
    if counted["int8"] >= max(counted["float16"], counted["float32"], _FEW):
        return "int8"
    return "float16" if counted["float16"] > counted["float32"] else "float32"
