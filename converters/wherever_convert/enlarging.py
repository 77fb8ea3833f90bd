"""Adding smaller variants to a package, made of a float one that it has."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wherever_contracts.errors import ConversionError
from wherever_convert.design import Design
from wherever_convert.draft import Draft, DraftVariant
from wherever_convert.environments import Tell, quiet
from wherever_convert.finishing import finish
from wherever_convert.limits import MAX_DROP, checked_drop, one_of
from wherever_convert.making import Making, Order
from wherever_convert.model_file import ModelFile
from wherever_convert.page import check_page, write_page
from wherever_convert.quantizing import METHODS, Method
from wherever_convert.samples import SampleOptions, read_samples
from wherever_convert.samples.split import split
from wherever_convert.staging import check_output, next_version, settle_over, staging
from wherever_convert.targets import GIVEN, TARGETS, Made, wanted_targets
from wherever_convert.workbench import Workbench
from wherever_edge.packages.store import open_package

if TYPE_CHECKING:
    from wherever_contracts.manifest import Variant
    from wherever_convert.report import ConversionReport
    from wherever_edge.packages.package import Package

# What a draft says itself; everything else of `model.json` is carried over.
_OWN = frozenset(
    {"schema", "reference", "signature", "variants", "files", "golden", "certificates"}
)
_OWN_OF_VARIANTS = frozenset(
    {
        "id",
        "format",
        "precision",
        "places",
        "files",
        "tensors",
        "pipeline",
        "needs",
        "quality",
        "calibration",
    }
)


def quantize(
    package: str | os.PathLike[str],
    *,
    samples: object,
    variant: str | None = None,
    targets: Sequence[str] = (),
    max_drop: float = MAX_DROP,
    calibration: Method = "minmax",
    reading: SampleOptions | None = None,
    metric: object = None,
    version: str | None = None,
    output: str | os.PathLike[str] | None = None,
    page: str | os.PathLike[str] | None = None,
    seed: int = 0,
    advance: Callable[[], None] | None = None,
    tell: Tell = quiet,
) -> ConversionReport:
    """Make smaller variants of a package's float one, and prove all of them anew.

    Args:
        package: a package directory or an archive.
        samples: see `wherever_convert.samples.read_samples`.
        variant: the float variant that the others are made of and compared with; by default the
            reference.
        targets: the forms to make; "int8" by default. See `wherever_convert.targets`.
        max_drop: the most that they may lose, in points of the metric; 0.01 is one percent point.
        calibration: how int8 ranges are found: "minmax", "entropy" or "percentile".
        reading: how samples are read.
        metric: how answers are scored; see `wherever_convert.judges.judge_for`.
        version: the package's new version; by default the next minor one.
        output: a new directory or archive; by default `package` is replaced.
        page: a file for a page that shows everything.
        seed: of all that is drawn.
        advance: called after each sample that a variant answered.
        tell: told what takes long.

    Raises:
        ConversionError: the variant is no float one, or is not here; the samples do not fit; or
            nothing came of it. The package is left as it was.
        PackageError: the package is refused.
    """
    given = Path(package)
    place = given.resolve() if output is None else Path(output)
    if output is not None:
        check_output(place)
    wanted = wanted_targets(targets, ())
    if page is not None:
        check_page(Path(page))
    limit, method = checked_drop(max_drop), one_of("calibration", calibration, METHODS)
    with staging(place) as scratch:
        old = open_package(given, unpack_into=scratch / "unpacked")
        old.verify()
        draft = draft_of(old, _chosen(old, variant), scratch / "package")
        draft.header["version"] = next_version(old.version, version)
        data = read_samples(samples, reading or SampleOptions())
        bench = Workbench(draft, split(data.items), scratch, advance or _nobody, metric)
        order = Order(_stem(draft.reference), wanted, frozenset(targets), limit, method, seed)
        _check_new(old, [order.variant_id(each) for each in wanted])
        file = draft.variant(draft.reference).file
        made = {GIVEN[file.format, file.precision]: Made(file)}
        making = Making(order, bench, _no_way, tell, made)
        before = len(draft.variants)
        making.run()
        if len(making.kept) == before:
            raise ConversionError("; ".join(making.left_out.values()) or "nothing was to be made")
        source = {**old.manifest.provenance.get("source", {}), "package": old.digest}
        finished = finish(making, data, source)
        settle_over(draft.root, given, place, replaces=output is None)
        report = finished.report(place, source)
        if page is not None:
            write_page(page, report, finished.certificates, finished.findings())
        return report


def draft_of(package: Package, reference: Variant, root: Path) -> Draft:
    """A package as one in the making, in a directory of its own.

    Args:
        package: the package.
        reference: the variant that others are compared with.
        root: a directory that does not exist.

    Raises:
        ConversionError: the files of a variant are not here.
    """
    manifest = package.manifest
    absent = [each.id for each in manifest.variants if each not in package.present()]
    if absent:
        raise ConversionError(
            f"the package is here without the files of {', '.join(absent)}; take the whole one"
        )
    data = manifest.model_dump(mode="json", by_alias=True, exclude_unset=True)
    header = {name: value for name, value in data.items() if name not in _OWN}
    assets = tuple(entry.path for entry in manifest.files)
    pipeline = reference.pipeline.model_dump(mode="json")
    draft = Draft(root, header, Design(data["signature"], pipeline), assets)
    draft.reference, draft.escalates_to = reference.id, manifest.reference
    draft.variants = [_draft_variant(package, each) for each in manifest.variants]
    _copy(package, [*assets, *(path for each in draft.variants for path in each.paths())], root)
    return draft


def _draft_variant(package: Package, variant: Variant) -> DraftVariant:
    data = variant.model_dump(mode="json", exclude_unset=True)
    contents = tuple(package.read(entry) for entry in variant.files)
    return DraftVariant(
        id=variant.id,
        file=ModelFile(variant.format, variant.precision, contents),
        inputs=[entry.spec() for entry in variant.tensors.inputs],
        outputs=[entry.spec() for entry in variant.tensors.outputs],
        pipeline=variant.pipeline.model_dump(mode="json"),
        batch=variant.tensors.batch,
        places=variant.places,
        engines=variant.needs.engines,
        names=tuple(entry.path for entry in variant.files),
        more={name: value for name, value in data.items() if name not in _OWN_OF_VARIANTS},
    )


def _copy(package: Package, paths: Sequence[str], root: Path) -> None:
    root.mkdir()
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(package.read_path(path))


def _chosen(package: Package, wanted: str | None) -> Variant:
    manifest = package.manifest
    known = {each.id: each for each in manifest.variants}
    variant = known.get(wanted or manifest.reference)
    if variant is None:
        raise ConversionError(
            f"package {manifest.name!r} has no variant {wanted!r} (it has: {', '.join(known)})"
        )
    if variant.precision != "float32":
        floats = [each.id for each in manifest.variants if each.precision == "float32"]
        raise ConversionError(
            f"variant {variant.id!r} is {variant.precision}; smaller ones are made of a float32 "
            f"one, and compared with it (--variant; there are: {', '.join(floats) or 'none'})"
        )
    return variant


def _check_new(package: Package, variant_ids: Sequence[str]) -> None:
    there = {each.id for each in package.manifest.variants}.intersection(variant_ids)
    if there:
        raise ConversionError(
            f"package {package.name!r} has {' and '.join(sorted(there))} already; name another "
            f"form (--target), or convert the model again"
        )


def _stem(variant_id: str) -> str:
    """What ids of new variants begin with: "net" for "net-fp32"."""
    target = next((each for each in TARGETS if variant_id.endswith(f"-{each}")), None)
    return variant_id if target is None else variant_id[: -len(target) - 1]


def _no_way(target: str) -> str:
    return f"{TARGETS[target].title} cannot be made of this variant's format"


def _nobody() -> None:
    """Nobody is looking."""
