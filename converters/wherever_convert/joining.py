"""Adding a variant to a package: usually a large one for the gateway to a small one for devices."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wherever_contracts.errors import ConversionError
from wherever_contracts.places import Place
from wherever_convert.adapting import adapted_variant
from wherever_convert.builder import build_package
from wherever_convert.design import read_steps
from wherever_convert.staging import check_output, next_version, settle_over, staging
from wherever_edge.bare.manifest import model_name
from wherever_edge.bare.opening import open_file
from wherever_edge.host import LoadedVariant, LocalHost
from wherever_edge.inputs import InputChecker, check_options
from wherever_edge.packages.golden import extend_golden
from wherever_edge.packages.store import Store, open_package

if TYPE_CHECKING:
    from wherever_contracts.manifest import InputEntry
    from wherever_contracts.receipts import Answer
    from wherever_edge.packages.package import Package


@dataclass(frozen=True, slots=True)
class Joined:
    """What came of adding a variant.

    Attributes:
        package: the package, as it is now; of an archive, as it was before it was packed.
        path: the directory or archive that was written.
        variant: the new variant's id.
        checked: what it answered without a fault, in words.
    """

    package: Package
    path: Path
    variant: str
    checked: str


def add_variant(
    package: str | os.PathLike[str],
    file: str | os.PathLike[str],
    *,
    places: Sequence[Place] = ("cloud",),
    variant_id: str | None = None,
    precision: str | None = None,
    version: str | None = None,
    reference: bool = True,
    like: str | None = None,
    pipeline: str | os.PathLike[str] | None = None,
    escalate_below: float | None = None,
    sample: object = None,
    output: str | os.PathLike[str] | None = None,
) -> Joined:
    """Add a model file to a package as a new variant; the package gets a new version.

    The new variant must fulfil the package's signature: its tensors are read by an engine, and it
    answers the package's golden samples, the sample given, or else an empty input before anything
    is written. What it answers becomes part of the golden samples.

    Args:
        package: a package directory or an archive.
        file: an .onnx or .tflite file, or the .xml of OpenVINO's IR.
        places: the distances that the variant is meant for.
        variant_id: by default made of the file's name.
        precision: "float32", "float16" or "int8"; by default what the file looks like.
        version: the package's new version; by default the next minor one.
        reference: make it the variant that escalation asks for.
        like: the variant whose pipeline is taken, adapted to the file; by default the reference.
        pipeline: a JSON file with the steps `pre` and `post`, instead.
        escalate_below: the confidence below which the device's variants are escalated.
        sample: an input to try, as `predict` takes it.
        output: a new directory or archive; by default `package` is replaced.

    Raises:
        ConversionError: the variant does not fit the package, or a version or id is taken.
        PackageError: the package is refused, or the pipeline does not fit the file.
        EngineError: an engine cannot run the file.
    """
    given = Path(package)
    place = given.resolve() if output is None else Path(output)
    if output is not None:
        check_output(place)
    with staging(place) as scratch:
        old = open_package(given, unpack_into=scratch / "unpacked")
        old.verify()
        root = scratch / "package"
        bare = open_file(file, task="tensors", name="bare")
        addition = _Addition(old, bare, variant_id or model_name(Path(file).stem), root)
        addition.write(
            own={"places": list(places), **({"precision": precision} if precision else {})},
            pipeline=None if pipeline is None else read_steps(pipeline),
            like=like,
            header={
                "version": next_version(old.version, version),
                **({"reference": addition.variant_id} if reference else {}),
            },
            escalate_below=escalate_below,
        )
        checked = addition.check(sample)
        made = settle_over(root, given, place, replaces=output is None)
        return Joined(made, place, addition.variant_id, checked)


class _Addition:
    """A package with one more variant, under way in a directory of its own."""

    def __init__(self, old: Package, bare: Package, variant_id: str, root: Path) -> None:
        taken = [variant.id for variant in old.manifest.variants]
        if variant_id in taken:
            raise ConversionError(
                f"package {old.name!r} has a variant {variant_id!r} already; name another (--id)"
            )
        self.variant_id = variant_id
        self._old = old
        self._bare = bare
        self._root = root
        self._data: dict[str, Any] = {}

    def write(
        self,
        *,
        own: dict[str, Any],
        pipeline: dict[str, Any] | None,
        like: str | None,
        header: dict[str, Any],
        escalate_below: float | None,
    ) -> None:
        """Write every file and `model.json`."""
        self._root.mkdir()
        for entry in self._old.files():
            self._write(entry.path, self._old.read(entry))
        data = self._old.manifest.model_dump(mode="json", by_alias=True, exclude_unset=True)
        variant = self._variant(own, pipeline or self._pipeline(like))
        self._data = {**data, **header, "variants": [*data["variants"], variant]}
        if escalate_below is not None:
            self._escalate(escalate_below)
        build_package(self._root, self._data)

    def check(self, sample: object) -> str:
        """Answer samples with the new variant, and keep its answers beside the others' ones."""
        package = open_package(self._root)
        host = LocalHost(Store(builtin=False), distance="cloud", proves=False)
        try:
            loaded = host.load(package, package.manifest.variant(self.variant_id))
            for entry in package.manifest.golden:
                frame = self._root / entry.file.path
                frame.write_bytes(extend_golden(frame.read_bytes(), loaded))
            value = sample if sample is not None else _empty_input(loaded)
            answer = _answered(loaded, value)
            self._check_escalation(host, package, value)
        finally:
            host.close()
        count = len(package.manifest.golden)
        self._data["golden"] = [{"file": {"path": e.file.path}} for e in package.manifest.golden]
        build_package(self._root, self._data)
        tried = "the sample" if sample is not None else "an empty input"
        golden = f"{count} golden samples and " if count else ""
        return f"{golden}{tried}: {', '.join(answer.outputs)}"

    def _pipeline(self, like: str | None) -> dict[str, Any]:
        manifest = self._old.manifest
        try:
            variant = manifest.variant(like or manifest.reference)
        except KeyError:
            known = ", ".join(variant.id for variant in manifest.variants)
            raise ConversionError(
                f"package {manifest.name!r} has no variant {like!r} (it has: {known})"
            ) from None
        tensors = self._bare.manifest.variants[0].tensors
        inputs = [entry.spec() for entry in tensors.inputs]
        outputs = [entry.spec() for entry in tensors.outputs]
        return adapted_variant(variant, inputs, outputs)

    def _variant(self, own: dict[str, Any], pipeline: dict[str, Any]) -> dict[str, Any]:
        (bare,) = self._bare.manifest.variants
        data = bare.model_dump(mode="json", exclude_unset=True)
        files: list[dict[str, str]] = []
        for entry in bare.files:
            path = f"{self.variant_id}{Path(entry.path).suffix}"
            self._write(path, self._bare.read(entry))
            files.append({"path": path})
        return {**data, **own, "id": self.variant_id, "files": files, "pipeline": pipeline}

    def _escalate(self, below: float) -> None:
        for variant in self._data["variants"]:
            places = variant.get("places", ["device"])
            if variant["id"] != self._data["reference"] and "device" in places:
                variant["escalate_below"] = below

    def _check_escalation(self, host: LocalHost, package: Package, value: object) -> None:
        """Refuse a threshold where there is nothing to compare with it."""
        for variant, unfit in host.choices(package):
            if variant.escalate_below is not None and not unfit:
                answer = _answered(host.load(package, variant), value)
                if answer.confidence is None:
                    raise ConversionError(
                        f"variant {variant.id!r} gives no confidence, so that nothing can be "
                        f"below {variant.escalate_below}; leave --escalate-below out"
                    )

    def _write(self, path: str, data: bytes) -> None:
        target = self._root / path
        if target.exists():
            raise ConversionError(f"the package has a file {path} already; name another --id")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def _answered(loaded: LoadedVariant, value: object) -> Answer:
    inputs = InputChecker(loaded.signature).check(value)
    return loaded.answer(inputs, check_options(loaded.signature, {}))


def _empty_input(loaded: LoadedVariant) -> dict[str, Any]:
    """A grey picture, a word, or the number nearest to zero everywhere."""
    return {entry.name: _empty(entry) for entry in loaded.signature.inputs}


def _empty(entry: InputEntry) -> Any:
    if entry.kind == "image":
        return np.full((64, 64, 3), 128, np.uint8)
    if entry.kind == "text":
        return "text"
    if entry.kind == "bytes":
        return b"bytes"
    shape = [max(length, 1) for length in entry.shape or ()]
    number = min(max(0.0, -np.inf if entry.min is None else entry.min), entry.max or np.inf)
    return np.full(shape, number, entry.dtype)
