"""Fold, fuse and drop what an ONNX graph does not need, and open its first axis.

Every change is tried with random inputs, in ONNX Runtime, before it is kept.
"""

from __future__ import annotations

import copy
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from wherever_convert.env.onnx_graphs import limit_ir_version
from wherever_convert.env.script import main
from wherever_convert.frameworks import framework
from wherever_convert.graphs import count_nodes, open_rows, why_no_rows

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array

onnx = framework("onnx", "cleaning graphs")
runtime = framework("onnxruntime", "cleaning graphs")

_SAME = 1e-5  # of an output's largest number
_SAME_IN_BATCH = 1e-4  # other kernels run for several rows, and add up in another order
_ROWS = 3
# What a length that may be anything is tried as (tokens, then the sides of images), and how far
# integers go, which are often looked up in tables.
_TRIES = tuple((length, below) for below in (256, 2) for length in (8, 32, 224))
_FAILED = re.compile(r"running (?P<op>\w+) node\. Name:'(?P<name>[^']*)'")
_NUMBERS: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(bool)": np.bool_,
}


class _UntriedError(Exception):
    """A graph cannot be run with random inputs; the message says why."""


def clean(job: dict[str, Any]) -> dict[str, Any]:
    """Clean a model.

    Args:
        job: `model` and `output`, paths of ONNX files.

    Returns:
        `changed`: whether `output` was written; `batch`: whether the first axis counts independent
        rows; `facts`: what was done; `notes`: what could not be, and why.
    """
    given = onnx.load(job["model"])
    notes: list[str] = []
    slimmed = _slimmed(given, notes)
    opened, batch = _opened(slimmed or given, notes)
    best = opened or slimmed
    if best is None:
        return {"changed": False, "batch": batch, "facts": {}, "notes": notes}
    limit_ir_version(best)
    Path(job["output"]).write_bytes(best.SerializeToString(deterministic=True))
    nodes = [count_nodes(given.graph), count_nodes(best.graph)]
    facts = {"nodes": nodes, "rows": "any number, each on its own" if opened else "as given"}
    return {"changed": True, "batch": batch, "facts": facts, "notes": notes}


def _slimmed(given: Any, notes: list[str]) -> Any:
    """The model with fewer nodes and the same answers; None when that is not to be had."""
    try:
        made = framework("onnxslim", "cleaning graphs").slim(copy.deepcopy(given))
        before, after = count_nodes(given.graph), count_nodes(made.graph)
        if after >= before:
            return None
        error = _largest_difference(given, made)
    except _UntriedError as reason:
        notes.append(f"the graph was not simplified: {reason}")
        return None
    except Exception as failure:  # noqa: BLE001 (what the tool cannot simplify stays as it is)
        notes.append(f"the graph was not simplified: {_first_line(failure)}")
        return None
    if error > _SAME:
        notes.append(
            f"the graph was not simplified: with {after} nodes instead of {before} its answers "
            f"differ by {error:.1e} of the largest"
        )
        return None
    return made


def _largest_difference(given: Any, made: Any) -> float:
    trial = _tried(given)
    found = _run(_session(made), trial.feed)
    return max((_difference(a, b) for a, b in zip(trial.answers, found, strict=True)), default=0.0)


def _opened(model: Any, notes: list[str]) -> tuple[Any, bool]:
    """The model with an open first axis, or None when that was open or stays closed.

    Also whether the first axis counts independent rows now.
    """
    reason = why_no_rows(model)
    for all_reshapes in () if reason else (False, True):
        candidate = copy.deepcopy(model)
        changed = open_rows(candidate, all_reshapes=all_reshapes)
        reason = _mixes_rows(model, candidate)
        if not reason:
            return (candidate if changed else None), True
    notes.append(f"it takes one row at a time: {reason}")
    return None, False


