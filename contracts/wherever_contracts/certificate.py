"""A parity certificate: the evidence that a variant, in an engine, is as good as it is said to be.

It lies in the package as a file of its own, which `model.json` lists, and cites the digest of what
it is about: another pipeline, other labels or other weights have another digest, and none of these.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from wherever_contracts.errors import ManifestError

SCHEMA = "1.0"
MAX_CERTIFICATE_BYTES = 1024 * 1024

Computed: TypeAlias = Literal["float32", "float16", "bfloat16", "int8"]

_Share = Annotated[float, Field(ge=0, le=1)]
_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Part(BaseModel):
    """A part of a certificate: immutable, and it keeps fields it does not know."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)


class Dataset(_Part):
    """What was measured on: a name, the digest of its contents, and how many items."""

    name: str
    sha256: _Digest
    n: int = Field(gt=0)


class Interval(_Part):
    """A figure with the ends of its bootstrap interval (percentiles; Efron 1979)."""

    value: float
    low: float
    high: float
    confidence: float = Field(default=0.95, gt=0, lt=1)


class Metric(Interval):
    """A figure of quality; more is better. `drop` is how much less it is than the reference's."""

    name: str
    reference: float
    drop: float


class Quantiles(_Part):
    """How far outputs are from the float reference's, as a share of those outputs' range.

    Attributes:
        of: what is compared: "tensors" of the variant's own file where it has the reference's, else
            the signature's "outputs".
        n: samples.
    """

    of: Literal["tensors", "outputs"] = "tensors"
    n: int = Field(default=1, gt=0)
    median: float = Field(ge=0)
    p90: float = Field(ge=0)
    p99: float = Field(ge=0)
    max: float = Field(ge=0)


class Latency(_Part):
    """Seconds of one run of the engine, and how much of the float variant's that is."""

    median_s: float = Field(gt=0)
    p95_s: float = Field(gt=0)
    runs: int = Field(gt=0)
    threads: int = Field(gt=0)
    of_float: float | None = Field(default=None, gt=0)


class Certificate(_Part):
    """What was measured of one variant in one engine.

    Attributes:
        about: the digest of all that decides and names its answers (`Package.answers_digest`).
        reference: the id of the float variant that answers are compared with.
        agreement: how far answers are the reference's, 0 to 1; for labels the share of the same
            best class.
        error: of the output tensors; None where the two have no tensors in common.
        memory_peak_bytes: what opening and running it added to a process.
        file_bytes: of the variant's files.
        machine: where this was measured.
        tools: distribution -> version.
        golden: how many golden samples it answered.
    """

    schema_version: str = Field(default=SCHEMA, alias="schema")
    model: str
    variant: str
    engine: str
    device: str = "cpu"
    precision: Computed
    about: _Digest
    reference: str
    dataset: Dataset
    metric: Metric
    agreement: Interval
    error: Quantiles | None = None
    latency: Latency
    memory_peak_bytes: int = Field(ge=0)
    file_bytes: int = Field(gt=0)
    machine: dict[str, Any]
    tools: dict[str, str]
    golden: int = Field(ge=0)

    def to_bytes(self) -> bytes:
        """Canonical bytes: two-space indent, a final newline."""
        data = self.model_dump(mode="json", by_alias=True)
        return (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode()


def parse_certificate(data: bytes, source: str) -> Certificate:
    """Read a certificate.

    Args:
        data: the file's bytes.
        source: what to call the file in errors.

    Raises:
        ManifestError: it is none, or a newer major version of one; the error names the field.
    """
    if len(data) > MAX_CERTIFICATE_BYTES:
        found = f"{len(data)} bytes"
        raise ManifestError(source, "", f"at most {MAX_CERTIFICATE_BYTES} bytes", found)
    try:
        certificate = Certificate.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ManifestError(source, field, "a certificate", first["msg"]) from error
    if certificate.schema_version.partition(".")[0] != SCHEMA.partition(".")[0]:
        expected = f"schema {SCHEMA.partition('.')[0]}.x (a newer wherever reads newer ones)"
        raise ManifestError(source, "schema", expected, certificate.schema_version)
    return certificate
