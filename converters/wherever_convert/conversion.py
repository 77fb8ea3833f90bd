"""From a model to a package with measured variants."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np

from wherever_contracts.errors import ConversionError
from wherever_contracts.places import Boundary
from wherever_convert.cleaning import clean
from wherever_convert.design import Wanted, design, precedent, read_steps
from wherever_convert.draft import Draft, check_header, header
from wherever_convert.environments import Tell, quiet
from wherever_convert.frameworks import versions
from wherever_convert.making import Making, Order
from wherever_convert.measuring import rows_are_independent
from wherever_convert.model_file import ModelFile
from wherever_convert.quantizing import METHODS, Method
from wherever_convert.report import ConversionReport, Row, doubts
from wherever_convert.running import open_model, run_model
from wherever_convert.samples import SampleOptions, read_samples
from wherever_convert.samples.sample import Samples
from wherever_convert.samples.split import Split, split
from wherever_convert.sources import Request, Source, SourceModel, find_source
from wherever_convert.sources.witnesses import Parity, compared
from wherever_convert.staging import check_output, settle, staging
from wherever_convert.targets import GIVEN, TARGETS, Made, wanted_targets
from wherever_convert.workbench import Workbench
from wherever_edge.bare.manifest import TASKS, Pixels, Task, model_name

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array

Advance: TypeAlias = Callable[[], None]

MAX_DROP = 0.01
_EXAMPLES = 256
_GOLDEN_SAMPLES = 3
# What another format may change: rounding turns an answer over now and then.
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
    max_drop: float = MAX_DROP,
    boundary: Boundary = "anywhere",
    targets: Sequence[str] = (),
    profiles: Sequence[str] = (),
    pixels: Pixels | None = None,
    reading: SampleOptions | None = None,
    like: str | os.PathLike[str] | None = None,
    pipeline: str | os.PathLike[str] | None = None,
    calibration: Method = "minmax",
    summary: str = "",
    licence: str = "",
    seed: int = 0,
    python: str | os.PathLike[str] | None = None,
    advance: Advance | None = None,
    tell: Tell = quiet,
) -> ConversionReport:
    """Convert a model to a package of measured variants.

    Each is measured as it will be served, through its pipeline in an engine, on samples that
    nothing about it was chosen on. The package appears at `output` whole, or not at all.

    Args:
        source: a file, an object, or "FILE.py:NAME", which names an object (or a function that
            returns one) in a Python file; it is run. See `wherever_convert.sources`.
        samples: see `wherever_convert.samples.read_samples`.
        task: what the model does: "classify", "detect", "embed" or "tensors".
        output: a directory that does not exist or is empty, or the name of an archive
            (*.wherever).
        name: the model's; by default made of the output's.
        version: the package's.
        labels: the names of the classes, in the model's order; by default the source's or those
            of the samples.
        max_drop: a variant that loses more points of the metric than this is left out, or, when
            it was named in `targets`, refused with all; 0.01 is one percent point.
        boundary: how far inputs may travel.
        targets: the forms to make beside the source's own one; see `wherever_convert.targets`.
        profiles: make what devices of these profiles are offered, such as "raspberry-pi-5".
        pixels: how images become tensors.
        reading: how samples are read.
        like: PACKAGE or PACKAGE:VARIANT, whose signature and pipeline are taken.
        pipeline: a JSON file with the steps `pre` and `post`, and perhaps a `signature`.
        calibration: how int8 ranges are found: "minmax", "entropy" or "percentile".
        summary: of the model, for people.
        licence: of the model.
        seed: of all that is drawn; the same inputs and seed give the same files, byte for byte.
        python: the interpreter that runs FILE.py:NAME; by default one that has what it imports.
        advance: called after each sample that a variant answered.
        tell: told what takes long.

    Raises:
        ConversionError: the source or the samples cannot be used, or a target that was named
            cannot be made or lost more than `max_drop`; nothing is left at `output`.
        MissingExtraError: a framework is not installed.
        PackageError: the pipeline does not fit the model.
    """
    place = Path(output)
    stem = name or model_name(place.stem)
    order = Order(
        stem=stem,
        targets=wanted_targets(targets, profiles),
        named=frozenset(targets),
        max_drop=_checked_drop(max_drop),
        method=_one_of("calibration", calibration, METHODS),
        seed=seed,
    )
    asked = _Asked(place, header(stem, version, boundary, summary, licence), order)
    _one_of("task", task, TASKS)
    check_header(asked.header, [order.variant_id(each) for each in TARGETS])
    check_output(place)
    plugin = find_source(source)
    like_variant = None if like is None else precedent(like)
    steps = None if pipeline is None else read_steps(pipeline)
    data = read_samples(samples, reading or SampleOptions())
    parts = split(data.items)
    with staging(place) as scratch:
        request = Request(
            example=_example(data, parts, pixels or Pixels()),
            task=task,
            formats=frozenset(TARGETS[each].format for each in order.targets),
            scratch=_folder(scratch, "source"),
            python=None if python is None else Path(python),
            tell=tell,
        )
        model = _cleaned(plugin.load(source, request), _folder(scratch, "clean"), tell)
        wanted = Wanted(
            task,
            None if labels is None else tuple(labels),
            model.labels or data.labels,
            pixels or model.pixels or Pixels(),
            like_variant,
            steps,
        )
        parity = _checked_parity(model)
        draft = _draft(asked, wanted, model, data, scratch)
        bench = Workbench(draft, parts, scratch, advance or _nobody)
        made = {GIVEN[each.format, each.precision]: Made(each) for each in model.files.values()}
        making = Making(order, bench, partial(_no_way, plugin), tell, made)
        return _Conversion(asked, model, parity, data, making).run()


@dataclass(frozen=True, slots=True)
class _Asked:
    """What was asked for, apart from what the model promises."""

    place: Path
    header: dict[str, Any]
    order: Order


@dataclass
class _Conversion:
    """A conversion under way: the reference is in the draft."""

    asked: _Asked
    model: SourceModel
    parity: Parity | None
    data: Samples
    making: Making

    def run(self) -> ConversionReport:
        """Make and measure the variants, prove them, and put the package in its place."""
        self._look()
        self.making.run()
        rows = self.making.rows()
        bench = self.making.bench
        for row in rows:
            figure = {"metric": row.metric, "value": round(row.value, 6), "n": row.n}
            bench.draft.variant(row.variant).quality = [{"dataset": self.data.name, **figure}]
        bench.draft.finish(self._golden(), self._provenance(rows))
        settle(bench.draft.root, self.asked.place)
        return self._report(rows)

    def _look(self) -> None:
        """See whether rows are independent, where the source made the axis that counts them."""
        if self.model.batch:
            bench = self.making.bench
            reference = bench.draft.variant(bench.reference)
            with bench.draft.opened(reference.id) as loaded:
                reference.batch = rows_are_independent(loaded, bench.feeds(8))

    def _golden(self) -> list[Any]:
        """Inputs that all variants are most at one about, from all over the test part."""
        judge = self.making.bench.judge("test")
        kept = [each.measured.kept for each in self.making.kept.values()]
        answers = zip(*kept, strict=True)
        likeness = [min(judge.agreement([a], [each[0]]) for a in each) for each in answers]
        most = max(likeness)
        sure = [n for n, share in enumerate(likeness) if share >= most]
        count = min(_GOLDEN_SAMPLES, len(sure))
        test = self.making.bench.samples("test")
        return [test[sure[n * len(sure) // count]].value for n in range(count)]

    def _report(self, rows: list[Row]) -> ConversionReport:
        parts, draft, made = self.making.bench.parts, self.making.bench.draft, self.making.made
        return ConversionReport(
            package=self.asked.place,
            name=self.asked.header["name"],
            version=self.asked.header["version"],
            rows=tuple(rows),
            left_out=self.making.left_out,
            dataset=self.data.name,
            calibration=len(parts.calibration),
            test=len(parts.test),
            shared=parts.shared,
            damaged=self.data.damaged,
            skipped=self.data.left_out,
            pipeline=draft.design.pipeline,
            source=dict(self.model.facts),
            warnings=doubts(rows, len(draft.design.signature["value"].get("labels", ()))),
            layers={target: each.layers for target, each in made.items() if each.layers},
            traces={target: each.trace for target, each in made.items() if each.trace},
        )

    def _provenance(self, rows: Sequence[Row]) -> dict[str, Any]:
        parts, making = self.making.bench.parts, self.making
        source: dict[str, Any] = {**self.model.facts}
        if self.parity is not None:
            source["parity"] = self.parity._asdict()
        return {
            "source": source,
            "tools": versions("wherever", "onnx", "onnxruntime", "numpy"),
            "samples": {
                "dataset": self.data.name,
                "calibration": len(parts.calibration),
                "test": len(parts.test),
                "split": parts.rule,
                "damaged": len(self.data.damaged),
            },
            "made": {
                kept.variant: dict(making.made[target].facts)
                for target, kept in making.kept.items()
                if making.made[target].facts
            },
            "agreement_with_reference": {row.variant: row.agreement for row in rows},
        }


def _cleaned(model: SourceModel, scratch: Path, tell: Tell) -> SourceModel:
    """The same with a cleaner graph, which may take any number of rows."""
    (first, *_) = model.files
    cleaned = clean(model.files[first], scratch, tell)
    facts = {**model.facts, "cleaning": dict(cleaned.facts)} if cleaned.facts else model.facts
    files = {**model.files, first: cleaned.file}
    return replace(model, files=files, facts=facts, batch=model.batch or cleaned.batch)


def _checked_parity(model: SourceModel) -> Parity | None:
    """How near the files are to the source; refused when they answer otherwise than it does."""
    if model.witness is None:
        return None
    parities = [
        compared(model.witness, run_model(file, model.witness.inputs))
        for file in model.files.values()
    ]
    for file, parity in zip(model.files.values(), parities, strict=True):
        if not parity.agreement >= _LEAST_AGREEMENT:
            raise ConversionError(
                f"the {file.format} file answers as the source does on {parity.agreement:.1%} of "
                f"the samples, at least {_LEAST_AGREEMENT:.0%} are needed"
            )
    return parities[0]


def _draft(
    asked: _Asked, wanted: Wanted, model: SourceModel, data: Samples, scratch: Path
) -> Draft:
    """A package with the reference."""
    file = next(iter(model.files.values()))
    made = model.design if model.design and wanted.like is None else _designed(wanted, file, data)
    root = _folder(scratch, "package")
    for path, content in model.assets.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    draft = Draft(root, asked.header, made, tuple(model.assets))
    draft.add(asked.order.variant_id(GIVEN[file.format, file.precision]), file)
    return draft


def _designed(wanted: Wanted, file: ModelFile, data: Samples) -> Any:
    session = open_model(file, "the model")
    try:
        return design(wanted, data.form, session.inputs, session.outputs)
    finally:
        session.close()


def _no_way(plugin: Source, target: str) -> str:
    formats = ", ".join(plugin.formats)
    return f"{TARGETS[target].title} cannot be made of {plugin.title} (it gives: {formats})"


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


def _folder(parent: Path, name: str) -> Path:
    (parent / name).mkdir()
    return parent / name


def _checked_drop(max_drop: float) -> float:
    if not 0 <= max_drop <= 1:
        raise ConversionError(
            f"max_drop must be from 0 to 1, not {max_drop}; 0.01, or 1% on the shell, is one point"
        )
    return max_drop


def _one_of(what: str, given: _Choice, known: Sequence[_Choice]) -> _Choice:
    if given not in known:
        raise ConversionError(f"{what} must be one of {', '.join(known)}, not {given!r}")
    return given


def _nobody() -> None:
    """Nobody is looking."""
