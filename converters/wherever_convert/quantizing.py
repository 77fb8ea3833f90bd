"""Making the int8 variant, in a process of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from wherever_convert.children import run_child
from wherever_convert.frameworks import framework
from wherever_convert.measuring import write_inputs

if TYPE_CHECKING:
    from wherever_convert.samples.sample import Sample
    from wherever_edge.host import LoadedVariant

Method: TypeAlias = Literal["minmax", "entropy", "percentile"]
METHODS: tuple[Method, ...] = ("minmax", "entropy", "percentile")
NOTHING = "nothing in it has weights that int8 could hold (no convolution or matrix product)"


def quantized(
    loaded: LoadedVariant,
    samples: Sequence[Sample],
    options: dict[str, float],
    method: Method,
    scratch: Path,
) -> Path | None:
    """Quantize a loaded float variant, statically, with a scale for each channel.

    Args:
        loaded: the float variant; its own pipeline prepares the samples.
        samples: what the ranges are found on.
        options: of the calls.
        method: how ranges are found.
        scratch: an existing directory for what is made on the way.

    Returns:
        The ONNX file, below `scratch`; None when there is nothing to quantize.

    Raises:
        ConversionError: the quantizer failed; the message has its reason.
        MissingExtraError: onnx is not installed.
    """
    framework("onnx", "quantizing")
    write_inputs(loaded, samples, options, scratch / "samples")
    entry = loaded.variant.files[0]
    (scratch / "float.onnx").write_bytes(loaded.package.read(entry))
    job = {
        "model": str(scratch / "float.onnx"),
        "output": str(scratch / "int8.onnx"),
        "samples": str(scratch / "samples"),
        "method": method,
    }
    made = run_child("quantize", job, scratch, "quantizing the model")
    return scratch / "int8.onnx" if made["quantized"] else None
