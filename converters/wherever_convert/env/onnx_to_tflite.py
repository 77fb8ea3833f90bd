"""Convert an ONNX model to TensorFlow Lite with onnx2tf, and give its tensors their names back.

onnx2tf lays images out with the channels last, and so it may do with outputs. Inputs keep their
layout unless they may change it; outputs are turned back.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from wherever_convert.env import flatbuffer
from wherever_convert.env.script import RefusedError, main
from wherever_convert.env.tools import tool, versions

_FEATURE = "converting ONNX to LiteRT"
# It calibrates with these, and would fetch them, though nothing here is calibrated.
_PICTURES = "calibration_image_sample_data_20x128x128x3_float32.npy"
# Further off is no rounding: another layout is tried, and the caller compares more closely.
_CLOSE = 1e-2
_SAID_CHARACTERS = 300
_LARGEST_RANK = 5


def convert(job: dict[str, Any]) -> dict[str, Any]:
    """Convert a model.

    Args:
        job: `model`, an ONNX file; `output`; `inputs` and `outputs`, the names of its tensors in
            order; `free`, those inputs whose channels may move; `feed` and `wanted`, .npz files of
            one run of it.

    Returns:
        `version` of onnx2tf.
    """
    output = Path(job["output"])
    folder = output.parent / "onnx2tf"
    folder.mkdir()
    os.chdir(folder)
    np.save(_PICTURES, np.zeros((20, 128, 128, 3), np.float32))
    feed, wanted = _arrays(job["feed"]), _arrays(job["wanted"])
    said = ""
    for kept in _ways({name: feed[name] for name in job["inputs"] if name not in job["free"]}):
        made, said = _converted(Path(job["model"]), folder, kept)
        if made is None:
            continue
        model = flatbuffer.read(made)
        if not model.signatureDefs:
            flatbuffer.sign(model)
        fits = _fits(_run(flatbuffer.packed(model), feed), wanted)
        if fits is not None:
            flatbuffer.rename_outputs(model, {fit.name: name for name, fit in fits.items()})
            flatbuffer.turn_outputs(model, {name: fit.order for name, fit in fits.items()})
            flatbuffer.call_by_signature(model, job["inputs"], job["outputs"])
            output.write_bytes(flatbuffer.packed(model))
            return {"version": versions("onnx2tf")["onnx2tf"]}
        said = "what it makes answers otherwise than the model"
    raise RefusedError(f"onnx2tf cannot convert this model: {said}")


def _ways(arrays: Mapping[str, Any]) -> Iterator[dict[str, list[str]]]:
    """How inputs may be kept as they are: the first that gives the model's answers is right."""
    images = [name for name, array in arrays.items() if array.ndim > 3]
    rows = [name for name, array in arrays.items() if array.ndim == 3]
    channels_first = "keep_ncw_or_nchw_or_ncdhw_input_names"
    yield {channels_first: images, "keep_shape_absolutely_input_names": rows}
    if rows:
        yield {channels_first: images + rows}
    if images:
        yield {"keep_shape_absolutely_input_names": images + rows}


def _converted(
    model: Path, folder: Path, kept: Mapping[str, list[str]]
) -> tuple[bytes | None, str]:
    """The file, or None and what onnx2tf said."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            tool("onnx2tf", _FEATURE).convert(
                input_onnx_file_path=str(model),
                output_folder_path=str(folder),
                batch_size=1,
                verbosity="error",
                **{option: names or None for option, names in kept.items()},
            )
    except (Exception, SystemExit) as error:  # noqa: BLE001 (told to the caller in words)
        return None, _words(said.getvalue(), error)
    return (folder / f"{model.stem}_float32.tflite").read_bytes(), ""


def _words(said: str, error: BaseException) -> str:
    colourless = re.sub(r"\x1b\[\d*m", "", said)
    operators = re.findall(r"ERROR: onnx_op_name: (\S+)", colourless)
    reason = " ".join(f"{error}".rpartition("Error: ")[2].split())[:_SAID_CHARACTERS]
    return f"it fails at {operators[0]}: {reason}" if operators else reason


class _Fit(NamedTuple):
    """The output of the file that stands for one of the model, and how it must be turned."""

    name: str
    order: tuple[int, ...]


def _fits(found: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> dict[str, _Fit] | None:
    """Which output of the file is which of the model; None where one is missing.

    Files without a signature have other names: there the numbers tell.
    """
    if found is None or len(found) != len(wanted):
        return None
    fits: dict[str, _Fit] = {}
    for name, array in wanted.items():
        fit = next(_candidates(found, name, array), None)
        if fit is None:
            return None
        fits[name] = fit
    return fits if len({fit.name for fit in fits.values()}) == len(fits) else None


def _candidates(found: Mapping[str, Any], name: str, wanted: Any) -> Iterator[_Fit]:
    for each in [name] if name in found else found:
        for order in _orders(found[each], wanted):
            if _near(found[each], wanted, order):
                yield _Fit(each, order)


def _run(made: bytes, feed: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the file answers, by the names of its signature; None where a tensor does not fit."""
    interpreter = tool("ai_edge_litert.interpreter", _FEATURE)
    runner = interpreter.Interpreter(model_content=made).get_signature_runner()
    details = runner.get_input_details()
    if details.keys() != feed.keys():
        return None
    with contextlib.suppress(ValueError):
        tensors = {name: flatbuffer.laid_out(feed[name], details[name]) for name in feed}
        answers: dict[str, Any] = runner(**tensors)
        return answers
    return None


def _orders(found: Any, wanted: Any) -> Iterator[tuple[int, ...]]:
    """Orders of the axes that give the wanted shape; the one that changes nothing is the first."""
    if found.ndim == wanted.ndim <= _LARGEST_RANK:
        for order in itertools.permutations(range(found.ndim)):
            if tuple(found.shape[axis] for axis in order) == wanted.shape:
                yield order


def _near(found: Any, wanted: Any, order: tuple[int, ...]) -> bool:
    most = float(np.abs(wanted).max(initial=0.0)) or 1.0
    gap = np.abs(found.transpose(order).astype(np.float64) - wanted)
    return bool(gap.max(initial=0.0) <= _CLOSE * most)


def _arrays(path: str) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


if __name__ == "__main__":
    main(convert)