def _mixes_rows(model: Any, candidate: Any) -> str:
    """Why rows that are run together do not give what each gives alone; "" when they do."""
    try:
        trial = _tried(model)
        feeds = [trial.feed, *(trial.other(seed) for seed in range(1, _ROWS))]
        alone = [trial.answers, *(_run(trial.session, each) for each in feeds[1:])]
        together = {name: np.concatenate([each[name] for each in feeds]) for name in trial.feed}
        found = _run(_session(candidate), together)
    except _UntriedError as error:
        return str(error)
    except Exception as failure:  # noqa: BLE001 (the runtime raises anything)
        return f"with {_ROWS} rows {_where_it_fails(failure)}"
    for position, array in enumerate(found):
        wanted = [row[position] for row in alone]
        if any(not each.shape for each in wanted):
            return f"output {candidate.graph.output[position].name!r} is a single number"
        if _difference(np.concatenate(wanted), array) > _SAME_IN_BATCH:
            name = candidate.graph.output[position].name
            return f"in a batch of {_ROWS} the rows of {name!r} are not what each is alone"
    return ""


class _Trial(NamedTuple):
    """A run with random inputs: integers in them are below `below`."""

    session: Any
    feed: dict[str, Array]
    below: int
    answers: list[Array]

    def other(self, seed: int) -> dict[str, Array]:
        """Other inputs of the same shapes."""
        return _random(self.feed, self.below, seed)


def _tried(model: Any) -> _Trial:
    """Run a model with one row of random inputs that it takes."""
    try:
        session = _session(model)
    except Exception as failure:
        raise _UntriedError(f"it cannot be opened: {_first_line(failure)}") from failure
    first: Exception | None = None
    for length, below in _TRIES:
        zeros = {each.name: _zeros(each, length) for each in session.get_inputs()}
        feed = _random(zeros, below, 0)
        try:
            return _Trial(session, feed, below, _run(session, feed))
        except Exception as failure:  # noqa: BLE001 (the runtime raises anything)
            first = first or failure
    raise _UntriedError(f"random inputs cannot tell ({_where_it_fails(first)})")


def _zeros(spec: Any, length: int) -> Array:
    if spec.type not in _NUMBERS:
        raise _UntriedError(f"input {spec.name!r} takes {spec.type}, which cannot be made up")
    known = [n if isinstance(n, int) and n > 0 else length for n in spec.shape]
    return np.zeros([1, *known[1:]] if known else [], _NUMBERS[spec.type])


def _random(like: dict[str, Array], below: int, seed: int) -> dict[str, Array]:
    draw = np.random.default_rng(seed)
    return {name: _drawn(draw, name, array, below) for name, array in like.items()}


def _drawn(draw: np.random.Generator, name: str, like: Array, below: int) -> Array:
    """Numbers of a shape; masks are ones, and types of tokens are two."""
    if "mask" in name.lower():
        return np.ones_like(like)
    if like.dtype.kind == "f":
        return np.asarray(draw.standard_normal(like.shape)).astype(like.dtype)
    top = 2 if "type" in name.lower() else min(below, 128 if like.dtype == np.int8 else 256)
    return np.asarray(draw.integers(0, top, like.shape)).astype(like.dtype)


def _session(model: Any) -> Any:
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 2
    return runtime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _run(session: Any, feed: dict[str, Array]) -> list[Array]:
    return [np.asarray(each) for each in session.run(None, feed)]


def _difference(wanted: Array, found: Array) -> float:
    """The largest one, as a share of the largest number; infinite for other shapes, or words."""
    if wanted.dtype.kind not in "fiub":
        return 0.0 if np.array_equal(wanted, found) else float("inf")
    if wanted.shape != found.shape:
        return float("inf")
    a, b = wanted.astype(np.float64), found.astype(np.float64)
    if not np.array_equal(np.isfinite(a), np.isfinite(b)):
        return float("inf")
    real = np.isfinite(a)
    scale = float(np.abs(a[real]).max(initial=0.0)) or 1.0
    return float(np.abs(a[real] - b[real]).max(initial=0.0)) / scale


def _where_it_fails(error: Exception | None) -> str:
    """The operator that failed, where the runtime names one."""
    found = _FAILED.search(str(error))
    return f"{found['op']} {found['name']!r} fails" if found else f"it fails: {_first_line(error)}"


def _first_line(error: Exception | None) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    main(clean)
