"""Calibrating: what a small variant's confidence says about the large one's answer."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from wherever_contracts.errors import ConversionError
from wherever_contracts.manifest import SCHEMA_MAJOR, SCHEMA_MINOR
from wherever_convert.builder import build_package
from wherever_convert.calibration import Calibration
from wherever_convert.judges import categories, correctness, judge_for
from wherever_convert.measuring import Measured, measure
from wherever_convert.samples import SampleOptions, Samples, read_samples
from wherever_convert.staging import check_output, next_version, settle_over, staging
from wherever_edge.host import LocalHost
from wherever_edge.inputs import check_options
from wherever_edge.packages.pairs import MAX_PAIRS, Pairs, pack_pairs
from wherever_edge.packages.store import Store, open_package

if TYPE_CHECKING:
    from wherever_contracts.manifest import Manifest, Signature, Variant
    from wherever_contracts.tensors import Array
    from wherever_edge.packages.package import Package

FOLDER = "calibration"
_KINDS = {"images": "image", "texts": "text", "files": "bytes"}
_STEPS = {"label": "max_confidence", "detections": "detection_confidence"}

Advance = Callable[[], None]
Tell = Callable[[str], None]


class _Two(NamedTuple):
    """The variant whose confidence is calibrated, and the one that it is compared with."""

    small: Variant
    large: Variant


def calibrate(
    package: str | os.PathLike[str],
    samples: object,
    *,
    small: str | None = None,
    large: str | None = None,
    output: str | os.PathLike[str] | None = None,
    version: str | None = None,
    reading: SampleOptions | None = None,
    advance: Advance = lambda: None,
    tell: Tell = lambda _: None,
) -> Calibration:
    """Ask two variants of a package about samples, and keep what routing needs of the answers.

    For every sample, the small variant's confidence and how far its answer is that of the large
    one are written into the package, which gets a new version. Variants, golden samples and
    certificates stay what they are.

    Args:
        package: a package directory or an archive, or, with `output`, the name of a package in the
            wheel.
        samples: see `wherever_convert.samples.read_samples`; the truth need not be known.
        small: the variant that devices run; by default the one that this machine prefers.
        large: the variant that escalation asks; by default the package's reference.
        output: a new directory or archive; by default `package` is replaced.
        version: the package's new version; by default the next minor one.
        reading: how samples are read.
        advance: called after each answer.
        tell: told what takes long.

    Raises:
        ConversionError: the package has no two variants to compare, the small one gives no
            confidence, or the samples do not fit the model.
        PackageError: the package is refused.
        EngineError: a variant cannot run here.
    """
    given = Path(package)
    place = given.resolve() if output is None else Path(output)
    if output is not None:
        check_output(place)
    elif not given.exists():
        raise ConversionError(
            f"there is no package at {given}; of one in the wheel, name an output (-o)"
        )
    with staging(place) as scratch:
        old = _opened(given, scratch / "unpacked")
        old.verify()
        version = next_version(old.version, version)
        host = LocalHost(Store(builtin=False), distance="device")
        try:
            two = _two(old, host, small, large)
            data = _samples(old.manifest.signature, samples, reading or SampleOptions())
            tell(f"asking {two.small.id} and {two.large.id}")
            pairs = _pairs(host, old, two, data, advance)
        finally:
            host.close()
        root = scratch / "package"
        _write(root, old, two, data, pairs, version)
        made = settle_over(root, given, place, replaces=output is None)
        value = made.manifest.signature.value
        return Calibration(
            package=made.name,
            version=made.version,
            path=place,
            variant=two.small.id,
            against=two.large.id,
            dataset=data.name,
            digest=data.digest(),
            pairs=pairs,
            whole=value.kind == "label",
            labels=getattr(value, "labels", ()),
            escalate_below=two.small.escalate_below,
            damaged=data.damaged,
        )


def _opened(given: Path, unpack_into: Path) -> Package:
    if given.exists():
        return open_package(given, unpack_into=unpack_into)
    return Store().get(str(given))


def _two(package: Package, host: LocalHost, small: str | None, large: str | None) -> _Two:
    """The variants that were named, or else the reference and what a device here would run."""
    manifest = package.manifest
    if len(manifest.variants) < 2:
        raise ConversionError(
            f"package {manifest.name!r} has one variant, {manifest.reference!r}, and nothing to "
            f"compare it with; add a larger one: wherever pack add PACKAGE FILE"
        )
    other = _variant(manifest, large or manifest.reference)
    if small is not None:
        own = _variant(manifest, small)
    else:
        fitting = [each for each, unfit in host.choices(package) if not unfit]
        found = [each for each in fitting if "device" in each.places and each.id != other.id]
        if not found:
            raise ConversionError(
                f"package {manifest.name!r} has no variant for devices that runs here and is not "
                f"{other.id!r}; name one (--small)"
            )
        own = found[0]
    if own.id == other.id:
        raise ConversionError(
            f"{own.id!r} cannot be compared with itself; name another with --small or --large "
            f"({', '.join(each.id for each in manifest.variants)})"
        )
    return _Two(own, other)


def _variant(manifest: Manifest, variant_id: str) -> Variant:
    try:
        return manifest.variant(variant_id)
    except KeyError:
        known = ", ".join(variant.id for variant in manifest.variants)
        raise ConversionError(
            f"package {manifest.name!r} has no variant {variant_id!r} (it has: {known})"
        ) from None


def _samples(signature: Signature, given: object, reading: SampleOptions) -> Samples:
    """The samples, once it is clear that the model takes such ones."""
    data = read_samples(given, reading)
    kinds = {entry.kind for entry in signature.inputs}
    wanted = _KINDS.get(data.form)
    if wanted is not None and wanted not in kinds:
        takes = ", ".join(f"{entry.name} ({entry.kind})" for entry in signature.inputs)
        raise ConversionError(f"the samples are {data.form}, and the model takes {takes}")
    if len(data.items) > MAX_PAIRS:
        raise ConversionError(f"{len(data.items)} samples, at most {MAX_PAIRS} pairs are kept")
    return data


def _pairs(host: LocalHost, package: Package, two: _Two, data: Samples, advance: Advance) -> Pairs:
    judge = judge_for(package.manifest.signature, data.items)
    # the options of a usual call: a detector's confidence is about what it then shows
    options = check_options(package.manifest.signature, {})
    own = measure(host.load(package, two.small), data.items[:1], judge, options, lambda: None)
    _refuse_unsure(two.small, package.manifest.signature.value.kind, own)
    own, other = (
        measure(host.load(package, each), data.items, judge, options, advance) for each in two
    )
    right, right_against = (correctness(judge, each.kept) for each in (own, other))
    category = categories(judge, own.kept)
    return Pairs(
        _confidence(two.small, own, data),
        _share(judge.agreements(own.kept, other.kept)),
        None if right is None else _share(right),
        None if right_against is None else _share(right_against),
        None if category is None else category.astype(np.float32),
    )


def _refuse_unsure(variant: Variant, kind: str, first: Measured) -> None:
    if first.confidence[0] is not None:
        return
    step = _STEPS.get(kind)
    how = f"end its pipeline.post with the step {step}" if step else "it needs a step that does"
    raise ConversionError(
        f"variant {variant.id!r} gives no confidence, so that there is nothing to calibrate; {how}"
    )


def _confidence(variant: Variant, measured: Measured, data: Samples) -> Array:
    for given, sample in zip(measured.confidence, data.items, strict=True):
        if given is None or not 0 <= given <= 1:
            raise ConversionError(
                f"sample {sample.name} in variant {variant.id}: a confidence of {given}, not one "
                f"from 0 to 1"
            )
    return np.array(measured.confidence, np.float32)


def _share(values: Array) -> Array:
    """Shares from 0 to 1; a cosine below 0 is no agreement at all."""
    shares: Array = np.clip(np.nan_to_num(values), 0, 1).astype(np.float32)
    return shares


def _write(root: Path, old: Package, two: _Two, data: Samples, pairs: Pairs, version: str) -> None:
    """Write the package with the pairs, in the place of those that the variant had."""
    former = two.small.calibration
    root.mkdir()
    for entry in old.files():
        if former is None or entry.path != former.file.path:
            _write_file(root, entry.path, old.read(entry))
    path = f"{FOLDER}/{two.small.id}.frame"
    _write_file(root, path, pack_pairs(pairs))
    kept = {
        "file": {"path": path},
        "against": two.large.id,
        "dataset": data.name,
        "n": len(pairs.confidence),
    }
    manifest = old.manifest.model_dump(mode="json", by_alias=True, exclude_unset=True)
    variants = [
        {**each, "calibration": kept} if each["id"] == two.small.id else each
        for each in manifest["variants"]
    ]
    header = {"version": version, "schema": _schema(manifest["schema"])}
    build_package(root, {**manifest, **header, "variants": variants})


def _write_file(root: Path, path: str, data: bytes) -> None:
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)


def _schema(current: str) -> str:
    """The schema that knows calibrations, unless the package has a newer one."""
    minor = max(SCHEMA_MINOR, int(current.partition(".")[2]))
    return f"{SCHEMA_MAJOR}.{minor}"
