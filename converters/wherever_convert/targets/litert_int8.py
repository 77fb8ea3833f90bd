"""Int8 for LiteRT: static where that holds, with layers left in float, or int8 weights alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

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

    from wherever_convert.workbench import Trial

# OpenVINO refuses what this quantizer makes.
_ENGINE = "litert"
# Shares of correct answers are no round numbers.
_ROUNDING = 1e-9
# So many times `max_drop` may be answered otherwise: most of that changes no score.
_OTHERWISE = 5
# Ranges hardly move after these.
_MOST_SAMPLES = 128
_STATIC = "static, a scale for each channel"
_WEIGHTS = "int8 weights; the range of what they are multiplied with is found at each run"
_NAMED = 12


def make(job: Job) -> Made:
    """Quantize a float file, and leave as little of it in float as `max_drop` needs.

    Raises:
        CannotMakeError: nothing that was tried holds it, or nothing with more in float than what
            was not good enough (`job.after`).
    """
    before = _left_before(job.after)
    folder = job.scratch / "files"
    folder.mkdir()
    search = _Search(job, folder, python_for("litert-quantizer", job.tell))
    first = search.ask({})
    static = {each: left for each, left in first["files"].items() if each != "weights"}
    found = search.tried(static, [each for each in static if len(static[each]) > before])
    layers: list[list[Any]] = []
    if not found:
        job.tell("looking for the layers that int8 hurts")
        ranked = search.ask({"ranked": True, "barred": first["barred"]})
        layers = ranked["layers"]
        more = [each for each, left in ranked["files"].items() if len(left) > before]
        found = search.tried(ranked["files"], more)
    found = found or search.nearest() or search.tried(first["files"], ["weights"])
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


def _left_before(after: Made | None) -> int:
    """How many layers a file had in float that was not good enough; -1 when there was none."""
    if after is None:
        return -1
    if after.facts["method"] == _WEIGHTS:
        raise CannotMakeError("its weights alone are int8 already")
    return len(after.facts["float"])


class _Near(NamedTuple):
    """How far a file answers as the reference does, and its layers in float."""

    agreement: float
    left: list[str]


@dataclass
class _Search:
    """Files that the quantizer made, and what came of trying them."""

    job: Job
    folder: Path
    python: Path
    trace: list[str] = field(default_factory=list[str])
    _near: dict[str, _Near] = field(default_factory=dict[str, "_Near"])

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

    def nearest(self) -> tuple[str, list[str]] | None:
        """The file that answers most alike, of those that lost no more than chance can take."""
        if not self._near:
            return None
        name = max(self._near, key=lambda each: self._near[each].agreement)
        self.trace.append(f"none keeps {self.job.max_drop:.4f}, but {name} may, on more samples")
        return name, self._near[name].left

    def file(self, name: str) -> ModelFile:
        """A file that was made."""
        return read_model_file(self.folder / f"{name}.tflite", "tflite", "int8")

    def _keeps(self, name: str, left: list[str]) -> bool:
        what = "int8 weights alone" if name == "weights" else f"{len(left)} layers in float"
        try:
            trial = self.job.bench.try_file(self.file(name), engine=_ENGINE)
        except (ConversionError, EngineError) as error:
            self.trace.append(f"{what}: {error}")
            return False
        self.trace.append(
            f"{what}: {trial.value:.4f}, a drop of {trial.drop:.4f}, and {trial.agreement:.1%} "
            f"answered alike on {trial.n} samples"
        )
        self.job.tell(self.trace[-1])
        most = self.job.max_drop + _ROUNDING
        if trial.drop <= most + noise(trial):
            self._near[name] = _Near(trial.agreement, left)
        # few samples may miss a drop that so many other answers will bring
        return trial.drop <= most and 1 - trial.agreement <= _OTHERWISE * most


def noise(trial: Trial) -> float:
    """How far chance moves the drop of a file that is as good as its reference.

    Two standard deviations, if each sample that is answered otherwise is as likely to be right.
    """
    return 2 * math.sqrt(max(1 - trial.agreement, 0.0) / trial.n)


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
