"""A package in the making: variants are added to it, and tried in an engine."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wherever_contracts.errors import ManifestError
from wherever_contracts.manifest import parse_manifest
from wherever_contracts.places import PLACES, Boundary, Place
from wherever_convert.adapting import adapted
from wherever_convert.builder import build_package, build_with_golden
from wherever_convert.design import Design
from wherever_convert.model_file import SUFFIXES, ModelFile
from wherever_convert.running import open_model
from wherever_edge.bare.manifest import ENGINES_OF
from wherever_edge.host import LoadedVariant, LocalHost
from wherever_edge.packages import versions
from wherever_edge.packages.store import Store

if TYPE_CHECKING:
    from wherever_contracts.tensors import TensorSpec
    from wherever_edge.packages.package import Package


@dataclass
class DraftVariant:
    """A variant of a package in the making.

    Attributes:
        id: its name.
        file: the model.
        inputs: its tensors.
        outputs: likewise.
        pipeline: the steps around it.
        batch: its rows are independent.
        places: where it is meant to run.
        engines: what may run it, the best first.
        quality: entries of `model.json`.
        memory_bytes: what it needs.
        names: of its files in the package; made of the id by default.
        more: other fields of its entry in `model.json`.
    """

    id: str
    file: ModelFile
    inputs: Sequence[TensorSpec]
    outputs: Sequence[TensorSpec]
    pipeline: dict[str, Any]
    batch: bool = False
    places: tuple[Place, ...] = PLACES
    engines: tuple[str, ...] = ()
    quality: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    memory_bytes: int = 0
    names: tuple[str, ...] = ()
    more: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def paths(self) -> list[str]:
        """The names of its files in the package."""
        usual = [f"{self.id}{suffix}" for suffix in SUFFIXES[self.file.format]]
        return list(self.names) or usual

    def entry(self) -> dict[str, Any]:
        """Its entry in `model.json`, without digests."""
        engines = list(self.engines) or ENGINES_OF[self.file.format]
        return {
            **self.more,
            "id": self.id,
            "format": self.file.format,
            "precision": self.file.precision,
            "places": list(self.places),
            "files": [{"path": path} for path in self.paths()],
            "tensors": {
                "inputs": _entries(self.inputs),
                "outputs": _entries(self.outputs),
                "batch": self.batch,
            },
            "pipeline": self.pipeline,
            "needs": {"engines": engines, "memory_bytes": self.memory_bytes},
            "quality": self.quality,
        }


@dataclass
class Draft:
    """A package in the making.

    Attributes:
        root: its directory.
        header: the fields of `model.json` that are not about variants.
        design: signature, and the pipeline of the reference.
        assets: the names of the files that variants share.
        variants: those added so far, in the order that devices prefer them.
        reference: the id of the variant that the others are compared with: the first one added.
        escalates_to: the id of the variant that escalation asks for; the reference by default.
    """

    root: Path
    header: dict[str, Any]
    design: Design
    assets: tuple[str, ...] = ()
    variants: list[DraftVariant] = field(default_factory=list[DraftVariant])
    reference: str = ""
    escalates_to: str = ""

    def add(self, variant_id: str, file: ModelFile) -> DraftVariant:
        """Add a variant, which devices prefer to those that are there already.

        Its pipeline is the design's, with the names and sizes of its own tensors.

        Raises:
            ConversionError: no engine can open it, or its tensors cannot be matched with those of
                the reference.
        """
        file.write(self.root, variant_id)
        inputs, outputs = self._tensors(file)
        made = DraftVariant(variant_id, file, inputs, outputs, self.design.pipeline)
        if self.reference:
            first = self.variant(self.reference)
            made.pipeline = adapted(first.pipeline, first.inputs, first.outputs, inputs, outputs)
            made.batch = first.batch and all(spec.shape[:1] == (-1,) for spec in inputs)
        self.reference = self.reference or variant_id
        self.variants.insert(0, made)
        return made

    def variant(self, variant_id: str) -> DraftVariant:
        """The variant of that id; KeyError when there is none."""
        for each in self.variants:
            if each.id == variant_id:
                return each
        raise KeyError(variant_id)

    def drop(self, variant_id: str) -> None:
        """Take a variant out again."""
        gone = self.variant(variant_id)
        self.variants.remove(gone)
        for path in gone.paths():
            (self.root / path).unlink()

    @contextmanager
    def opened(self, variant_id: str, engine: str = "") -> Generator[LoadedVariant]:
        """Build what there is, and load a variant of it as a device would.

        Raises:
            EngineError: the engine, or every one, refuses it.
        """
        package = build_package(self.root, self.manifest())
        host = LocalHost(Store(builtin=False), distance="device")
        try:
            yield host.load(package, package.manifest.variant(variant_id), engine)
        finally:
            host.close()

    def finish(
        self,
        samples: Sequence[Any],
        provenance: dict[str, Any],
        certificates: Sequence[dict[str, Any]] = (),
    ) -> Package:
        """Build the package with golden samples, and the certificates that lie in `root`."""
        said = {"provenance": provenance, "certificates": list(certificates)}
        return build_with_golden(self.root, {**self.manifest(), **said}, samples)

    def manifest(self) -> dict[str, Any]:
        """The fields of `model.json`, without digests."""
        return {
            **self.header,
            "reference": self.escalates_to or self.reference,
            "signature": self.design.signature,
            "variants": [variant.entry() for variant in self.variants],
            "files": [{"path": path} for path in self.assets],
        }

    def _tensors(self, file: ModelFile) -> tuple[Sequence[TensorSpec], Sequence[TensorSpec]]:
        session = open_model(file, "the model")
        try:
            return session.inputs, session.outputs
        finally:
            session.close()


def header(
    name: str, version: str, boundary: Boundary, summary: str, licence: str
) -> dict[str, Any]:
    """The fields of `model.json` that are not about variants."""
    return {
        "name": name,
        "version": version,
        "summary": summary,
        "licence": licence,
        "boundary": boundary,
    }


def check_header(header: Mapping[str, Any], variant_ids: Sequence[str]) -> None:
    """Refuse names and versions before any work is done for them.

    Raises:
        ManifestError: one is wrong.
    """
    try:
        versions.precedence(header["version"])
    except ValueError as error:
        expected = "three numbers with dots, such as 1.0.0"
        raise ManifestError("model.json", "version", expected, repr(header["version"])) from error
    anything = {"name": "x", "dtype": "float32", "shape": [1]}
    signature = {
        "inputs": [{**anything, "kind": "tensor"}],
        "outputs": [anything],
        "value": {"kind": "tensors"},
    }
    file = {"sha256": "0" * 64, "bytes": 0}
    tensors = {"inputs": [anything], "outputs": [anything]}
    variants = [
        {
            "id": each,
            "format": "onnx",
            "precision": "float32",
            "files": [{**file, "path": f"{each}.onnx"}],
            "tensors": tensors,
        }
        for each in variant_ids
    ]
    data = {
        **header,
        "schema": "1.0",
        "reference": variant_ids[0],
        "signature": signature,
        "variants": variants,
    }
    parse_manifest(json.dumps(data).encode())


def _entries(specs: Sequence[Any]) -> list[dict[str, Any]]:
    return [{"name": s.name, "dtype": s.dtype, "shape": list(s.shape)} for s in specs]
