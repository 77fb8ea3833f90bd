"""`model.json`: the one file that says what a package holds and what it promises.

Fields that this version does not know are kept when they come from a newer minor version of the
schema, and written back unchanged; a newer major version is refused.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, Self, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from wherever_contracts.errors import ManifestError
from wherever_contracts.manifest_refusals import check_schema, refusal_of
from wherever_contracts.places import Boundary, Place
from wherever_contracts.releases import ReleaseRule, check_releases
from wherever_contracts.tensors import DTYPES, TensorSpec

SCHEMA_MAJOR = 1
SCHEMA_MINOR = 5
MANIFEST_NAME = "model.json"
MAX_MANIFEST_BYTES = 4 * 1024 * 1024

_NUMBER = "(0|[1-9][0-9]{0,17})"
_SEMVER = rf"^{_NUMBER}\.{_NUMBER}\.{_NUMBER}(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$"
_SHA256 = r"^[0-9a-f]{64}$"


def _known_dtype(value: str) -> str:
    if value not in DTYPES:
        raise ValueError(f"one of {', '.join(DTYPES)}")
    return value


def _plain_name(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,62}", value) or "--" in value:
        raise ValueError("a name of at most 63 of a-z, 0-9, '.', '_' and single '-'")
    return value


Dtype = Annotated[str, AfterValidator(_known_dtype)]
Name = Annotated[str, AfterValidator(_plain_name)]
Shape = tuple[Annotated[int, Field(ge=-1)], ...]
Format = Literal["onnx", "tflite", "openvino"]


class _Part(BaseModel):
    """A part of the manifest: immutable, and it keeps fields it does not know."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)


class TensorEntry(_Part):
    """A tensor: name, dtype, shape (-1: any length)."""

    name: str = Field(min_length=1)
    dtype: Dtype
    shape: Shape

    def spec(self) -> TensorSpec:
        """The same, as the runtime uses it."""
        return TensorSpec(self.name, self.dtype, self.shape)


class NumbersEntry(_Part):
    """An image input that may also be given as bare numbers on a stated scale."""

    dtype: Dtype
    shape: Shape
    min: float
    max: float


class InputEntry(_Part):
    """One input of the signature, as a person gives it.

    `image`: a path, encoded bytes, a PIL image, or an RGB array; `text`: a string; `bytes`: bytes,
    or the path of a file; `tensor`: an array of `dtype` and `shape` (no batch axis).

    `ends_bytes`, for `bytes`: of content that is longer than twice as many, only so many from the
    start and so many from the end are read, kept and sent. `max_bytes` counts what is left then.
    """

    name: str = Field(min_length=1)
    kind: Literal["image", "text", "tensor", "bytes"]
    dtype: Dtype | None = None
    shape: Shape | None = None
    numbers: NumbersEntry | None = None
    min: float | None = None
    max: float | None = None
    finite: bool = True
    max_bytes: int = Field(default=32 * 1024 * 1024, gt=0)
    ends_bytes: int | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kind == "tensor" and (self.dtype is None or self.shape is None):
            raise ValueError("an input of kind 'tensor' needs dtype and shape")
        if self.kind != "image" and self.numbers is not None:
            raise ValueError("only an input of kind 'image' can have numbers")
        if self.kind != "bytes" and self.ends_bytes is not None:
            raise ValueError("only an input of kind 'bytes' can have ends_bytes")
        if self.ends_bytes is not None and self.max_bytes < 2 * self.ends_bytes:
            raise ValueError("max_bytes must be at least twice ends_bytes")
        return self


class LabelValue(_Part):
    """The answer is one of `labels`; `scores` names the tensor with a score for each."""

    kind: Literal["label"]
    scores: str
    labels: tuple[str, ...] = Field(min_length=1)


class DetectionsValue(_Part):
    """The answer is a list of detections.

    `boxes` names a float32 [n, 4] tensor (left, top, right, bottom in pixels of the original),
    `scores` a float32 [n], `classes` an int64 [n] of positions in `labels`; best score first.
    """

    kind: Literal["detections"]
    boxes: str
    scores: str
    classes: str
    labels: tuple[str, ...] = Field(min_length=1)


class EmbeddingValue(_Part):
    """The answer is the tensor named by `vector`."""

    kind: Literal["embedding"]
    vector: str


class TensorsValue(_Part):
    """The answer is every output tensor, by name."""

    kind: Literal["tensors"]


Value = Annotated[
    LabelValue | DetectionsValue | EmbeddingValue | TensorsValue, Field(discriminator="kind")
]


