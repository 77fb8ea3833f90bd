"""Making an int8 variant that keeps `max_drop`: what it takes stays float, or it is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from wherever_contracts.errors import EngineError
from wherever_convert.children import run_child
from wherever_convert.frameworks import framework
from wherever_convert.model_file import ModelFile
from wherever_convert.quantization.search import (
    METHODS,
    Candidate,
    Method,
    Space,
    Tried,
    best,
    nearest,
    next_candidate,
    ways,
)
from wherever_convert.targets import CannotMakeError, Job, Layer, Made

if TYPE_CHECKING:
    from wherever_convert.workbench import Trial

__all__ = ["METHODS", "NOTHING", "Method", "quantized"]

NOTHING = "nothing in it has weights that int8 could hold (no convolution or matrix product)"
_USUAL: Method = METHODS[0]
_NAMED = 3  # layers that a refusal names


class Part(NamedTuple):
    """A part of the model: a layer or what joins layers, and what int8 does to it alone."""

    name: str
    op: str
    error: float
    is_layer: bool


def quantized(job: Job) -> Made:
    """Quantize a float ONNX model, with as few parts in float as `max_drop` takes.

    Files are tried on the calibration part of the samples, through the whole pipeline, and must
    lose clearly less there than is allowed, so that the test part finds them within it, too. Where
    it did not (`job.after`), at least twice as many parts stay float.

    Raises:
        CannotMakeError: nothing can be quantized, or nothing that was tried kept `max_drop`; the
            most sensitive layers are named.
        ConversionError: the quantizer failed; the message has its reason.
        MissingExtraError: onnx is not installed.
    """
    framework("onnx", "quantizing")
    search = _Search(job)
    if not any(part.is_layer for part in search.parts):
        raise CannotMakeError(NOTHING)
    return search.run()


@dataclass
class _Search:
    """Tries one file after the other, until the search is over."""

    job: Job

    def run(self) -> Made:
        """The file that was found."""
        job, parts = self.job, self.parts
        # "minmax" is what nobody asked for, or what they asked for first
        tried_ways = ways(job.method, insisted=job.method != _USUAL)
        space = Space(tried_ways, len(parts), job.max_drop, _least_floats(job.after))
        tried: list[Tried] = []
        trace: list[str] = []
        files: dict[Candidate, Path] = {}
        while (candidate := next_candidate(space, tried)) is not None:
            files[candidate] = self._made(candidate)
            trial = self._tried(files[candidate])
            tried.append(Tried(candidate, trial.drop, trial.agreement))
            trace.append(self._words(candidate, trial))
            job.tell(trace[-1])
        found = best(space, tried)
        if found is None:
            raise CannotMakeError(self._refusal(tried))
        return self._result(found.candidate, files[found.candidate], trace)

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The parts of the model, in the order in which they are better left in float."""
        orders = {
            "do": "study",
            "model": str(self.job.of.write(self.job.scratch, "float")[0]),
            **self._study,
        }
        self.job.tell("int8: looking at what it does to each layer alone")
        said = self._child(orders, "looking at the model's layers")
        return tuple(
            Part(each["name"], each["op"], each["error"], each["layer"]) for each in said["parts"]
        )

    @cached_property
    def _study(self) -> dict[str, Any]:
        """Where what is found about the model is kept; a second search goes on from there."""
        bench = self.job.bench
        folder = bench.scratch / f"study-{self.job.of.sha256[:16]}"
        folder.mkdir(exist_ok=True)
        samples = str(bench.inputs())
        return {"folder": str(folder), "samples": samples, "method": self.job.method}

    def _made(self, candidate: Candidate) -> Path:
        way, count = candidate
        output = self.job.scratch / f"{way.method}-{way.breadth}-{count}.onnx"
        orders = {
            **self._study,
            "do": "make",
            "method": way.method,
            "breadth": way.breadth,
            "floats": [part.name for part in self.parts[:count]],
            "output": str(output),
        }
        self._child(orders, "quantizing the model")
        return output

    def _tried(self, path: Path) -> Trial:
        try:
            return self.job.bench.try_file(_file(path))
        except EngineError as error:
            raise CannotMakeError(f"no engine runs it as int8: {error}") from error

    def _child(self, orders: dict[str, Any], what: str) -> dict[str, Any]:
        return run_child("quantize", orders, self.job.scratch, what)

    def _words(self, candidate: Candidate, trial: Trial) -> str:
        (method, breadth), count = candidate
        between = "" if breadth == "everything" else ", sums and products in float"
        metric = self.job.bench.judge("calibration").metric
        return (
            f"int8 ({method}): {count} of {len(self.parts)} parts in float{between}: "
            f"{metric} {trial.value:.4f} (float {trial.value + trial.drop:.4f})"
        )

    def _result(self, chosen: Candidate, path: Path, trace: Sequence[str]) -> Made:
        (method, breadth), count = chosen
        floats = [part.name for part in self.parts[:count]]
        facts = {
            "method": "static, QDQ, a scale for each channel",
            "ranges": method,
            "int8": breadth,
            "float": floats,
            "tries": len(trace),
        }
        layers = tuple(
            Layer(part.name, part.op, part.error, quantized=part.name not in floats)
            for part in _by_error(self.parts)
        )
        return Made(_file(path), facts, layers, tuple(trace))

    def _refusal(self, tried: Sequence[Tried]) -> str:
        job = self.job
        metric = job.bench.judge("calibration").metric
        least = nearest(tried)
        if least is None:
            return "twice as many parts in float would be most of them, and gain no speed"
        how = _loss(least, len(self.parts), metric)
        layers = [part for part in _by_error(self.parts) if part.is_layer][:_NAMED]
        named = ", ".join(f"{part.name} ({part.op}, {part.error:.1%})" for part in layers)
        return (
            f"int8 loses more than {job.max_drop:.4f} allows (--max-drop): {how} after "
            f"{len(tried)} tries. Most sensitive, by the error of the outputs when they alone are "
            f"int8: {named}. Allow a larger drop, or give more samples"
        )


def _least_floats(after: Made | None) -> int:
    """How many parts must stay float when a file was not good enough."""
    return 0 if after is None else max(1, 2 * len(after.facts["float"]))


def _by_error(parts: Sequence[Part]) -> list[Part]:
    return sorted(parts, key=lambda part: -part.error)


def _loss(tried: Tried, parts: int, metric: str) -> str:
    return (
        f"at best {metric} drops by {tried.drop:.4f}, with {tried.agreement:.1%} of the answers "
        f"unchanged and {tried.candidate.floats} of {parts} parts in float,"
    )


def _file(path: Path) -> ModelFile:
    return ModelFile("onnx", "int8", (path.read_bytes(),))
