"""Keras models as ONNX and as TensorFlow Lite, for objects and for `.keras` files.

What ONNX and TensorFlow Lite are made of is the same frozen function: tensors have the same order
in both, which `model.export` does not promise.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from wherever_convert.env.exporters import Outcome
from wherever_convert.env.onnx_graphs import limit_ir_version
from wherever_convert.env.script import RefusedError, first_words
from wherever_convert.env.tools import tool, versions
from wherever_convert.env.witness import write_witness

Array: TypeAlias = npt.NDArray[Any]

_FEATURE = "converting Keras models"
_OPSET = 18
_ROWS = 4
_IMAGE_AXES = 4


def recognises(given: object) -> bool:
    """True for a model of Keras 3."""
    keras = sys.modules.get("keras")
    model = getattr(keras, "Model", None)
    return isinstance(model, type) and isinstance(given, model)


def load(path: Path) -> Any:
    """The model in a `.keras` file; code in it is never run.

    Raises:
        RefusedError: it cannot be loaded; the message says why.
        MissingToolError: Keras or TensorFlow is not installed.
    """
    keras = _keras()
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        raise RefusedError(f"Keras cannot load {path.name}: {first_words(error)}") from error


def export(given: Any, example: Array | None, formats: Collection[str], folder: Path) -> Outcome:
    """Write `model.onnx`, `witness.npz`, and `model.tflite` where it is asked for and possible.

    Args:
        given: a model; inputs and outputs keep their order and their layout.
        example: rows as it takes them, for a model that does not know its inputs; images may have
            their channels first.
        formats: what is wanted beside ONNX: "tflite".
        folder: where the files go.

    Raises:
        RefusedError: it cannot be exported; the message says why.
        MissingToolError: Keras, TensorFlow or tf2onnx is not installed.
    """
    _require_tensorflow()
    rows, batch = _rows(given, example)
    function, specs = _traced(given, rows, batch=batch)
    _write_onnx(function, specs, folder / "model.onnx")
    files, also = {"onnx": "float32"}, {}
    if "tflite" in formats:
        also = _write_tflite(function, folder / "model.tflite")
        files = files if also else {**files, "tflite": "float32"}
    answers = _listed(given(_as_given(rows), training=False))
    write_witness(folder, rows, [np.asarray(each) for each in answers])
    return {
        "facts": {
            "kind": "keras",
            "model": type(given).__name__,
            "tools": versions("keras", "tensorflow", "tensorflow-cpu", "tf2onnx", "onnx"),
        },
        "labels": None,
        "batch": batch,
        "files": files,
        "also": also,
    }


def _keras() -> Any:
    """Keras on TensorFlow, which alone its exporters know."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    tool("tensorflow", _FEATURE)
    return tool("keras", _FEATURE)


def _require_tensorflow() -> None:
    backend = _keras().backend.backend()
    if backend != "tensorflow":
        raise RefusedError(
            f"Keras runs on {backend} here, and exports from TensorFlow alone: save the model as "
            f"a .keras file and convert that, or set KERAS_BACKEND=tensorflow"
        )


def _rows(model: Any, example: Array | None) -> tuple[list[Array], bool]:
    """Rows for each input, and whether there may be any number of them."""
    inputs: Sequence[Any] = getattr(model, "inputs", None) or ()
    if not inputs:
        return [_channels_last(_required(model, example), None)], True
    batch = all(each.shape[0] is None for each in inputs)
    given = example if len(inputs) == 1 else None
    return [_input_rows(each, given, number) for number, each in enumerate(inputs)], batch


def _required(model: Any, example: Array | None) -> Array:
    if example is None:
        raise RefusedError(
            f"the {type(model).__name__} does not know the shape of its inputs: give the size of "
            f"its images, samples that are tables of numbers, or a model with a keras.Input"
        )
    return example