class OptionEntry(_Part):
    """A number that the caller may give with a call, such as a display threshold."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    default: float
    min: float
    max: float
    help: str = ""


class Signature(_Part):
    """What people give and get; the same for every variant and on every place."""

    inputs: tuple[InputEntry, ...] = Field(min_length=1)
    outputs: tuple[TensorEntry, ...] = Field(min_length=1)
    value: Value
    options: tuple[OptionEntry, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _refuse_twins("input", [entry.name for entry in self.inputs])
        _refuse_twins("output", [entry.name for entry in self.outputs])
        names = {entry.name for entry in self.outputs}
        for role in ("scores", "boxes", "classes", "vector"):
            wanted = getattr(self.value, role, None)
            if wanted is not None and wanted not in names:
                raise ValueError(f"value.{role} names no output: {wanted!r}")
        return self


class FileEntry(_Part):
    """A file of the package; `path` is relative, with forward slashes."""

    path: str = Field(min_length=1, max_length=240)
    sha256: str = Field(pattern=_SHA256)
    bytes: int = Field(ge=0)


class GoldenSample(_Part):
    """An input, and the answers that it must get on every machine.

    `file` is a frame with the inputs as they travel and, for each variant, the signature's outputs
    and how far they may be off; `wherever_edge.packages.golden` reads and writes it.
    """

    file: FileEntry


class CertificateEntry(_Part):
    """What was measured of a variant in an engine (see `wherever_contracts.certificate`)."""

    variant: Name
    engine: str = Field(min_length=1)
    file: FileEntry


class CalibrationEntry(_Part):
    """What a variant's confidence is worth, measured: pairs of confidence and agreement.

    `file` is a frame that `wherever_edge.packages.pairs` reads; from schema 1.5 on it may hold the
    class that each answer names, too. `against` is the variant whose answers were taken for right;
    `n` counts the pairs.
    """

    file: FileEntry
    against: Name
    dataset: str
    n: int = Field(gt=0)


class StepEntry(_Part):
    """One step of a pipeline: the name of an operation, and its parameters beside it."""

    op: str

    @property
    def parameters(self) -> dict[str, Any]:
        """Everything but `op`."""
        return dict(self.__pydantic_extra__ or {})


class Pipeline(_Part):
    """The declared steps before and after the engine."""

    pre: tuple[StepEntry, ...] = ()
    post: tuple[StepEntry, ...] = ()


class VariantTensors(_Part):
    """The variant file's own inputs and outputs.

    `batch`: the first axis of every tensor counts rows that have nothing to do with each other, so
    that the rows of several calls may share one run.
    """

    inputs: tuple[TensorEntry, ...] = Field(min_length=1)
    outputs: tuple[TensorEntry, ...] = Field(min_length=1)
    batch: bool = False


class Needs(_Part):
    """What a machine must have to run the variant."""

    engines: tuple[str, ...] = ("onnxruntime",)
    memory_bytes: int = Field(default=0, ge=0)
    cpu_features: tuple[str, ...] = ()


class Quality(_Part):
    """A measured figure: `value` of `metric` on `n` items of `dataset`.

    `low` and `high` are the ends of its 95 % bootstrap interval, where that was measured too.
    """

    dataset: str
    metric: str
    value: float
    n: int = Field(gt=0)
    low: float | None = None
    high: float | None = None


class Variant(_Part):
    """One runnable form of the model.

    `places` are the distances it is meant for. `escalate_below`: an answer with less confidence
    than this is worth asking the reference about; without it (or without a pipeline step that
    gives a confidence) the variant's answer is never escalated.
    """

    id: Name
    format: Format
    precision: Literal["float32", "float16", "int8"]
    places: tuple[Place, ...] = Field(default=("device", "nearby", "cloud"), min_length=1)
    files: tuple[FileEntry, ...] = Field(min_length=1)
    tensors: VariantTensors
    pipeline: Pipeline = Pipeline()
    needs: Needs = Needs()
    quality: tuple[Quality, ...] = ()
    escalate_below: float | None = Field(default=None, ge=0, le=1)
    calibration: CalibrationEntry | None = None


class Manifest(_Part):
    """The whole of `model.json`.

    `boundary` is how far inputs may travel as they are, and `release` says what may be made of them
    that travels further (see `wherever_contracts.releases`).
    """

    schema_version: str = Field(alias="schema", pattern=r"^[0-9]+\.[0-9]+$")
    name: Name
    version: str = Field(pattern=_SEMVER, max_length=64)
    summary: str = ""
    licence: str = ""
    boundary: Boundary
    release: tuple[ReleaseRule, ...] = ()
    reference: str
    signature: Signature
    variants: tuple[Variant, ...] = Field(min_length=1)
    files: tuple[FileEntry, ...] = ()
    golden: tuple[GoldenSample, ...] = ()
    certificates: tuple[CertificateEntry, ...] = ()
    provenance: dict[str, Any] = {}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        ids = [variant.id for variant in self.variants]
        _refuse_twins("variant", ids)
        if self.reference not in ids:
            raise ValueError(f"reference names no variant: {self.reference!r}")
        named = [entry.variant for entry in self.certificates]
        named += [v.calibration.against for v in self.variants if v.calibration is not None]
        unknown = sorted(set(named).difference(ids))
        if unknown:
            raise ValueError(f"no such variant: {', '.join(unknown)}")
        _refuse_clashes(self)
        inputs = self.signature.inputs
        images = {each.name for each in inputs if each.kind == "image" and each.numbers is None}
        check_releases(self.release, self.boundary, [each.name for each in inputs], images)
        return self

    def all_files(self) -> Iterator[FileEntry]:
        """Every file listed, each path once."""
        seen: set[str] = set()
        for entry in _entries(self):
            if entry.path not in seen:
                seen.add(entry.path)
                yield entry

    def variant(self, variant_id: str) -> Variant:
        """The variant of that id; KeyError when there is none."""
        for variant in self.variants:
            if variant.id == variant_id:
                return variant
        raise KeyError(variant_id)

    def to_bytes(self) -> bytes:
        """The canonical bytes: two-space indent, fields in schema order, a final newline."""
        data = self.model_dump(mode="json", by_alias=True, exclude_defaults=False)
        _leave_out_unset_ends(data["signature"])
        if not self.release:
            del data["release"]
        return (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode()


def parse_manifest(data: bytes, source: str = MANIFEST_NAME) -> Manifest:
    """Read `model.json`.

    Args:
        data: the file's bytes.
        source: what to call the file in errors.

    Raises:
        ManifestError: not JSON, a newer major schema, or a field is missing or wrong; the error
            names the field, what it should be, and what was found.
    """
    raw = _read_json(data, source)
    check_schema(raw.get("schema"), source, SCHEMA_MAJOR)
    try:
        manifest = Manifest.model_validate(raw)
        manifest.to_bytes()  # half a surrogate pair, or too deep a nest, cannot be written back
    except ValidationError as error:
        known = (SCHEMA_MAJOR, SCHEMA_MINOR)
        raise refusal_of(error, source, raw["schema"], known) from error
    except ValueError as error:
        raise ManifestError(source, "", "what can be written back as JSON", f"{error}") from error
    return manifest


def signature_digest(signature: Signature) -> str:
    """The sha256 (hex) of the signature's canonical JSON: equal for equal contracts."""
    data = signature.model_dump(mode="json", by_alias=True)
    _leave_out_unset_ends(data)
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


