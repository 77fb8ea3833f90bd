"""What is right about a package: pure functions over its manifest and a listing of its files.

Nothing here reads a disk: `store` lists a directory, `archive` lists an archive, both ask here.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from wherever_contracts.errors import (
    DigestError,
    ExtraFileError,
    ManifestError,
    MissingFileError,
    PackageError,
    UnsafePathError,
)
from wherever_contracts.manifest import (
    MANIFEST_NAME,
    FileEntry,
    Manifest,
    StepEntry,
    TensorEntry,
    Variant,
)
from wherever_contracts.tensors import TensorSpec

# Steps that read the state's `name` and write nothing but `to` (or `name`) and "confidence".
PLAIN_STEPS = frozenset(
    {
        "scale",
        "reshape",
        "first_row",
        "columns",
        "rename",
        "softmax",
        "probabilities",
        "cast",
        "max_confidence",
    }
)

_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])(\..*)?")
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"|?*\\\ud800-\udfff]')


class Found(NamedTuple):
    """Something that lies in a package; `path` is relative to it, with forward slashes."""

    path: str
    kind: Literal["file", "dir", "link", "other"]
    size: int = 0


class Listed(NamedTuple):
    """A file that the manifest lists, and the field that lists it."""

    field: str
    entry: FileEntry


def listed_files(manifest: Manifest) -> Iterator[Listed]:
    """Every entry of a file; a path may come more than once."""
    yield from common_files(manifest)
    for variant in manifest.variants:
        yield from _variant_files(variant)


def common_files(manifest: Manifest) -> Iterator[Listed]:
    """The files that are there whichever variants are."""
    for position, entry in enumerate(manifest.files):
        yield Listed(f"files.{position}", entry)
    for position, sample in enumerate(manifest.golden):
        yield Listed(f"golden.{position}.file", sample.file)
    for position, certificate in enumerate(manifest.certificates):
        yield Listed(f"certificates.{position}.file", certificate.file)
    for variant in manifest.variants:
        if variant.calibration is not None:
            yield Listed(f"variants.{variant.id}.calibration.file", variant.calibration.file)


def check_manifest(manifest: Manifest) -> None:
    """Refuse a manifest whose paths are unsafe, or whose names lead nowhere.

    Raises:
        UnsafePathError: a path could lead out of the package, or mean two files.
        ManifestError: a pipeline reads a name that nothing gives, or a name is not given at all.
    """
    _check_paths(manifest)
    for variant in manifest.variants:
        _check_names(manifest, variant)


def check_listing(manifest: Manifest, found: Iterable[Found]) -> tuple[Variant, ...]:
    """Compare what is there with what the manifest lists; sizes too, digests not.

    Returns:
        The variants whose files are all there. The others are wholly absent.

    Raises:
        UnsafePathError: a link, a device, or a path that is not plain.
        ExtraFileError: something that the manifest does not list.
        MissingFileError: a shared file is not there, a variant is there in part, or none is.
        DigestError: a file has another size than the manifest says.
    """
    sizes = _plain_sizes(manifest, found)
    _check_sizes(manifest, sizes)
    present = tuple(v for v in manifest.variants if all(f.path in sizes for f in v.files))
    _check_missing(manifest, sizes, present)
    return present


def check_bytes(listed: Listed, data: bytes) -> None:
    """Refuse bytes that are not those that the manifest promises.

    Raises:
        DigestError: another length, or another digest.
    """
    check_size(listed, len(data))
    check_digest(listed, hashlib.sha256(data).hexdigest())


def check_size(listed: Listed, size: int) -> None:
    """Refuse a file of another length than the manifest says.

    Raises:
        DigestError: the length is another.
    """
    field, entry = listed
    if size != entry.bytes:
        raise DigestError(entry.path, f"{field}.bytes", f"{entry.bytes} bytes", f"{size} bytes")


def check_digest(listed: Listed, sha256: str) -> None:
    """Refuse a file with another digest than the manifest says.

    Raises:
        DigestError: the digest is another.
    """
    field, entry = listed
    if sha256 != entry.sha256:
        raise DigestError(entry.path, f"{field}.sha256", entry.sha256, sha256)


def unsafe(path: str) -> str | None:
    """Why `path` is no plain relative path on every platform, or None when it is one."""
    if not path:
        return "an empty path"
    forbidden = _FORBIDDEN.search(path)
    if forbidden:
        return f"a path with {forbidden[0]!r}"
    if path.startswith("/"):
        return "an absolute path"
    return next((why for why in map(_unsafe_segment, path.split("/")) if why), None)


def clash_key(path: str) -> str:
    """What `path` is to a file system that ignores case and how accents are composed."""
    return unicodedata.normalize("NFC", path.casefold())


def tensor_mismatch(
    variant: Variant, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> PackageError | None:
    """Compare the tensors that the manifest declares with those that the loaded file has.

    The manifest may promise less than the file takes (a fixed batch where the file allows any).

    Args:
        variant: the variant, as the manifest describes it.
        inputs: what the engine says that the file takes.
        outputs: what it says that the file gives; an empty shape there can mean "not known".

    Returns:
        The first difference (expected: the manifest's, found: the file's), or None.
    """
    file, field = variant.files[0].path, f"variants.{variant.id}.tensors"
    return _side_mismatch(
        file, f"{field}.inputs", variant.tensors.inputs, inputs, _input_fits
    ) or _side_mismatch(file, f"{field}.outputs", variant.tensors.outputs, outputs, _output_fits)


def _unsafe_segment(segment: str) -> str | None:
    if segment in {"", ".", ".."}:
        return f"a path with the segment {segment!r}"
    if segment[-1] in ". ":
        return f"a name that ends in {segment[-1]!r}"
    if _RESERVED.fullmatch(segment.lower()):
        return f"a name that Windows reserves ({segment})"
    return None


def _check_paths(manifest: Manifest) -> None:
    spellings: dict[str, str] = {}
    files = {clash_key(listed.entry.path) for listed in listed_files(manifest)}
    for field, entry in listed_files(manifest):
        why = unsafe(entry.path)
        if why:
            raise UnsafePathError(MANIFEST_NAME, f"{field}.path", "a plain relative path", why)
        if clash_key(entry.path) == MANIFEST_NAME:
            raise UnsafePathError(
                MANIFEST_NAME, f"{field}.path", f"a file other than {MANIFEST_NAME}", entry.path
            )
        for part in (*_parents(entry.path), entry.path):
            twin = spellings.setdefault(clash_key(part), part)
            if twin != part or (part != entry.path and clash_key(part) in files):
                raise UnsafePathError(
                    entry.path, f"{field}.path", "a path that means one thing everywhere", twin
                )


def _parents(path: str) -> Iterator[str]:
    """`a` and `a/b` for `a/b/c`."""
    cut = path.find("/")
    while cut >= 0:
        yield path[:cut]
        cut = path.find("/", cut + 1)


def _plain_sizes(manifest: Manifest, found: Iterable[Found]) -> dict[str, int]:
    """Size by path of the files that are there, when nothing else is."""
    listed = {each.entry.path for each in listed_files(manifest)} | {MANIFEST_NAME}
    folders = {parent for path in listed for parent in _parents(path)}
    sizes: dict[str, int] = {}
    for path, kind, size in found:
        why = unsafe(path)
        if why:
            raise UnsafePathError(path, "", "a plain relative path", why)
        if kind not in {"file", "dir"}:
            what = "a link" if kind == "link" else "neither a file nor a directory"
            raise UnsafePathError(path, "", "plain files", what)
        if path not in (listed if kind == "file" else folders):
            raise ExtraFileError(path, "", f"only what {MANIFEST_NAME} lists", f"a {kind}")
        if kind == "file":
            sizes[path] = size
    return sizes


def _check_sizes(manifest: Manifest, sizes: dict[str, int]) -> None:
    for listed in listed_files(manifest):
        if listed.entry.path in sizes:
            check_size(listed, sizes[listed.entry.path])


def _variant_files(variant: Variant) -> Iterator[Listed]:
    for position, entry in enumerate(variant.files):
        yield Listed(f"variants.{variant.id}.files.{position}", entry)


def _check_missing(manifest: Manifest, sizes: dict[str, int], present: tuple[Variant, ...]) -> None:
    _refuse_missing(common_files(manifest), sizes, "the file")
    explained = {listed.entry.path for listed in common_files(manifest)}
    explained.update(entry.path for variant in present for entry in variant.files)
    for variant in manifest.variants:
        if not present:
            _refuse_missing(_variant_files(variant), sizes, "the files of at least one variant")
        elif any(entry.path in sizes.keys() - explained for entry in variant.files):
            _refuse_missing(_variant_files(variant), sizes, "all files of the variant, or none")


def _refuse_missing(files: Iterable[Listed], sizes: dict[str, int], expected: str) -> None:
    for field, entry in files:
        if entry.path not in sizes:
            raise MissingFileError(entry.path, field, expected, "nothing")


def _check_names(manifest: Manifest, variant: Variant) -> None:
    """Follow the names through the pipeline, as far as its steps are plain ones."""
    field = f"variants.{variant.id}"
    before = _names_after(
        variant.pipeline.pre,
        frozenset(entry.name for entry in manifest.signature.inputs),
        f"{field}.pipeline.pre",
    )
    _require(before, variant.tensors.inputs, f"{field}.tensors.inputs")
    made = frozenset(entry.name for entry in variant.tensors.outputs)
    after = _names_after(variant.pipeline.post, before and before | made, f"{field}.pipeline.post")
    _require(after, manifest.signature.outputs, "signature.outputs", f" after {field}.pipeline")


def _names_after(
    steps: Sequence[StepEntry], names: frozenset[str] | None, field: str
) -> frozenset[str] | None:
    """The names in the state after `steps`; None once a step may have added others."""
    for position, step in enumerate(steps):
        if names is None or step.op not in PLAIN_STEPS:
            return None
        read = step.parameters.get("name")
        if read not in names:
            raise ManifestError(
                MANIFEST_NAME, f"{field}.{position}.name", f"one of {_join(names)}", repr(read)
            )
        names |= {str(step.parameters.get("to") or read)}
    return names


def _require(
    names: frozenset[str] | None, entries: Sequence[TensorEntry], field: str, where: str = ""
) -> None:
    if names is None:
        return
    for entry in entries:
        if entry.name not in names:
            raise ManifestError(
                MANIFEST_NAME,
                f"{field}.{entry.name}",
                f"a name that the pipeline gives{where}",
                f"{entry.name!r} (it gives {_join(names)})",
            )


def _side_mismatch(
    file: str,
    field: str,
    promised: Sequence[TensorEntry],
    real: Sequence[TensorSpec],
    fits: Callable[[tuple[int, ...], tuple[int, ...]], bool],
) -> PackageError | None:
    specs = {spec.name: spec for spec in real}
    names = {entry.name for entry in promised}
    if names != specs.keys():
        return ManifestError(file, field, _join(names), _join(specs))
    for entry in promised:
        spec = specs[entry.name]
        if entry.dtype != spec.dtype:
            return ManifestError(file, f"{field}.{entry.name}.dtype", entry.dtype, spec.dtype)
        if not fits(entry.shape, spec.shape):
            return ManifestError(
                file, f"{field}.{entry.name}.shape", str(list(entry.shape)), str(list(spec.shape))
            )
    return None


def _input_fits(promised: tuple[int, ...], real: tuple[int, ...]) -> bool:
    return len(promised) == len(real) and all(
        have in (-1, want) for want, have in zip(promised, real, strict=True)
    )


def _output_fits(promised: tuple[int, ...], real: tuple[int, ...]) -> bool:
    return not real or (
        len(promised) == len(real)
        and all(
            want == have or -1 in (want, have) for want, have in zip(promised, real, strict=True)
        )
    )


def _join(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