def _input_rows(tensor: Any, example: Array | None, number: int) -> Array:
    """Rows for one input: the example's where it has the shape, else drawn."""
    shape: tuple[int | None, ...] = tuple(tensor.shape)
    rows = None if example is None else _channels_last(example, shape)
    if rows is None or not _fits(rows.shape[1:], shape[1:]):
        _refuse_other_rows(example, shape)
        rows = _drawn(shape, str(tensor.dtype), number)
    count = shape[0] or len(rows)
    repeated = np.concatenate([rows] * -(-count // len(rows)))[:count]
    result: Array = repeated.astype(str(tensor.dtype))
    return result


def _refuse_other_rows(example: Array | None, shape: tuple[int | None, ...]) -> None:
    """Refuse rows of numbers that do not fit; images are drawn at the model's own size."""
    if example is None or example.ndim == _IMAGE_AXES:
        return
    raise RefusedError(
        f"the Keras model takes rows of shape {list(shape[1:])}, the samples are of shape "
        f"{list(example.shape[1:])}"
    )


def _channels_last(rows: Array, shape: tuple[int | None, ...] | None) -> Array:
    """Images with their channels where the model has them: last, unless it has them first."""
    if rows.ndim != _IMAGE_AXES or rows.shape[1] not in (1, 3):
        return rows
    if shape is not None and _fits(rows.shape[1:], shape[1:]):
        return rows
    turned: Array = np.ascontiguousarray(rows.transpose(0, 2, 3, 1))
    return turned


def _fits(row: Sequence[int], shape: Sequence[int | None]) -> bool:
    return len(row) == len(shape) and all(
        wanted in (None, given) for given, wanted in zip(row, shape, strict=True)
    )


def _drawn(shape: tuple[int | None, ...], dtype: str, number: int) -> Array:
    random = np.random.default_rng(number)
    size = (shape[0] or _ROWS, *(each or _SMALL for each in shape[1:]))
    if dtype.startswith(("int", "uint", "bool")):
        return np.zeros(size, dtype)  # what whole numbers mean is not known; 0 is always allowed
    drawn: Array = random.random(size, np.float32)
    return drawn


_SMALL = 32


def _traced(model: Any, rows: Sequence[Array], *, batch: bool) -> tuple[Any, list[Any]]:
    """The model as a TensorFlow function, and what it takes."""
    tf = tool("tensorflow", _FEATURE)
    specs = [
        tf.TensorSpec(
            (None if batch else len(each), *_row_shape(model, number, each)),
            tf.as_dtype(each.dtype),
            name=name,
        )
        for number, (each, name) in enumerate(zip(rows, _names(model, len(rows)), strict=True))
    ]
    return tf.function(_outputs(model), input_signature=specs), specs


def _row_shape(model: Any, number: int, rows: Array) -> tuple[int | None, ...]:
    inputs: Sequence[Any] = getattr(model, "inputs", None) or ()
    return tuple(inputs[number].shape[1:]) if inputs else rows.shape[1:]


def _names(model: Any, count: int) -> list[str]:
    """Names for the inputs: the model's own, where they can be."""
    own = [str(each.name) for each in getattr(model, "inputs", None) or ()]
    good = all(name.isidentifier() and not name.startswith("keras_tensor") for name in own)
    if own and good and len(set(own)) == len(own):
        return own
    return ["input"] if count == 1 else [f"input_{number}" for number in range(count)]


def _outputs(model: Any) -> Callable[..., dict[str, Any]]:
    """Calls the model, and names what it answers so that its order stays."""

    def outputs(*given: Any) -> dict[str, Any]:
        answers = _listed(model(_as_given(given), training=False))
        if len(answers) == 1:
            return {"output": answers[0]}
        return {f"output_{number:03d}": each for number, each in enumerate(answers)}

    return outputs


def _as_given(given: Sequence[Any]) -> Any:
    return given[0] if len(given) == 1 else list(given)


def _listed(answer: Any) -> list[Any]:
    """Outputs in their order; named ones by name, as TensorFlow has them."""
    listed: list[Any] = tool("tensorflow", _FEATURE).nest.flatten(answer)
    return listed


def _write_onnx(function: Any, specs: Sequence[Any], path: Path) -> None:
    np.object = object  # type: ignore[attr-defined]  # tf2onnx 1.17 names what numpy 2 took away
    tf2onnx = tool("tf2onnx", _FEATURE)
    try:
        with _silence():
            model, _ = tf2onnx.convert.from_function(function, input_signature=specs, opset=_OPSET)
    except Exception as error:
        raise RefusedError(f"tf2onnx cannot export this model: {first_words(error)}") from error
    limit_ir_version(model)
    path.write_bytes(model.SerializeToString())


def _write_tflite(function: Any, path: Path) -> dict[str, str]:
    """Write the file; returns why there is none, where it cannot be."""
    tf = tool("tensorflow", _FEATURE)
    constants = tool("tensorflow.python.framework.convert_to_constants", _FEATURE)
    try:
        with _silence():
            # variables become constants first: engines would not find what they hold
            frozen = constants.convert_variables_to_constants_v2(function.get_concrete_function())
            made = tf.lite.TFLiteConverter.from_concrete_functions([frozen]).convert()
    except Exception as error:  # noqa: BLE001 (whatever the converter cannot do, ONNX may do)
        return {"tflite": f"TensorFlow Lite's converter cannot: {first_words(error)}"}
    path.write_bytes(made)
    return {}


@contextlib.contextmanager
def _silence() -> Any:
    """Keep what the tools print on the way from our own output."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
