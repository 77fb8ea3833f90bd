"""Fitting a variant's declared pipeline to another model file of the same kind. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from wherever_contracts.errors import ConversionError

if TYPE_CHECKING:
    from wherever_contracts.manifest import Variant
    from wherever_contracts.tensors import TensorSpec


def adapted(
    pipeline: Mapping[str, Any],
    old_inputs: Sequence[TensorSpec],
    old_outputs: Sequence[TensorSpec],
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
) -> dict[str, list[dict[str, Any]]]:
    """A pipeline for a file with other tensor names, or another size of image.

    Names are replaced where they differ and it is clear which stands for which: each side has one
    tensor, or the names are the same. `size` follows the new input, and so does a `shape` that
    was the old input's.

    Args:
        pipeline: the declared steps `pre` and `post` of the variant that has them, as plain data.
        old_inputs: what that variant's file takes.
        old_outputs: what it gives.
        inputs: what the new file takes.
        outputs: what it gives.

    Returns:
        The pipeline as plain data.

    Raises:
        ConversionError: the tensors cannot be matched.
    """
    names = _paired("inputs", [s.name for s in old_inputs], [s.name for s in inputs])
    names |= _paired("outputs", [s.name for s in old_outputs], [s.name for s in outputs])
    replaced = _replaced_values(old_inputs, inputs)
    return {
        side: [_step(step, names, replaced) for step in pipeline.get(side, ())]
        for side in ("pre", "post")
    }


def adapted_variant(
    variant: Variant, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> dict[str, list[dict[str, Any]]]:
    """The pipeline of a package's variant for another file (see `adapted`)."""
    tensors = variant.tensors
    return adapted(
        variant.pipeline.model_dump(mode="json"),
        [entry.spec() for entry in tensors.inputs],
        [entry.spec() for entry in tensors.outputs],
        inputs,
        outputs,
    )


def image_size(shape: Sequence[int]) -> tuple[int, int] | None:
    """Height and width of an image tensor of this shape; None when it is not one, or any size."""
    if len(shape) != 4:
        return None
    size = shape[2:] if shape[1] in (1, 3) else shape[1:3]
    return (size[0], size[1]) if min(size) > 0 else None


def _paired(side: str, old: Sequence[str], new: Sequence[str]) -> dict[str, str]:
    if sorted(old) == sorted(new):
        return {}
    if len(old) == len(new) == 1:
        return {old[0]: new[0]}
    raise ConversionError(
        f"the file's {side} are {', '.join(new)}; the pipeline is for {', '.join(old)}. "
        f"Give a pipeline that names them (--pipeline FILE)"
    )


def _replaced_values(
    old: Sequence[TensorSpec], inputs: Sequence[TensorSpec]
) -> dict[str, tuple[list[int], list[int]]]:
    """Parameter -> the value that is replaced, and what by."""
    if len(old) != 1 or len(inputs) != 1:
        return {}
    before, after = old[0].shape, inputs[0].shape
    replaced: dict[str, tuple[list[int], list[int]]] = {}
    sizes = image_size(before), image_size(after)
    if sizes[0] and sizes[1]:
        replaced["size"] = (list(sizes[0]), list(sizes[1]))
    if len(before) != len(after) or before[1:] != after[1:]:
        replaced["shape"] = ([1, *before[1:]], [1, *after[1:]])
    return replaced


def _step(
    step: Mapping[str, Any],
    names: Mapping[str, str],
    replaced: Mapping[str, tuple[list[int], list[int]]],
) -> dict[str, Any]:
    fresh = dict(step)
    for parameter in ("name", "to", "mask", "types"):
        if fresh.get(parameter) in names:
            fresh[parameter] = names[fresh[parameter]]
    for parameter, (before, after) in replaced.items():
        if fresh.get(parameter) == before:
            fresh[parameter] = after
    return fresh
