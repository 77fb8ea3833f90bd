"""Golden samples as frames: what is in their bytes. Pure.

A frame's arrays are `inputs/NAME`, the input as it travels; `outputs/VARIANT/NAME`, the
signature's outputs; and `fed/VARIANT/NAME` and `given/VARIANT/NAME`, numbers of the tensors on
both sides of the engine. Beside them stand the call's options, the digests of the signature and of
the shared files (a vocabulary of which the sample uses three words, say), and for each variant a
tolerance and what its tensors may be off. Frames of before there were stages and digests are read,
too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from wherever_contracts.errors import GoldenError
from wherever_contracts.frames import FrameError, pack_frame, unpack_frame
from wherever_contracts.manifest import signature_digest
from wherever_edge.packages.agreement import Tolerance
from wherever_edge.packages.stages import SIDES, Side, Stage, facts_of, stage_from

if TYPE_CHECKING:
    from wherever_contracts.manifest import Manifest, Signature
    from wherever_contracts.tensors import Array, Tensors

_MAX_HEADER_BYTES = 1024 * 1024


class Sample(NamedTuple):
    """A golden sample: the arrays by name, and what is said of them.

    `signature` is the digest of what it was made for, or "" where that was not written down, and
    `files` the digests of the shared files by path. `tolerances` and `stages` are by variant.
    """

    path: str
    arrays: dict[str, Array]
    options: Mapping[str, Any]
    tolerances: Mapping[str, Any]
    stages: Mapping[str, Any]
    signature: str = ""
    files: Mapping[str, Any] = MappingProxyType({})

    def inputs(self) -> dict[str, Array]:
        """The input as it travels."""
        return self._below("inputs/")

    def check_made_for(self, manifest: Manifest) -> None:
        """Refuse labels, tensors and shared files other than those that the sample was made with.

        Raises:
            GoldenError: they are others.
        """
        here = signature_digest(manifest.signature)
        if self.signature not in {"", here}:
            expected = f"labels and tensors with the digest {self.signature[:16]}"
            raise GoldenError(self.path, "signature", expected, here[:16])
        digests = {entry.path: entry.sha256 for entry in manifest.files}
        for path, digest in self.files.items():
            if digests.get(path) != digest:
                found = digests.get(path, "no such file")
                raise GoldenError(self.path, f"files/{path}", f"{digest}"[:16], found[:16])

    def expected(self, signature: Signature, variant_id: str) -> Tensors:
        """A variant's answer.

        Raises:
            GoldenError: an output is missing, or is not what the signature says.
        """
        expected: dict[str, Array] = {}
        for entry in signature.outputs:
            name = f"outputs/{variant_id}/{entry.name}"
            array = self.arrays.get(name)
            if array is None or not entry.spec().admits(array):
                found = "nothing" if array is None else f"{array.dtype}{list(array.shape)}"
                raise GoldenError(self.path, name, f"{entry.spec()}", found)
            expected[entry.name] = array
        return expected

    def tolerance(self, variant_id: str) -> Tolerance:
        """How far a variant's answer may be off.

        Raises:
            GoldenError: what is stated is no tolerance.
        """
        try:
            return Tolerance(**self.tolerances[variant_id])
        except (TypeError, ValueError) as error:
            field = f"tolerances/{variant_id}"
            raise GoldenError(self.path, field, "a tolerance", f"{error}") from error

    def stage(self, variant_id: str, side: Side) -> Stage | None:
        """A variant's tensors on one side of the engine; None where none are kept.

        Raises:
            GoldenError: what is stated is no stage.
        """
        facts = self.stages.get(variant_id, {}).get(side)
        if facts is None:
            return None
        try:
            return stage_from(facts, self._below(f"{side}/{variant_id}/"))
        except (AttributeError, TypeError, ValueError) as error:
            field = f"{side}/{variant_id}"
            raise GoldenError(self.path, field, "what is kept of tensors", f"{error}") from error

    def extended(
        self,
        variant_id: str,
        outputs: Mapping[str, Array],
        tolerance: Tolerance,
        stages: Mapping[Side, Stage],
    ) -> Sample:
        """The sample with a variant's answer, in the place of the one that it had."""
        arrays = {f"outputs/{variant_id}/{name}": array for name, array in outputs.items()}
        for side, stage in stages.items():
            arrays |= {f"{side}/{variant_id}/{n}": kept for n, kept in stage.numbers.items()}
        old = tuple(f"{part}/{variant_id}/" for part in ("outputs", *SIDES))
        rest = {name: a for name, a in self.arrays.items() if not name.startswith(old)}
        facts = {side: facts_of(stage) for side, stage in stages.items()}
        return self._replace(
            arrays={**rest, **arrays},
            tolerances={**self.tolerances, variant_id: asdict(tolerance)},
            stages={**self.stages, variant_id: facts},
        )

    def to_bytes(self) -> bytes:
        """The bytes of the sample's file."""
        facts = {"options": self.options, "tolerances": self.tolerances, "stages": self.stages}
        made_for = {"signature": self.signature, "files": dict(self.files)}
        return pack_frame(self.arrays, {**facts, **made_for})

    def _below(self, prefix: str) -> dict[str, Array]:
        return {
            name.removeprefix(prefix): array
            for name, array in self.arrays.items()
            if name.startswith(prefix)
        }


def read_sample(path: str, data: bytes) -> Sample:
    """Read the bytes of a sample's file.

    Raises:
        GoldenError: they are none.
    """
    try:
        arrays, meta = unpack_frame(data, max_header_bytes=_MAX_HEADER_BYTES)
    except FrameError as error:
        raise GoldenError(path, "", "a golden sample", f"{error}") from error
    options, tolerances = meta.get("options"), meta.get("tolerances")
    if not isinstance(options, dict) or not isinstance(tolerances, dict):
        raise GoldenError(path, "", "options and tolerances beside the arrays", f"{sorted(meta)}")
    stages, files = meta.get("stages", {}), meta.get("files", {})
    signature = meta.get("signature", "")
    if not isinstance(stages, dict) or not isinstance(files, dict) or type(signature) is not str:
        raise GoldenError(path, "stages", "stages, and digests beside them", f"{sorted(meta)}")
    return Sample(path, dict(arrays), options, tolerances, stages, signature, files)
