"""The ranges of a model's tensors over samples, with one sample in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from wherever_convert.env.divergence import threshold
from wherever_convert.frameworks import framework

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array

onnx = framework("onnx", "quantizing")
runtime = framework("onnxruntime", "quantizing")

Range: TypeAlias = tuple[float, float]
Ranges: TypeAlias = dict[str, Range]

_BINS = 2048
# What percentile leaves out at either end.
_TAIL = 1e-4
# Histograms take a second look, and so many samples tell them enough.
_MOST_FOR_HISTOGRAMS = 32
# Tensors whose numbers are looked at in one run.
_AT_ONCE = 32
# Where a model computes with infinities, as masks do.
_LARGEST = 1e30


def open_samples(folder: Path, most: int = 0) -> Iterator[dict[str, Array]]:
    """The samples of a folder in order: all, or about `most` at even distances."""
    paths = sorted(folder.glob("*.npz"))
    for path in paths[:: max(1, len(paths) // most)][:most] if most else paths:
        with np.load(path, allow_pickle=False) as tensors:
            yield {name: tensors[name] for name in tensors.files}


def open_session(model: Any) -> Any:
    """A session that always computes the same, to the last bit."""
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return runtime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def find_ranges(model: Any, samples: Path, method: str) -> Ranges:
    """The range of each float tensor that nodes take or give.

    Args:
        model: a prepared `onnx.ModelProto`.
        samples: a folder of .npz files with its inputs.
        method: "minmax" takes every number in, "percentile" leaves 0.01 % out at either end, and
            "entropy" cuts where 128 steps tell most of how the numbers are spread.
    """
    widest = _extremes(model, samples)
    return widest if method == "minmax" else _narrowed(model, samples, widest, _CUTS[method])


def float_tensors(model: Any) -> list[str]:
    """The names of the float tensors that are not constant, in the graph's order."""
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    typed = [*graph.input, *graph.value_info, *graph.output]
    floats = {v.name for v in typed if v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
    names = [value.name for value in graph.input]
    names += [name for node in graph.node for name in node.output]
    return [name for name in dict.fromkeys(names) if name in floats and name not in constants]


def _extremes(model: Any, samples: Path) -> Ranges:
    names = float_tensors(model)
    session = open_session(_with_extremes(model, names))
    wanted = [f"{name}:{what}" for name in names for what in ("Min", "Max")]
    found = np.stack([np.stack(session.run(wanted, feed)) for feed in open_samples(samples)])
    limited = np.nan_to_num(found, nan=0.0, posinf=_LARGEST, neginf=-_LARGEST)
    lows, highs = limited[:, 0::2].min(axis=0), limited[:, 1::2].max(axis=0)
    return {
        name: (float(low), float(high)) for name, low, high in zip(names, lows, highs, strict=True)
    }


def _with_extremes(model: Any, names: Sequence[str]) -> Any:
    """The model with the least and the greatest number of each tensor as outputs."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for name in names:
        for what in ("Min", "Max"):
            output = f"{name}:{what}"
            node = onnx.helper.make_node(f"Reduce{what}", [name], [output], output, keepdims=0)
            made.graph.node.append(node)
            value = onnx.helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, [])
            made.graph.output.append(value)
    return made


def _narrowed(
    model: Any, samples: Path, widest: Mapping[str, Range], cut: Callable[[Array, Range], Range]
) -> Ranges:
    session = open_session(_with_outputs(model, list(widest)))
    names = [name for name, (low, high) in widest.items() if high > low]
    counts = {name: np.zeros(_BINS, np.int64) for name in names}
    for feed in open_samples(samples, _MOST_FOR_HISTOGRAMS):
        for start in range(0, len(names), _AT_ONCE):
            for name, array in _numbers(session, feed, names[start : start + _AT_ONCE]).items():
                counts[name] += np.histogram(array, _BINS, widest[name])[0]
    return {**widest, **{name: cut(counts[name], widest[name]) for name in names}}


def _numbers(session: Any, feed: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
    """Some tensors of a run, of which some may be inputs."""
    computed = [name for name in names if name not in feed]
    found = dict(zip(computed, session.run(computed, feed) if computed else [], strict=True))
    return {name: feed[name] if name in feed else found[name] for name in names}


def _with_outputs(model: Any, names: Sequence[str]) -> Any:
    made = onnx.ModelProto()
    made.CopyFrom(model)
    there = {value.name for value in [*made.graph.output, *made.graph.input]}
    for name in names:
        if name not in there:
            value = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
            made.graph.output.append(value)
    return made


def _percentile(counts: Array, widest: Range) -> Range:
    total = int(counts.sum())
    below: Array = np.cumsum(counts)
    first = int(np.searchsorted(below, total * _TAIL, side="right"))
    last = int(np.searchsorted(below, total * (1 - _TAIL)))
    edges: Array = np.linspace(*widest, _BINS + 1)
    return float(edges[first]), float(edges[min(last + 1, _BINS)])


def _entropy(counts: Array, widest: Range) -> Range:
    low, high = widest
    middles = np.abs(np.linspace(low, high, 2 * _BINS + 1)[1::2])
    size = max(-low, high)
    folded = np.histogram(middles, _BINS, (0, size), weights=counts)[0]
    limit = threshold(folded) * size
    return max(low, -limit), min(high, limit)


_CUTS: Mapping[str, Callable[[Array, Range], Range]] = {
    "percentile": _percentile,
    "entropy": _entropy,
}
