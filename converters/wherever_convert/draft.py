"""A package in the making: variants are added to it, and tried in an engine."""

from __future__ import annotations

import json
import shutil
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wherever_contracts.manifest import parse_manifest
from wherever_contracts.places import Boundary
from wherever_convert.builder import build_package, build_with_golden
from wherever_convert.design import Design
from wherever_edge.host import LoadedVariant, LocalHost
from wherever_edge.packages.store import Store

if TYPE_CHECKING:
    from wherever_convert.report import Row
    from wherever_edge.engines.engine import Session
    from wherever_edge.packages.package import Package

_ENGINES = ["onnxruntime", "openvino"]


@dataclass
class Draft:
    """A package in the making.

    Attributes:
        root: its directory.
        header: the fields of `model.json` that are not about variants.
        design: signature and pipeline.
        session: the float file, which says what all variants take and give.
        batch: rows are independent.
        variants: those added so far, in the order that devices prefer them.
    """

    root: Path
    header: dict[str, Any]
    design: Design
    session: Session
    batch: bool = False
    variants: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def add(self, variant_id: str, precision: str, file: Path) -> None:
        """Add a variant, which devices prefer to those that are there already."""
        name = f"{variant_id}.onnx"
        shutil.copyfile(file, self.root / name)
        variant = {
            "id": variant_id,
            "format": "onnx",
            "precision": precision,
            "files": [{"path": name}],
            "pipeline": self.design.pipeline,
            "needs": {"engines": _ENGINES},
        }
        self.variants.insert(0, variant)

    def drop(self, variant_id: str) -> None:
        """Take a variant out again."""
        self.variants = [each for each in self.variants if each["id"] != variant_id]
        (self.root / f"{variant_id}.onnx").unlink()

    def take_quality(self, dataset: str, rows: Sequence[Row]) -> None:
        """Write what was measured beside the variants that were."""
        by_id = {row.variant: row for row in rows}
        for variant in self.variants:
            row = by_id[variant["id"]]
            figure = {"metric": row.metric, "value": round(row.value, 6), "n": row.n}
            variant["quality"] = [{"dataset": dataset, **figure}]

    @contextmanager
    def opened(self, variant_id: str) -> Generator[LoadedVariant]:
        """Build what there is, and load a variant of it as a device would."""
        package = build_package(self.root, self._manifest())
        host = LocalHost(Store(builtin=False), distance="device")
        try:
            yield host.load(package, package.manifest.variant(variant_id))
        finally:
            host.close()

    def finish(self, samples: Sequence[Any], provenance: dict[str, Any]) -> Package:
        """Build the package with golden samples."""
        return build_with_golden(self.root, {**self._manifest(), "provenance": provenance}, samples)

    def bytes_of(self, variant_id: str) -> int:
        """The size of a variant's file."""
        return (self.root / f"{variant_id}.onnx").stat().st_size

    def _manifest(self) -> dict[str, Any]:
        tensors = {
            "inputs": _entries(self.session.inputs),
            "outputs": _entries(self.session.outputs),
            "batch": self.batch,
        }
        return {
            **self.header,
            # what escalation asks for: the float one, which is there first
            "reference": self.variants[-1]["id"],
            "signature": self.design.signature,
            "variants": [{**variant, "tensors": tensors} for variant in self.variants],
        }


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


def check_header(header: dict[str, Any], variant_ids: Sequence[str]) -> None:
    """Refuse names and versions before any work is done for them.

    Raises:
        ManifestError: one is wrong.
    """
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
