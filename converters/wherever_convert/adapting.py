"""Fitting a variant's declared pipeline to another model file of the same kind. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

from wherever_contracts.errors import ConversionError

if TYPE_CHECKING:
    from wherever_contracts.manifest import Variant
    from wherever_contracts.tensors import Array, TensorSpec

# A tensor of the pipeline's own file -> the one that stands for it in the new file.
Matched: TypeAlias = dict[str, "TensorSpec"]

# Parameters that name tensors. Steps with a `name` of what they read write the others.
_NAMING = ("name", "to", "mask", "types")
_READ_BY_NAME = ("boxes", "sides", "classes", "scores", "count")


def adapted(
    pipeline: Mapping[str, Any],
    old_inputs: Sequence[TensorSpec],
    old_outputs: Sequence[TensorSpec],
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
) -> dict[str, list[dict[str, Any]]]:
    """A pipeline for a file with other tensor names, another size of image, or another layout.

    Names are replaced where they differ and it is clear which stands for which (see `matched`).
    `size` follows the new input, and so does a `shape` that was the old input's. Where the
    channels of an image went from first to last, or back, the step that makes the tensor follows.

    Args:
        pipeline: the declared steps `pre` and `post` of the variant that has them, as plain data.
        old_inputs: what that variant's file takes.
        old_outputs: what it gives.
        inputs: what the new file takes.
        outputs: what it gives.

    Returns:
        The pipeline as plain data.

    Raises:
        ConversionError: the tensors cannot be matched, or no step of the pipeline can follow where
            channels moved.
    """
    taken = matched("inputs", old_inputs, inputs)
    given = matched("outputs", old_outputs, outputs)
    names = {old: new.name for old, new in (taken | given).items() if old != new.name}
    replaced = _replaced_values(old_inputs, inputs)
    layouts = {
        spec.name: turn for spec in old_inputs if (turn := turned(spec.shape, taken[spec.name]))
    }
    _refuse_unfollowed(pipeline, old_inputs, layouts)
    before = [_step(step, names, replaced, layouts) for step in pipeline.get("pre", ())]
    after = [_step(step, names, replaced, layouts) for step in pipeline.get("post", ())]
    return {
        "pre": _from_signature(pipeline.get("pre", ()), before, names),
        "post": _to_signature(pipeline.get("post", ()), after),
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


def matched(side: str, old: Sequence[TensorSpec], new: Sequence[TensorSpec]) -> Matched:
    """Which tensor of a new file stands for which of the old one.

    Those with the same name; else the only one; else the only one of the same type and shape, the
    sizes that vary and the place of the channels left out of account.

    Args:
        side: "inputs" or "outputs", for the error.
        old: the tensors that the pipeline names.
        new: those of the new file.

    Raises:
        ConversionError: it is not clear.
    """
    if sorted(spec.name for spec in old) == sorted(spec.name for spec in new):
        by_name = {spec.name: spec for spec in new}
        return {spec.name: by_name[spec.name] for spec in old}
    if len(old) == len(new) == 1:
        return {old[0].name: new[0]}
    fits = {spec.name: [each for each in new if _alike(spec, each)] for spec in old}
    chosen = [each.name for found in fits.values() for each in found]
    if all(len(found) == 1 for found in fits.values()) and sorted(chosen) == sorted(
        spec.name for spec in new
    ):
        return {name: found[0] for name, found in fits.items()}
    raise ConversionError(
        f"the file's {side} are {_listed(new)}; the pipeline is for {_listed(old)}. "
        f"Give a pipeline that names them (--pipeline FILE)"
    )


def turned(before: Sequence[int], after: TensorSpec) -> str:
    """The layout that an image got when its channels moved: "nhwc", "nchw", or "" if they did not.

    Sizes that vary are taken to fit.
    """
    shape = after.shape
    if len(before) != 4 or len(shape) != 4 or _fit(before, shape):
        return ""
    if _fit(_last(before), shape):
        return "nhwc"
    return "nchw" if _fit(_first(before), shape) else ""


def laid_out(array: Array, spec: TensorSpec) -> Array:
    """An array of the old file's input as the new file takes it."""
    turn = turned(array.shape, spec)
    if turn:
        return array.transpose(_AXES[turn])
    return array.reshape(spec.shape) if _reshapable(array.shape, spec.shape) else array


