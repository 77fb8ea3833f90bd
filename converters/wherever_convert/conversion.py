"""From a model to a package with measured variants."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from wherever_contracts.errors import ConversionError
from wherever_contracts.places import Boundary
from wherever_convert.cleaning import clean
from wherever_convert.design import Wanted, design, precedent, read_steps
from wherever_convert.draft import Draft, check_header, header
from wherever_convert.environments import Tell, quiet
from wherever_convert.finishing import finish
from wherever_convert.limits import MAX_DROP, checked_drop, one_of
from wherever_convert.making import Making, Order
from wherever_convert.matrix import cell, check_targets
from wherever_convert.measuring import rows_are_independent
from wherever_convert.model_file import ModelFile
from wherever_convert.page import check_page, write_page
from wherever_convert.quantizing import METHODS, Method
from wherever_convert.report import ConversionReport
from wherever_convert.running import open_model, run_model
from wherever_convert.samples import SampleOptions, read_samples
from wherever_convert.samples.sample import Samples
from wherever_convert.samples.split import split
from wherever_convert.sources import Request, Source, SourceModel, find_source
from wherever_convert.sources.witnesses import Parity, compared
from wherever_convert.staging import check_output, settle, staging
from wherever_convert.targets import GIVEN, TARGETS, Made, wanted_targets
from wherever_convert.workbench import Workbench
from wherever_edge.bare.manifest import TASKS, Pixels, Task, model_name

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array

Advance: TypeAlias = Callable[[], None]

_EXAMPLES = 256
# What another format may change: rounding turns an answer over now and then.
_LEAST_AGREEMENT = 0.99


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
    metric: object = None,
    like: str | os.PathLike[str] | None = None,
    pipeline: str | os.PathLike[str] | None = None,
    calibration: Method = "minmax",
    summary: str = "",
    licence: str = "",
    page: str | os.PathLike[str] | None = None,
    seed: int = 0,
    python: str | os.PathLike[str] | None = None,
    allow_code: bool = False,
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
        metric: how answers are scored; see `wherever_convert.judges.judge_for`.
        like: PACKAGE or PACKAGE:VARIANT, whose signature and pipeline are taken.
        pipeline: a JSON file with the steps `pre` and `post`, and perhaps a `signature`.
        calibration: how int8 ranges are found: "minmax", "entropy" or "percentile".
        summary: of the model, for people.
        licence: of the model.
        page: a file for a page that shows everything; see docs/report.md.
        seed: of all that is drawn; the same inputs and seed give the same models, byte for byte.
        python: the interpreter that runs FILE.py:NAME; by default one that has what it imports.
        allow_code: read a source whose reading may run code, such as a `.pt2` archive.
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
        max_drop=checked_drop(max_drop),
        method=one_of("calibration", calibration, METHODS),
        seed=seed,
    )
    asked = _Asked(
        place=place,
        header=header(stem, version, boundary, summary, licence),
        order=order,
        task=one_of("task", task, TASKS),
        labels=None if labels is None else tuple(labels),
        pixels=pixels,
        metric=metric,
        page=None if page is None else Path(page),
        python=None if python is None else Path(python),
        allow_code=allow_code,
        advance=advance or _nobody,
        tell=tell,
    )
    plugin = _checked(asked, source)
    like_variant = None if like is None else precedent(like)
    steps = None if pipeline is None else read_steps(pipeline)
    data = read_samples(samples, reading or SampleOptions())
    with staging(place) as scratch:
        model = _loaded(asked, plugin, source, data, scratch)
        labelled = asked.wanted(model.labels or data.labels, model.pixels)
        wanted = replace(labelled, like=like_variant, steps=steps)
        return _converted(asked, plugin, model, data, _draft(asked, wanted, model, data, scratch))


@dataclass(frozen=True, slots=True)
class _Asked:
    """What was asked for, checked; see `convert`."""

    place: Path
    header: dict[str, Any]
    order: Order
    task: Task
    labels: tuple[str, ...] | None
    pixels: Pixels | None
    metric: object
    page: Path | None
    python: Path | None
    allow_code: bool
    advance: Advance
    tell: Tell

    def wanted(self, usual_labels: tuple[str, ...] | None, usual_pixels: Pixels | None) -> Wanted:
        """What the package is to promise, with what the source knows where nothing was said."""
        pixels = self.pixels or usual_pixels or Pixels()
        return Wanted(self.task, self.labels, usual_labels, pixels)


def _checked(asked: _Asked, source: object) -> Source:
    """Who reads the source; what cannot be is refused before any work."""
    check_header(asked.header, [asked.order.variant_id(each) for each in TARGETS])
    check_output(asked.place)
    if asked.page is not None:
        check_page(asked.page)
    plugin = find_source(source)
    check_targets(plugin, asked.order.named)
    return plugin


def _loaded(
    asked: _Asked, plugin: Source, source: object, data: Samples, scratch: Path
) -> SourceModel:
    """The source's model, with a clean graph, which answers as the source does."""
    request = Request(
        example=_example(data, asked.pixels or Pixels()),
        task=asked.task,
        formats=frozenset(TARGETS[each].format for each in asked.order.targets),
        scratch=_folder(scratch, "source"),
        python=asked.python,
        allow_code=asked.allow_code,
        tell=asked.tell,
    )
    asked.tell("reading the model")
    model = _cleaned(plugin.load(source, request), _folder(scratch, "clean"), asked.tell)
    parity = _checked_parity(model)
    if parity is None:
        return model
    return replace(model, facts={**model.facts, "parity": parity._asdict()})