# What came to the schema later is left out where it is not used: bytes and digests of what was made
# before stay as they were. It is not left out by a serializer of pydantic's, which would make an
# error of a Ctrl-C.
def _leave_out_unset_ends(signature: dict[str, Any]) -> None:
    for each in signature["inputs"]:
        if each["ends_bytes"] is None:
            del each["ends_bytes"]


def _read_json(data: bytes, source: str) -> dict[str, Any]:
    if len(data) > MAX_MANIFEST_BYTES:
        raise ManifestError(source, "", f"at most {MAX_MANIFEST_BYTES} bytes", f"{len(data)} bytes")
    try:
        raw = json.loads(data.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ManifestError(source, "", "JSON in UTF-8", f"{error}") from error
    if not isinstance(raw, dict):
        raise ManifestError(source, "", "a JSON object", type(raw).__name__)
    return cast("dict[str, Any]", raw)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _refuse_twins(what: str, names: list[str]) -> None:
    twins = sorted({name for name in names if names.count(name) > 1})
    if twins:
        raise ValueError(f"{what} named twice: {', '.join(twins)}")


def _entries(manifest: Manifest) -> Iterator[FileEntry]:
    """Every entry of a file; a path may come more than once."""
    yield from manifest.files
    yield from (sample.file for sample in manifest.golden)
    yield from (certificate.file for certificate in manifest.certificates)
    for variant in manifest.variants:
        yield from variant.files
        if variant.calibration is not None:
            yield variant.calibration.file


def _refuse_clashes(manifest: Manifest) -> None:
    """Refuse one path listed with two digests, and two paths that differ in case alone."""
    digests: dict[str, str] = {}
    spellings: dict[str, str] = {}
    for entry in _entries(manifest):
        if digests.setdefault(entry.path, entry.sha256) != entry.sha256:
            raise ValueError(f"{entry.path!r} is listed with two digests")
        if spellings.setdefault(entry.path.casefold(), entry.path) != entry.path:
            raise ValueError(f"{entry.path!r} is listed in two spellings")
