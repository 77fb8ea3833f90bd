"""Opening a model file: its bytes are read once, an engine says what is in it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wherever_contracts.errors import EngineError, InputError, PackageError
from wherever_contracts.manifest import MANIFEST_NAME, Format, Variant, parse_manifest
from wherever_devices.plans import RunPlan
from wherever_edge import plugins
from wherever_edge.bare.manifest import (
    BareFile,
    Pixels,
    Task,
    bare_manifest,
    check_task,
    model_name,
)
from wherever_edge.engines.engine import Resources
from wherever_edge.engines.installed import GROUP
from wherever_edge.forking import loading
from wherever_edge.opening import Isolation, engines_for
from wherever_edge.packages import checks
from wherever_edge.packages.package import Package

if TYPE_CHECKING:
    import os

    from wherever_contracts.places import Boundary
    from wherever_edge.engines.engine import Session
    from wherever_edge.engines.installed import InstalledEngines
    from wherever_edge.isolation.engines import IsolatedEngines

FORMATS: dict[str, Format] = {".onnx": "onnx", ".tflite": "tflite", ".xml": "openvino"}

LABEL_SETS = ("coco80",)

_QUANTIZED = (b"QuantizeLinear", b"QLinearConv", b"QLinearMatMul", b"MatMulInteger")
_MAX_BYTES = 2**31  # what one message of an ONNX file may have
_MAX_LABEL_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class MemoryPackage(Package):
    """A package whose files are in memory; nothing of it is on the disk."""

    contents: Mapping[str, bytes] = field(repr=False, default_factory=dict[str, bytes])

    def still_has(self, variant: Variant) -> bool:
        """Its files stay in memory, whatever becomes of those that they were read from."""
        return True

    def _bytes(self, path: str, at_most: int) -> bytes:
        return self.contents[path]

    def verify(self) -> None:
        """Check every digest; there is no directory to compare with."""
        for entry in self.files():
            self.read(entry)


def is_model_file(text: str) -> bool:
    """Whether `text` is written like the name of a model file, and not of a model."""
    return Path(text).suffix.lower() in FORMATS


def open_file(
    path: str | os.PathLike[str],
    *,
    task: Task,
    labels: Sequence[str] | str | os.PathLike[str] | None = None,
    name: str | None = None,
    pixels: Pixels | None = None,
    boundary: Boundary = "device",
    isolation: Isolation = "none",
) -> Package:
    """Make a package, in memory, of a model file.

    Args:
        path: a `.onnx` or `.tflite` file, or the `.xml` of OpenVINO's IR with its `.bin` beside it.
        task: "classify", "detect", "embed", or "tensors" for the file's own inputs and outputs.
        labels: names of the classes, a file with one in each line, or "coco80".
        name: what to call the model; the file's name by default.
        pixels: how images are prepared, where the usual way is not the right one.
        boundary: how far the data may travel.
        isolation: "process" looks into the file in a process of its own.

    Raises:
        InputError: the file, the labels or the task do not fit; the message says what would.
        EngineError: no engine here can read the file.
        OSError: a file cannot be read.
    """
    check_task(task)
    path = Path(path)
    file_format = FORMATS.get(path.suffix.lower())
    if file_format is None:
        expected = f"a file that ends in {', '.join(FORMATS)}"
        raise InputError("path", expected, str(path), kind="argument")
    contents = _contents(path)
    with loading():
        file = _inspected(path, file_format, contents, name, engines_for(isolation))
    chosen = _labels(labels)
    data = bare_manifest(file, task, chosen, pixels or Pixels(), boundary)
    package = _package(path, data, contents)
    _check_pixels(package)
    return package


def _check_pixels(package: Package) -> None:
    """Refuse what the step that prepares images would refuse at the first call."""
    from wherever_edge.pipelines.pipeline import StepContext, compile_steps  # noqa: PLC0415 (here alone)

    manifest = package.manifest
    (variant,) = manifest.variants
    context = StepContext(manifest.signature, variant, package.read_path)
    try:
        compile_steps(variant.pipeline.pre, context, "pixels")
    except PackageError as error:
        raise InputError("pixels", error.expected, error.found, kind="argument") from error


def _package(path: Path, data: dict[str, Any], contents: Mapping[str, bytes]) -> MemoryPackage:
    import json  # noqa: PLC0415 (here alone)

    manifest = parse_manifest(json.dumps(data).encode(), f"{path}: {MANIFEST_NAME}")
    checks.check_manifest(manifest)
    digest = hashlib.sha256(manifest.to_bytes()).hexdigest()
    return MemoryPackage(path, manifest, digest, "local", manifest.variants, contents)


def _contents(path: Path) -> dict[str, bytes]:
    """Every file of the model, by the name that it has in the package, the model first."""
    suffixes = [path.suffix.lower()]
    if suffixes == [".xml"]:
        suffixes.append(".bin")
    contents: dict[str, bytes] = {}
    for suffix in suffixes:
        each = path if suffix == path.suffix.lower() else path.with_suffix(suffix)
        size = each.stat().st_size
        if not 0 < size <= _MAX_BYTES:
            expected = f"a model file of 1 to {_MAX_BYTES} bytes"
            raise InputError("path", expected, f"{each} of {size} bytes", kind="argument")
        contents[f"model{suffix}"] = each.read_bytes()
    return contents


def _inspected(
    path: Path,
    file_format: Format,
    contents: Mapping[str, bytes],
    name: str | None,
    engines: InstalledEngines | IsolatedEngines,
) -> BareFile:
    session = _session(path, file_format, [*contents.values()], engines)
    file = BareFile(
        name=name or model_name(path.stem),
        source=path.name,
        file_format=file_format,
        precision="int8" if session.ranges or _is_quantized(contents) else "float32",
        files=tuple(_entry(each, data) for each, data in contents.items()),
        inputs=session.inputs,
        outputs=session.outputs,
        ranges=session.ranges,
    )
    session.close()
    return file


def _is_quantized(contents: Mapping[str, bytes]) -> bool:
    """Whether an ONNX file has operations on integers; their names stand in it as they are."""
    return any(word in contents.get("model.onnx", b"") for word in _QUANTIZED)


def _entry(name: str, data: bytes) -> dict[str, Any]:
    return {"path": name, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def _session(
    path: Path,
    file_format: Format,
    files: Sequence[bytes],
    engines: InstalledEngines | IsolatedEngines,
) -> Session:
    """The file, in the first engine that reads it."""
    reasons: list[str] = []
    for name, state in engines.states(plugins.entry_points(GROUP)).items():
        if file_format not in state.formats:
            continue
        if state.missing:
            reasons.append(f"{name}: {state.missing}")
            continue
        try:
            plan = RunPlan(name, "cpu", "float32", 1)
            return engines.open(plan, file_format, files, Resources())
        except EngineError as error:
            reasons.append(f"{name}: {error}")
    raise EngineError(f"{path} cannot be read here ({'; '.join(reasons)})")


def _labels(given: Sequence[str] | str | os.PathLike[str] | None) -> Sequence[str] | None:
    if given is None or (not isinstance(given, str) and isinstance(given, Sequence)):
        return given
    if given in LABEL_SETS:
        given = Path(__file__).with_name(f"{given}.txt")
    path = Path(given)
    if not path.is_file():
        expected = f"a file with a name in each line, a list, or {' or '.join(LABEL_SETS)}"
        raise InputError("labels", expected, str(path), kind="argument")
    with path.open("rb") as file:
        text = file.read(_MAX_LABEL_BYTES + 1)
    if len(text) > _MAX_LABEL_BYTES:
        raise InputError("labels", f"at most {_MAX_LABEL_BYTES} bytes", "more", kind="argument")
    return [line.strip() for line in text.decode(errors="replace").splitlines() if line.strip()]
