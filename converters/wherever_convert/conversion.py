"""From a model to a package with measured variants."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

import numpy as np

from wherever_contracts.errors import ConversionError
from wherever_contracts.places import Boundary
from wherever_convert.design import Wanted, design, precedent, read_steps
from wherever_convert.draft import Draft, check_header, header
from wherever_convert.frameworks import versions
from wherever_convert.judges import Judge, judge_for, measuring_options
from wherever_convert.measuring import Measured, engine_inputs, measure, rows_are_independent
from wherever_convert.quantizing import METHODS, NOTHING, Method, quantized
from wherever_convert.report import ConversionReport, Row, doubts
from wherever_convert.running import open_onnx
from wherever_convert.samples import SampleOptions, read_samples
from wherever_convert.samples.sample import Samples
from wherever_convert.samples.split import Split, split
from wherever_convert.sources import OnnxModel, Source, find_source
from wherever_convert.staging import check_output, settle, staging
from wherever_edge.bare.manifest import TASKS, Pixels, Task, model_name

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array
    from wherever_edge.host import LoadedVariant

Precision: TypeAlias = Literal["float32", "int8"]
PRECISIONS: tuple[Precision, ...] = ("float32", "int8")
Advance: TypeAlias = Callable[[], None]

_SHORT: dict[Precision, str] = {"float32": "fp32", "int8": "int8"}
_EXAMPLES = 256
_GOLDEN_SAMPLES = 3
# What making ONNX of a model may change: rounding turns an answer over now and then.
_LEAST_AGREEMENT = 0.99

_Choice = TypeVar("_Choice", bound=str)


def convert(
    source: object,
    *,
    samples: object,
    task: Task,
    output: str | os.PathLike[str],
    name: str | None = None,
    version: str = "1.0.0",
    labels: Sequence[str] | None = None,
    max_drop: float | None = None,
    boundary: Boundary = "anywhere",
    precisions: Sequence[str] | None = None,
    pixels: Pixels | None = None,
    reading: SampleOptions | None = None,
    like: str | os.PathLike[str] | None = None,
    pipeline: str | os.PathLike[str] | None = None,
    calibration: Method = "minmax",
    summary: str = "",
    licence: str = "",
    advance: Advance | None = None,
) -> ConversionReport:
    """Convert a model to a package with a float32 and an int8 variant, both measured.

    Both are measured as they will be served, through their pipeline in an engine, on samples that
    the int8 ranges were not found on. The package appears at `output` whole, or not at all.

    Args:
        source: an .onnx file, a scikit-learn estimator, a PyTorch module, or "FILE.py:NAME", which
            names such an object (or a function that returns one) in a Python file; it is run.
        samples: see `wherever_convert.samples.read_samples`.
        task: what the model does: "classify", "detect", "embed" or "tensors".
        output: a directory that does not exist or is empty, or the name of an archive
            (*.wherever).
        name: the model's; by default made of the output's.
        version: the package's.
        labels: the names of the classes, in the model's order; by default the source's or those
            of the samples.
        max_drop: refuse when int8 loses more points of the metric than this; 0.01 is one percent
            point.
        boundary: how far inputs may travel.
        precisions: the variants to make, "float32" or "int8" or both; when not given, int8 is left
            out where there is nothing to quantize.
        pixels: how images become tensors.
        reading: how samples are read.
        like: PACKAGE or PACKAGE:VARIANT, whose signature and pipeline are taken.
        pipeline: a JSON file with the steps `pre` and `post`, and perhaps a `signature`.
        calibration: how int8 ranges are found: "minmax", "entropy" or "percentile".
        summary: of the model, for people.
        licence: of the model.
        advance: called after each sample that a variant answered.

    Raises:
        ConversionError: the source or the samples cannot be used, or int8 lost more than
            `max_drop`; nothing is left at `output`.
        MissingExtraError: a framework is not installed.
        PackageError: the pipeline does not fit the model.
    """
    place = Path(output)
    asked = _Asked(
        place=place,
        header=header(name or model_name(place.stem), version, boundary, summary, licence),
        max_drop=_checked_drop(max_drop),
        precisions=None if precisions is None else _checked_precisions(precisions),
        method=_one_of("calibration", calibration, METHODS),
    )
    _one_of("task", task, TASKS)
    check_header(asked.header, [asked.variant_id(each) for each in PRECISIONS])
    check_output(place)
    plugin = find_source(source)
    like_variant = None if like is None else precedent(like)
    steps = None if pipeline is None else read_steps(pipeline)
    data = read_samples(samples, reading or SampleOptions())
    parts = split(data.items)
    pixels = pixels or Pixels()
    model = _as_onnx(plugin, source, _example(data, parts, pixels))
    usual = model.labels or data.labels
    wanted = Wanted(
        task, None if labels is None else tuple(labels), usual, pixels, like_variant, steps
    )
    with staging(place) as scratch:
        draft = _draft(asked, wanted, model, data, scratch)
        return _Conversion(asked, draft, model, data, parts, scratch, advance or _nobody).run()


@dataclass(frozen=True, slots=True)
class _Asked:
    """What was asked for, apart from what the model promises."""

    place: Path
    header: dict[str, Any]
    max_drop: float | None
    precisions: tuple[Precision, ...] | None
    method: Method

    def wants(self, precision: Precision) -> bool:
        return self.precisions is None or precision in self.precisions

    def variant_id(self, precision: Precision) -> str:
        return f"{self.header['name']}-{_SHORT[precision]}"


@dataclass
class _Conversion:
    """A conversion under way: the float variant is in the draft."""

    asked: _Asked
    draft: Draft
    model: OnnxModel
    data: Samples
    parts: Split
    scratch: Path
    advance: Advance

    def run(self) -> ConversionReport:
        """Measure, quantize, measure again, decide, and put the package in its place."""
        measured: dict[Precision, Measured] = {}
        left_out: dict[str, str] = {}
        with self.draft.opened(self.asked.variant_id("float32")) as loaded:
            options = measuring_options(loaded.signature)
            judge = judge_for(loaded.signature, self.parts.test)
            self._look(loaded, options)
            measured["float32"] = self._measured(loaded, judge, options)
            file = self._int8_file(loaded, options, left_out)
        if file is not None:
            variant_id = self.asked.variant_id("int8")
            self.draft.add(variant_id, "int8", file)
            with self.draft.opened(variant_id) as loaded:
                measured["int8"] = self._measured(loaded, judge, options)
        rows = [self._row(each, measured, judge) for each in reversed(measured)]
        _refuse_drop(rows, self.asked.max_drop)
        return self._finish(rows, left_out, self._golden(measured, judge))

    def _look(self, loaded: LoadedVariant, options: dict[str, float]) -> None:
        """See whether rows are independent, where the source made the axis that counts them."""
        if self.model.batch:
            some = self.parts.calibration[:8]
            rows = [engine_inputs(loaded, sample, options) for sample in some]
            self.draft.batch = rows_are_independent(loaded, rows)

    def _measured(self, loaded: LoadedVariant, judge: Judge, options: dict[str, float]) -> Measured:
        return measure(loaded, self.parts.test, judge, options, self.advance)

    def _int8_file(
        self, loaded: LoadedVariant, options: dict[str, float], left_out: dict[str, str]
    ) -> Path | None:
        if not self.asked.wants("int8"):
            return None
        folder = self.scratch / "int8"
        folder.mkdir()
        made = quantized(loaded, self.parts.calibration, options, self.asked.method, folder)
        if made is None:
            if self.asked.precisions is not None:
                raise ConversionError(f"no int8 variant can be made: {NOTHING}")
            left_out["int8"] = NOTHING
        return made

    def _row(self, precision: Precision, measured: dict[Precision, Measured], judge: Judge) -> Row:
        own, reference = measured[precision], measured["float32"].kept
        value = judge.score(own.kept, reference)
        variant_id = self.asked.variant_id(precision)
        return Row(
            variant=variant_id,
            precision=precision,
            bytes=self.draft.bytes_of(variant_id),
            metric=judge.metric,
            value=value,
            n=len(own.kept),
            drop=judge.score(reference, reference) - value,
            agreement=judge.agreement(own.kept, reference),
            latency_s=own.latency_s,
        )

    def _golden(self, measured: dict[Precision, Measured], judge: Judge) -> list[Any]:
        """Inputs that both variants are most at one about, from all over the test part."""
        pairs = zip(*(each.kept for each in measured.values()), strict=True)
        likeness = [judge.agreement([pair[-1]], [pair[0]]) for pair in pairs]
        most = max(likeness)
        sure = [n for n, share in enumerate(likeness) if share >= most]
        count = min(_GOLDEN_SAMPLES, len(sure))
        return [self.parts.test[sure[n * len(sure) // count]].value for n in range(count)]

    def _finish(
        self, rows: list[Row], left_out: dict[str, str], golden: list[Any]
    ) -> ConversionReport:
        asked, draft = self.asked, self.draft
        warnings = doubts(rows, len(draft.design.signature["value"].get("labels", ())))
        if not asked.wants("float32"):
            draft.drop(asked.variant_id("float32"))
            rows = [row for row in rows if row.precision != "float32"]
        draft.take_quality(self.data.name, rows)
        draft.finish(golden, self._provenance(rows))
        settle(draft.root, asked.place)
        return ConversionReport(
            package=asked.place,
            name=asked.header["name"],
            version=asked.header["version"],
            rows=tuple(rows),
            left_out=left_out,
            dataset=self.data.name,
            calibration=len(self.parts.calibration),
            test=len(self.parts.test),
            shared=self.parts.shared,
            damaged=self.data.damaged,
            skipped=self.data.left_out,
            pipeline=draft.design.pipeline,
            source=dict(self.model.facts),
            warnings=warnings,
        )

    def _provenance(self, rows: Sequence[Row]) -> dict[str, Any]:
        quantization = {
            "method": "static, QDQ, a scale for each channel",
            "ranges": self.asked.method,
            "samples": len(self.parts.calibration),
        }
        return {
            "source": {
                **self.model.facts,
                "onnx_sha256": hashlib.sha256(self.model.data).hexdigest(),
                "agreement": self.model.agreement,
            },
            "tools": versions("wherever", "onnx", "onnxruntime", "numpy"),
            "samples": {
                "dataset": self.data.name,
                "calibration": len(self.parts.calibration),
                "test": len(self.parts.test),
                "split": self.parts.rule,
                "damaged": len(self.data.damaged),
            },
            **({"quantization": quantization} if rows[0].precision == "int8" else {}),
            "agreement_with_float32": {row.variant: row.agreement for row in rows},
        }


def _as_onnx(plugin: Source, source: object, example: Array | None) -> OnnxModel:
    """The model as ONNX; refused when it answers otherwise than the source does."""
    model = plugin.to_onnx(source, example)
    if model.agreement is not None and not model.agreement >= _LEAST_AGREEMENT:
        raise ConversionError(
            f"the ONNX file answers as the source does on {model.agreement:.1%} of the samples, "
            f"at least {_LEAST_AGREEMENT:.0%} are needed"
        )
    return model


def _draft(asked: _Asked, wanted: Wanted, model: OnnxModel, data: Samples, scratch: Path) -> Draft:
    """A package with the float variant."""
    session = open_onnx(model.data, "the model")
    made = design(wanted, data.form, session.inputs, session.outputs)
    root, file = scratch / "package", scratch / "float.onnx"
    root.mkdir()
    file.write_bytes(model.data)
    draft = Draft(root, asked.header, made, session)
    draft.add(asked.variant_id("float32"), "float32", file)
    return draft


def _example(data: Samples, parts: Split, pixels: Pixels) -> Array | None:
    """Rows as the model takes them, for sources that do not describe their inputs."""
    if data.form == "images":
        return None if pixels.size is None else _noise(pixels.size, pixels.colour)
    values = [sample.value for sample in parts.calibration[:_EXAMPLES]]
    arrays = [value for value in values if isinstance(value, np.ndarray)]
    if len(arrays) != len(values) or len({array.shape for array in arrays}) != 1:
        return None
    rows = np.stack(arrays)
    return rows.astype(np.float32) if rows.dtype.kind == "f" else rows


def _noise(size: tuple[int, int], colour: str | None) -> Array:
    """Four images of noise, 0 to 1, always the same; the channels come first."""
    channels = 1 if colour == "grey" else 3
    images: Array = np.random.default_rng(0).random((4, channels, *size), np.float32)
    return images


def _refuse_drop(rows: Sequence[Row], max_drop: float | None) -> None:
    before = {row.variant: row.value + row.drop for row in rows}
    for row in rows:
        # a metric that is not a number is no proof
        if max_drop is not None and not row.drop <= max_drop:
            raise ConversionError(
                f"{row.precision} loses too much: {row.metric} {before[row.variant]:.4f} as "
                f"float32, {row.value:.4f} as {row.precision} on {row.n} samples, a drop of "
                f"{row.drop:.4f}; at most {max_drop:.4f} is allowed. Nothing was written; try "
                f"other ranges (--calibration entropy or percentile), or more samples"
            )


def _checked_drop(max_drop: float | None) -> float | None:
    if max_drop is not None and not 0 <= max_drop <= 1:
        raise ConversionError(
            f"max_drop must be from 0 to 1, not {max_drop}; 0.01, or 1% on the shell, is one point"
        )
    return max_drop


def _checked_precisions(given: Sequence[str]) -> tuple[Precision, ...]:
    if not given or not set(PRECISIONS).issuperset(given):
        found = ", ".join(given) or "none"
        raise ConversionError(f"precisions are {' or '.join(PRECISIONS)}, not {found}")
    return tuple(each for each in PRECISIONS if each in given)


def _one_of(what: str, given: _Choice, known: Sequence[_Choice]) -> _Choice:
    if given not in known:
        raise ConversionError(f"{what} must be one of {', '.join(known)}, not {given!r}")
    return given


def _nobody() -> None:
    """Nobody is looking."""
