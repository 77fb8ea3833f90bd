"""Running a bare model file in an engine, before there is a package around it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from wherever_contracts.errors import ConversionError, EngineError
from wherever_devices.plans import RunPlan
from wherever_edge import plugins
from wherever_edge.bare.manifest import ENGINES_OF
from wherever_edge.engines.engine import Resources
from wherever_edge.engines.installed import InstalledEngines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherever_contracts.tensors import Array
    from wherever_convert.model_file import ModelFile
    from wherever_edge.engines.engine import Session


def open_model(file: ModelFile, what: str, engine: str = "") -> Session:
    """Load a model in an engine: the one named, or the first that can read it.

    Raises:
        ConversionError: none can.
    """
    engines = InstalledEngines()
    reasons: list[str] = []
    for name, state in engines.states(_candidates(file, engine)).items():
        if state.missing:
            reasons.append(f"{name}: {state.missing}")
            continue
        try:
            plan = RunPlan(name, "cpu", "float32", 1)
            return engines.open(plan, file.format, file.contents, Resources())
        except EngineError as error:
            reasons.append(f"{name}: {error}")
    raise ConversionError(f"{what} cannot be run: {'; '.join(reasons)}")


def run_model(file: ModelFile, inputs: Sequence[Array]) -> tuple[Array, ...]:
    """The outputs of a model, in the file's order.

    Raises:
        ConversionError: no engine can load it, or it cannot be run with these inputs.
    """
    session = open_model(file, "the converted model")
    try:
        if len(inputs) != len(session.inputs):
            raise ConversionError(
                f"the converted model takes {len(session.inputs)} inputs, not {len(inputs)}"
            )
        feed = {
            spec.name: np.ascontiguousarray(array, spec.numpy_dtype)
            for spec, array in zip(session.inputs, inputs, strict=True)
        }
        if _one_by_one(session, inputs):
            return _run_each(session, feed)
        return tuple(session.run(feed).values())
    except EngineError as error:
        raise ConversionError(f"the converted model cannot be run: {error}") from error
    finally:
        session.close()


def _one_by_one(session: Session, inputs: Sequence[Array]) -> bool:
    """Whether there are several rows, and the model takes one at a time."""
    closed = all(spec.shape and spec.shape[0] == 1 for spec in session.inputs)
    return closed and all(array.ndim and len(array) > 1 for array in inputs)


def _run_each(session: Session, feed: dict[str, Array]) -> tuple[Array, ...]:
    count = min(map(len, feed.values()))
    rows = [
        session.run({name: array[n : n + 1] for name, array in feed.items()}) for n in range(count)
    ]
    return tuple(np.concatenate([row[name] for row in rows]) for name in rows[0])


def _candidates(file: ModelFile, engine: str) -> list[str]:
    known = [engine] if engine else ENGINES_OF[file.format]
    return [name for name in known if name in plugins.entry_points("wherever.engines")]
