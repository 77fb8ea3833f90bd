"""Targets: the forms that a model is converted to, and how each is made of another."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from wherever_contracts.errors import ConversionError
from wherever_contracts.manifest import Format
from wherever_convert.environments import Tell
from wherever_convert.model_file import ModelFile, Precision

if TYPE_CHECKING:
    from wherever_convert.quantizing import Method
    from wherever_convert.workbench import Workbench


@dataclass(frozen=True, slots=True)
class Target:
    """A form that a variant may have.

    Attributes:
        id: its name, with which the variant's id ends.
        format: of its files.
        precision: of its weights.
        made_of: the targets that it can be made of, the best first; empty when only a source can
            give it.
        maker: MODULE:FUNCTION that makes it.
        title: what it is, for people.
    """

    id: str
    format: Format
    precision: Precision
    made_of: tuple[str, ...]
    maker: str
    title: str


_HERE = "wherever_convert.targets"
TARGETS: Mapping[str, Target] = {
    each.id: each
    for each in (
        Target("fp32", "onnx", "float32", (), "", "ONNX, float32"),
        Target("fp16", "onnx", "float16", ("fp32",), f"{_HERE}.float16:make", "ONNX, float16"),
        Target("int8", "onnx", "int8", ("fp32",), f"{_HERE}.int8:make", "ONNX, int8 (static, QDQ)"),
        Target(
            "int8-dynamic", "onnx", "int8", ("fp32",), f"{_HERE}.dynamic:make", "ONNX, dynamic int8"
        ),
        Target("ir", "openvino", "float32", ("fp32", "litert"), f"{_HERE}.ir:make", "OpenVINO IR"),
        Target(
            "ir-fp16",
            "openvino",
            "float16",
            ("fp32", "litert", "ir"),
            f"{_HERE}.ir:make",
            "OpenVINO IR, float16 weights",
        ),
        Target("ir-int8", "openvino", "int8", ("int8",), f"{_HERE}.ir:make", "OpenVINO IR, int8"),
        Target("litert", "tflite", "float32", ("fp32",), f"{_HERE}.litert:make", "LiteRT, float32"),
        Target(
            "litert-int8",
            "tflite",
            "int8",
            ("litert",),
            f"{_HERE}.litert_int8:make",
            "LiteRT, int8",
        ),
    )
}

# What devices of a profile are offered. Static int8 in ONNX is what ONNX Runtime and OpenVINO both
# run fast; LiteRT's suits small ARM boards and microprocessors, float16 graphics processors.
FOR_PROFILES: Mapping[str, tuple[str, ...]] = {
    "edge-pc": ("int8", "int8-dynamic"),
    "laptop": ("int8", "int8-dynamic", "fp16"),
    "raspberry-pi-5": ("int8", "int8-dynamic", "litert-int8"),
    "tiny": ("int8", "int8-dynamic", "litert-int8"),
    "jetson-orin": ("fp16", "int8"),
    "gateway-gpu": ("fp16",),
}
USUAL = ("int8",)

# What the nearest form of a source is, by its format and the precision of its weights.
GIVEN: Mapping[tuple[Format, Precision], str] = {
    ("onnx", "float32"): "fp32",
    ("onnx", "float16"): "fp16",
    ("onnx", "int8"): "int8",
    ("openvino", "float32"): "ir",
    ("openvino", "float16"): "ir-fp16",
    ("openvino", "int8"): "ir-int8",
    ("tflite", "float32"): "litert",
    ("tflite", "int8"): "litert-int8",
}


class CannotMakeError(ConversionError):
    """A target cannot be made of this model; the others can go on without it."""


@dataclass(frozen=True)
class Job:
    """What a maker is given.

    Attributes:
        target: what to make.
        of: the file that it is made of.
        bench: where the model's samples are, and where files are tried.
        method: how int8 ranges are found.
        max_drop: the most that quality may lose, in points of the metric.
        seed: of all that is drawn.
        scratch: an empty directory of its own.
        tell: told what takes long.
        after: what was made before, and lost too much on samples that nothing was chosen on.
    """

    target: Target
    of: ModelFile
    bench: Workbench
    method: Method
    max_drop: float
    seed: int
    scratch: Path
    tell: Tell
    after: Made | None = None


@dataclass(frozen=True)
class Layer:
    """A layer of a model, and what int8 does to it.

    Attributes:
        name: of its node.
        op: what it computes.
        error: of the model's outputs when this layer alone is int8, as a share of their range.
        quantized: whether it is int8 in what was made.
    """

    name: str
    op: str
    error: float
    quantized: bool


@dataclass(frozen=True)
class Made:
    """A file for a target.

    Attributes:
        file: the model.
        facts: how it was made, for the package's provenance.
        layers: for int8, the layers, the most sensitive first.
        trace: what was tried on the way, in words, for the report.
        engines: what may run it, where that is not all that read its format.
    """

    file: ModelFile
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    layers: tuple[Layer, ...] = ()
    trace: tuple[str, ...] = ()
    engines: tuple[str, ...] = ()


class Maker(Protocol):
    """Makes a target."""

    def __call__(self, job: Job) -> Made:
        """Make it.

        Raises:
            CannotMakeError: this model cannot have that form; the message says why.
            MissingExtraError: a tool is not installed, and cannot be.
            ConversionError: something failed.
        """
        ...


def wanted_targets(named: Sequence[str], profiles: Sequence[str]) -> tuple[str, ...]:
    """The targets that were named, or that devices of some profiles are offered; in a fixed order.

    Raises:
        ConversionError: there is no such target, or no such profile.
    """
    _refuse_unknown("target", named, TARGETS)
    _refuse_unknown("profile", profiles, FOR_PROFILES)
    wanted = {*named, *(each for profile in profiles for each in FOR_PROFILES[profile])}
    return tuple(each for each in TARGETS if each in (wanted or USUAL))


def steps_to(target: str, given: Collection[str]) -> tuple[str, ...] | None:
    """The targets to make, in order, so that `target` can be made of what is given; None: no way.

    The shortest way; of two, the one over the better form.
    """
    if target in given:
        return ()
    ways = [steps_to(each, given) for each in TARGETS[target].made_of]
    found = [way for way in ways if way is not None]
    return (*min(found, key=len), target) if found else None


def make(job: Job) -> Made:
    """Make a target (see `Maker`)."""
    module, _, name = job.target.maker.partition(":")
    maker = cast("Maker", getattr(import_module(module), name))
    return maker(job)


def _refuse_unknown(what: str, given: Sequence[str], known: Collection[str]) -> None:
    unknown = [each for each in given if each not in known]
    if unknown:
        raise ConversionError(f"there is no {what} {unknown[0]!r} (there are: {', '.join(known)})")
