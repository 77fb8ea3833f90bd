"""Int8 for LiteRT: static where that holds, with layers left in float, or int8 weights alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wherever_contracts.errors import ConversionError, EngineError
from wherever_convert.adapting import matched
from wherever_convert.children import run_child
from wherever_convert.environments import python_for
from wherever_convert.model_file import ModelFile, read_model_file
from wherever_convert.running import open_model
from wherever_convert.targets import CannotMakeError, Job, Layer, Made

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

# OpenVINO refuses what this quantizer makes.
_ENGINE = "litert"
# Ranges hardly move after these.
_MOST_SAMPLES = 128
_STATIC = "static, a scale for each channel"
_WEIGHTS = "int8 weights; the range of what they are multiplied with is found at each run"
_NAMED = 12


def make(job: Job) -> Made:
    """Quantize a float file, and leave as little of it in float as `max_drop` needs."""
    folder = job.scratch / "files"
    folder.mkdir()
    search = _Search(job, folder, python_for("litert-quantizer", job.tell))
    first = search.ask({})
    found = search.tried(first["files"], [each for each in first["files"] if each != "weights"])
    layers: list[list[Any]] = []
    if not found:
        job.tell("looking for the layers that int8 hurts")
        ranked = search.ask({"ranked": True, "barred": first["barred"]})
        layers = ranked["layers"]
        found = search.tried(ranked["files"], list(ranked["files"]))
    found = found or search.tried(first["files"], ["weights"])
    if not found:
        raise CannotMakeError(_refusal(job, search.trace))
    name, left = found
    facts = {
        "tool": f"ai-edge-quantizer {first['version']}",
        "method": _WEIGHTS if name == "weights" else _STATIC,
        "ranges": search.ranges,
        "float": left,
    }
    kept = set(left)
    return Made(
        search.file(name),
        facts,
        tuple(Layer(each, op, error, each not in kept) for each, op, error in layers),
        tuple(search.trace),
        engines=(_ENGINE,),
    )


@dataclass
class _Search:
    """Files that the quantizer made, and what came of trying them."""

    job: Job
    folder: Path
    python: Path
    trace: list[str] = field(default_factory=list[str])

    @property
    def ranges(self) -> str:
        """How the ranges of a tensor over the samples become one."""
        return "minmax" if self.job.method == "minmax" else "moving average"

    def ask(self, more: Mapping[str, Any]) -> dict[str, Any]:
        """What the quantizer makes."""
        orders = {
            "model": str(self.job.of.write(self.job.scratch, "float")[0]),
            "samples": str(self.job.bench.inputs()),
            "inputs": _inputs(self.job),
            "most": _MOST_SAMPLES,
            "average": self.job.method != "minmax",
            "folder": str(self.folder),
            **more,
        }
        try:
            return run_child(
                "litert_int8", orders, self.job.scratch, "quantizing", python=self.python
            )
        except ConversionError as error:
            raise CannotMakeError(str(error)) from error

    def tried(
        self, files: Mapping[str, list[str]], names: Sequence[str]
    ) -> tuple[str, list[str]] | None:
        """The first file that keeps `max_drop`, and its layers in float."""
        for name in names:
            if name in files and self._keeps(name, files[name]):
                return name, files[name]
        return None

    def file(self, name: str) -> ModelFile:
        """A file that was made."""
        return read_model_file(self.folder / f"{name}.tflite", "tflite", "int8")

    def _keeps(self, name: str, left: Sequence[str]) -> bool:
        what = "int8 weights alone" if name == "weights" else f"{len(left)} layers in float"
        try:
            trial = self.job.bench.try_file(self.file(name), engine=_ENGINE)
        except (ConversionError, EngineError) as error:
            self.trace.append(f"{what}: {error}")
            return False
        self.trace.append(
            f"{what}: {trial.value:.4f}, a drop of {trial.drop:.4f} on {trial.n} samples"
        )
        self.job.tell(self.trace[-1])
        return trial.drop <= self.job.max_drop


def _inputs(job: Job) -> dict[str, str]:
    """The file's inputs -> the reference's, in whose names the samples are."""
    reference = job.bench.draft.variant(job.bench.reference)
    session = open_model(job.of, "the float model", _ENGINE)
    try:
        pairs = matched("inputs", reference.inputs, session.inputs)
    finally:
        session.close()
    return {spec.name: name for name, spec in pairs.items()}


def _refusal(job: Job, trace: Sequence[str]) -> str:
    return (
        f"no int8 form for LiteRT loses at most {job.max_drop:.4f} on the calibration samples: "
        f"{'; '.join(trace[:_NAMED])}"
    )
