"""Make int8 files of a float TensorFlow Lite model with ai-edge-quantizer.

Inputs and outputs stay float32: the file itself says how they become integers, in code that is
faster than the caller's.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from wherever_convert.env import flatbuffer
from wherever_convert.env.script import RefusedError, main
from wherever_convert.env.tools import tool, versions

# Operators with weights of their own: most of the work, and most of the size.
WEIGHTED = frozenset(
    {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "CONV_3D", "BATCH_MATMUL"}
)
_FEATURE = "quantizing for LiteRT"
_RANGES = "ranges.npz"
# What is ranked: each layer costs a file and a few runs.
_MOST_LAYERS = 160
_RANKED_ON = 2
_STEPS = (1, 2, 4, 8, 16, 32)


class Layer(NamedTuple):
    """An operator of the model: its name is that of what it gives."""

    name: str
    op: str


@dataclass
class Quantizing:
    """A float file, and the ranges of its tensors.

    Attributes:
        data: the file, with a signature whose names are those of its tensors.
        ranges: tensor -> the least and the greatest number that it held.
        barred: the layers that LiteRT does not load as int8.
    """

    data: bytes
    ranges: dict[str, Any]
    barred: list[str] = field(default_factory=list[str])

    @cached_property
    def layers(self) -> list[Layer]:
        """The operators of its main graph."""
        model = flatbuffer.read(self.data)
        graph, names = model.subgraphs[0], _operator_names(model)
        return [
            Layer(flatbuffer.name_of(model, int(each.outputs[0])), names[each.opcodeIndex])
            for each in graph.operators
            if len(each.outputs)
        ]

    @cached_property
    def tail(self) -> list[str]:
        """The layers that no layer with weights comes after."""
        model = flatbuffer.read(self.data)
        names, after = _operator_names(model), set[int]()
        tail: list[str] = []
        for each in reversed(model.subgraphs[0].operators):
            outputs = {int(n) for n in each.outputs}
            if outputs & after or names[each.opcodeIndex] in WEIGHTED:
                after |= {int(n) for n in each.inputs}
            elif outputs:
                tail.append(flatbuffer.name_of(model, int(each.outputs[0])))
        return tail

    def static(self, *, left: Sequence[str] = (), only: str = "") -> bytes:
        """The file with int8 weights and numbers between layers.

        Args:
            left: layers that stay float.
            only: the one layer that does not.
        """
        manager, none = _recipe(), "no_quantize"
        manager.add_static_config(
            regex=_exactly(only) if only else ".*",
            operation_name="*",
            activation_num_bits=8,
            weight_num_bits=8,
        )
        for name in left:
            manager.add_quantization_config(_exactly(name), "*", None, none)
        for border in ("INPUT", "OUTPUT"):
            manager.add_quantization_config(".*", border, None, none)
        return self._quantized(manager, self.ranges)

    def dynamic(self) -> bytes:
        """The file with int8 weights; numbers between layers get their range at each run."""
        manager = _recipe()
        manager.add_dynamic_config(regex=".*", operation_name="*", num_bits=8)
        return self._quantized(manager, None)

    def _quantized(self, manager: Any, ranges: dict[str, Any] | None) -> bytes:
        quantizer = _quantizers("quantizer").Quantizer(self.data)
        quantizer.load_quantization_recipe(manager.get_quantization_recipe())
        made = quantizer.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
        return _with_borders(bytes(made.quantized_model), self.data)


def quantize(job: dict[str, Any]) -> dict[str, Any]:
    """Make the first files: all int8, all but the tail, and with int8 weights alone.

    Args:
        job: `model`, a float .tflite file; `samples`, a directory of .npz files; `inputs`, the
            file's inputs -> their names there; `most`, how many samples are used; `average`, to
            smooth ranges over samples instead of taking the widest; `folder`, where files go.

    Returns:
        `files`: names of files -> the layers that stay float in it; `barred`, layers that LiteRT
        does not load as int8; `version` of the quantizer.
    """
    if job.get("ranked"):
        return rank(job)
    data = _signed(Path(job["model"]))
    folder = Path(job["folder"])
    feeds = list(_feeds(job, data))
    work = Quantizing(data, _calibrated(data, feeds, average=job["average"]))
    if not any(layer.op in WEIGHTED for layer in work.layers):
        raise RefusedError("nothing in it has weights that int8 could hold")
    _write_ranges(folder, work.ranges)
    files: dict[str, list[str]] = {}
    if not _loads(work.static()):
        work.barred = [each.name for each in work.layers if not _loads(work.static(only=each.name))]
    for name, left in (("all", work.barred), ("tail", [*work.barred, *work.tail])):
        _keep(folder, files, name, work.static(left=left), left)
    _keep(folder, files, "weights", work.dynamic(), [])
    return {
        "files": files,
        "barred": work.barred,
        "version": versions("ai-edge-quantizer")["ai-edge-quantizer"],
    }


def rank(job: dict[str, Any]) -> dict[str, Any]:
    """Find what int8 does to each layer alone, and make files with the worst ones left float.

    Args:
        job: as `quantize` had it, whose folder is there; `barred` as it answered.

    Returns:
        `files`, likewise, and `layers`: the name, operator and error of each, the worst first.
    """
    data, folder = _signed(Path(job["model"])), Path(job["folder"])
    work = Quantizing(data, _read_ranges(folder), list(job["barred"]))
    feeds = [feed for feed, _ in zip(_feeds(job, data), range(_RANKED_ON), strict=False)]
    tail = set(work.tail)
    candidates = [each for each in work.layers if each.name not in {*work.barred, *tail}]
    weighted = [each for each in candidates if each.op in WEIGHTED]
    ranked = _ranked(work, (weighted if len(candidates) > _MOST_LAYERS else candidates), feeds)
    files: dict[str, list[str]] = {}
    for count in [each for each in _STEPS if each < len(ranked)]:
        left = [*work.barred, *work.tail, *(layer.name for layer, _ in ranked[:count])]
        _keep(folder, files, f"left{count}", work.static(left=left), left)
    return {
        "files": files,
        "layers": [[layer.name, layer.op, error] for layer, error in ranked],
    }


def _ranked(
    work: Quantizing, layers: Sequence[Layer], feeds: Sequence[dict[str, Any]]
) -> list[tuple[Layer, float]]:
    """Layers with the mean gap of the outputs, as a share of their range; the worst first."""
    wanted = [_run(work.data, feed) for feed in feeds]
    errors = [
        (layer, _error(wanted, work.static(only=layer.name), feeds))
        for layer in layers[:_MOST_LAYERS]
    ]
    return sorted(errors, key=lambda each: -each[1])


def _error(wanted: Sequence[dict[str, Any]], data: bytes, feeds: Sequence[dict[str, Any]]) -> float:
    given = [_run(data, feed) for feed in feeds]
    return max(
        float(np.abs(one[name] - other[name]).mean()) / (float(np.ptp(one[name])) or 1.0)
        for one, other in zip(wanted, given, strict=True)
        for name in one
    )


def _keep(
    folder: Path, files: dict[str, list[str]], name: str, data: bytes, left: Sequence[str]
) -> None:
    """Write a file that LiteRT loads and that holds int8 weights, unless one before is the same."""
    path = folder / f"{name}.tflite"
    others = [folder / f"{each}.tflite" for each in files]
    if _loads(data) and all(data != other.read_bytes() for other in others):
        path.write_bytes(data)
        files[name] = list(left)


def _signed(path: Path) -> bytes:
    model = flatbuffer.read(path.read_bytes())
    flatbuffer.sign(model)
    return flatbuffer.packed(model)


def _with_borders(made: bytes, data: bytes) -> bytes:
    """A quantized file whose inputs and outputs are called, and may vary, as in the float one."""
    model, before = flatbuffer.read(made), flatbuffer.read(data)
    taken, given = flatbuffer.borders(before)
    flatbuffer.call_by_signature(model, list(taken), list(given))
    for old, new in zip(flatbuffer.borders(before), flatbuffer.borders(model), strict=True):
        for name, index in old.items():
            shape = before.subgraphs[0].tensors[index].shapeSignature
            model.subgraphs[0].tensors[new[name]].shapeSignature = shape
    return flatbuffer.packed(model)


def _feeds(job: dict[str, Any], data: bytes) -> Iterator[dict[str, Any]]:
    """The samples, as the file takes them."""
    details = {each["name"]: each for each in _interpreter(data).get_input_details()}
    for path in sorted(Path(job["samples"]).glob("*.npz"))[: job["most"]]:
        with np.load(path, allow_pickle=False) as arrays:
            yield {
                name: flatbuffer.laid_out(arrays[job["inputs"][name]], detail)
                for name, detail in details.items()
            }


def _calibrated(data: bytes, feeds: Sequence[dict[str, Any]], *, average: bool) -> dict[str, Any]:
    updates = _quantizers("utils.qsv_utils")
    update = updates.moving_average_update if average else updates.min_max_update
    calibrator = _quantizers("calibrator").Calibrator(data, num_threads=1, qsv_update_func=update)
    manager = _recipe()
    manager.add_static_config(
        regex=".*", operation_name="*", activation_num_bits=8, weight_num_bits=8
    )
    calibrator.calibrate({flatbuffer.SIGNATURE: feeds}, manager)
    found: dict[str, Any] = calibrator.get_model_qsvs()
    return found


def _write_ranges(folder: Path, ranges: dict[str, Any]) -> None:
    names = list(ranges)
    ends = {f"{end}{n}": ranges[name][end] for n, name in enumerate(names) for end in ranges[name]}
    np.savez(folder / _RANGES, names=np.array(names), **ends)


def _read_ranges(folder: Path) -> dict[str, Any]:
    with np.load(folder / _RANGES, allow_pickle=False) as arrays:
        return {
            str(name): {
                end: arrays[f"{end}{n}"] for end in ("min", "max") if f"{end}{n}" in arrays.files
            }
            for n, name in enumerate(arrays["names"])
        }


def _loads(data: bytes) -> bool:
    with contextlib.suppress(RuntimeError, ValueError):
        _interpreter(data).allocate_tensors()
        return True
    return False


def _run(data: bytes, feed: dict[str, Any]) -> dict[str, Any]:
    answers: dict[str, Any] = _interpreter(data).get_signature_runner(flatbuffer.SIGNATURE)(**feed)
    return answers


def _interpreter(data: bytes) -> Any:
    interpreter = tool("ai_edge_litert.interpreter", _FEATURE)
    return interpreter.Interpreter(model_content=data, num_threads=1)


def _recipe() -> Any:
    return _quantizers("recipe_manager").RecipeManager()


def _quantizers(module: str) -> Any:
    return tool(f"ai_edge_quantizer.{module}", _FEATURE)


def _operator_names(model: Any) -> list[str]:
    kinds = flatbuffer.schema().BuiltinOperator
    words = {getattr(kinds, name): name for name in dir(kinds) if name.isupper()}
    return [words[each.builtinCode] for each in model.operatorCodes]


def _exactly(name: str) -> str:
    """A layer's scope is the names of what it gives, each with a semicolon."""
    return f"^{re.escape(name)}(;|$)"


if __name__ == "__main__":
    main(quantize)