def image_size(shape: Sequence[int]) -> tuple[int, int] | None:
    """Height and width of an image tensor of this shape; None when it is not one, or any size."""
    if len(shape) != 4:
        return None
    size = shape[2:] if shape[1] in (1, 3) else shape[1:3]
    return (size[0], size[1]) if min(size) > 0 else None


def laying_out(pipeline: Mapping[str, Any]) -> frozenset[str]:
    """The tensors that a step of the pipeline makes in either layout."""
    return frozenset(step["to"] for step in pipeline.get("pre", ()) if _lays_out(step))


_AXES = {"nhwc": (0, 2, 3, 1), "nchw": (0, 3, 1, 2)}


def _last(shape: Sequence[int]) -> list[int]:
    return [shape[axis] for axis in _AXES["nhwc"]]


def _first(shape: Sequence[int]) -> list[int]:
    return [shape[axis] for axis in _AXES["nchw"]]


def _fit(old: Sequence[int], new: Sequence[int]) -> bool:
    return len(old) == len(new) and all(
        a == b or min(a, b) < 0 for a, b in zip(old, new, strict=True)
    )


def _reshapable(old: Sequence[int], new: Sequence[int]) -> bool:
    """The same rows in another number of axes."""
    return len(old) != len(new) and min(new[1:], default=1) > 0


def _alike(old: TensorSpec, new: TensorSpec) -> bool:
    if old.dtype != new.dtype:
        return False
    return _fit(old.shape, new.shape) or bool(turned(old.shape, new))


def _lays_out(step: Mapping[str, Any]) -> bool:
    return step.get("op") == "image_tensor"


def _refuse_unfollowed(
    pipeline: Mapping[str, Any], old: Sequence[TensorSpec], layouts: Mapping[str, str]
) -> None:
    made = laying_out(pipeline)
    for spec in old:
        # a single channel lies the same in both layouts
        if (
            spec.name in layouts
            and spec.name not in made
            and 1 not in (spec.shape[1], spec.shape[3])
        ):
            raise ConversionError(
                f"the file takes {spec.name} as {layouts[spec.name]}, and no step of the pipeline "
                f"lays it out so"
            )


def _listed(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(spec.name for spec in specs)


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
    layouts: Mapping[str, str],
) -> dict[str, Any]:
    fresh = dict(step)
    if _lays_out(fresh) and fresh["to"] in layouts:
        fresh["layout"] = layouts[fresh["to"]]
    for parameter in _NAMING if "name" in fresh else (*_NAMING, *_READ_BY_NAME):
        if parameter in fresh:
            fresh[parameter] = _renamed(fresh[parameter], names)
    for parameter, (before, after) in replaced.items():
        if fresh.get(parameter) == before:
            fresh[parameter] = after
    return fresh


def _from_signature(
    steps: Sequence[Mapping[str, Any]], fresh: list[dict[str, Any]], names: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Let steps read what the signature gives under its own name, which no file changes."""
    written: set[str] = set()
    for old, new in zip(steps, fresh, strict=True):
        name = old.get("name")
        # what no earlier step wrote is of the signature, also where a tensor has the same name
        if isinstance(name, str) and name in names and name not in written:
            new["name"] = name
            new.setdefault("to", names[name])
        target = old.get("to", name)
        if isinstance(target, str):
            written.add(target)
    return fresh


def _to_signature(
    steps: Sequence[Mapping[str, Any]], fresh: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Let the row of an output have the name that later steps and the signature know."""
    rows: set[str] = set()
    for old, new in zip(steps, fresh, strict=True):
        new.update({key: value for key, value in old.items() if _is_one_of(value, rows)})
        if old.get("op") == "first_row" and "to" not in old and new["name"] != old["name"]:
            new["to"] = old["name"]
            rows.add(old["name"])
    return fresh


def _is_one_of(value: object, names: set[str]) -> bool:
    return isinstance(value, str) and value in names


def _renamed(given: object, names: Mapping[str, str]) -> object:
    if _is_list(given):
        return [_renamed(each, names) for each in given]
    return names.get(given, given) if isinstance(given, str) else given


def _is_list(given: object) -> TypeGuard[list[object]]:
    return isinstance(given, list)