def _converted(
    asked: _Asked, plugin: Source, model: SourceModel, data: Samples, draft: Draft
) -> ConversionReport:
    """Make the variants, prove them, and put the package in its place."""
    bench = Workbench(draft, split(data.items), draft.root.parent, asked.advance, asked.metric)
    made = {GIVEN[each.format, each.precision]: Made(each) for each in model.files.values()}
    making = Making(asked.order, bench, partial(_no_way, plugin, model), asked.tell, made)
    _look(making, model)
    making.run()
    finished = finish(making, data, model.facts)
    settle(draft.root, asked.place)
    report = finished.report(asked.place, model.facts)
    if asked.page is not None:
        write_page(asked.page, report, finished.certificates, finished.findings())
    return report


def _look(making: Making, model: SourceModel) -> None:
    """See whether rows are independent, where the source made the axis that counts them."""
    if model.batch:
        bench = making.bench
        reference = bench.draft.variant(bench.reference)
        with bench.draft.opened(reference.id) as loaded:
            reference.batch = rows_are_independent(loaded, bench.feeds(8))


def _cleaned(model: SourceModel, scratch: Path, tell: Tell) -> SourceModel:
    """The same with a cleaner graph, which may take any number of rows."""
    (first, *_) = model.files
    cleaned = clean(model.files[first], scratch, tell)
    for note in cleaned.notes:
        tell(note)
    said = {**cleaned.facts, **({"notes": list(cleaned.notes)} if cleaned.notes else {})}
    facts = {**model.facts, "cleaning": said} if said else model.facts
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


def _no_way(plugin: Source, model: SourceModel, target: str) -> str:
    own = model.also.get(TARGETS[target].format)
    if own:
        return f"{TARGETS[target].title}: {own}"
    ways = [each for each in TARGETS if cell(plugin, each).kind == "made"]
    instead = f"; what can be (--target): {', '.join(ways)}" if ways else ""
    return f"{TARGETS[target].title} cannot be made of {plugin.title}{instead}"


def _example(data: Samples, pixels: Pixels) -> Array | None:
    """Rows as the model takes them, for sources that do not describe their inputs."""
    if data.form == "images":
        return None if pixels.size is None else _noise(pixels.size, pixels.colour)
    values = [sample.value for sample in split(data.items).calibration[:_EXAMPLES]]
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


def _nobody() -> None:
    """Nobody is looking."""
