"""Building a package from a directory of files and a manifest in plain data."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from wherever_contracts.errors import ManifestError, MissingFileError, UnsafePathError
from wherever_contracts.manifest import (
    MANIFEST_NAME,
    SCHEMA_MAJOR,
    SCHEMA_MINOR,
    Manifest,
    parse_manifest,
)
from wherever_edge.durable import write_durably
from wherever_edge.packages import checks
from wherever_edge.packages.package import Package, listing

if TYPE_CHECKING:
    from wherever_edge.packages.golden import Allowed

_GOLDEN = "golden"


def build_package(root: Path, manifest: dict[str, Any]) -> Package:
    """Check a package's files, and write its `model.json` beside them.

    Args:
        root: a directory with the package's files and nothing else.
        manifest: the fields of `model.json`. In its entries of files, `sha256` and `bytes` may be
            left out, and so may `schema`; they are filled in.

    Returns:
        The package, as opening it would give it, with every digest checked.

    Raises:
        PackageError: the manifest is wrong, or the directory does not fit it; `model.json` is
            then left as it was.
    """
    parsed = _filled(root, manifest)
    checks.check_manifest(parsed)
    present = checks.check_listing(parsed, listing(root))
    data = parsed.to_bytes()
    digest = hashlib.sha256(data).hexdigest()
    package = Package(root.resolve(), parsed, digest, "local", present)
    for entry in package.files():
        package.read(entry)
    write_durably(root / MANIFEST_NAME, data)
    return package


def build_with_golden(
    root: Path,
    manifest: dict[str, Any],
    samples: Iterable[Any],
    *,
    allowed: Mapping[str, Allowed] | None = None,
) -> Package:
    """Build a package with golden samples: what its variants answer on this machine.

    They replace those that an earlier build left in the folder `golden`.

    Args:
        root: see `build_package`.
        manifest: see `build_package`; its `golden` is not looked at.
        samples: inputs, as `predict` takes them.
        allowed: variant id -> how far another machine's answer may be off; by default a few times
            what the engines here are apart.

    Raises:
        PackageError: see `build_package`; or a variant does not agree with itself.
        InputError: a sample does not fit the signature.
        EngineError: a variant cannot run here.
    """
    from wherever_convert.proof import golden_runs  # noqa: PLC0415 (engines)
    from wherever_edge.packages.golden import check_golden  # noqa: PLC0415

    _remove_samples(root / _GOLDEN)
    plain = build_package(root, {**manifest, "golden": []})
    frames = golden_runs.golden_frames(plain, list(samples), allowed=allowed)
    golden = {f"{_GOLDEN}/{number:02}.frame": frame for number, frame in enumerate(frames)}
    for path, frame in golden.items():
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_bytes(frame)
    entries = [{"file": {"path": path}} for path in golden]
    package = build_package(root, {**manifest, "golden": entries})
    with golden_runs.loaded_variants(package) as variants:
        for variant in variants:
            check_golden(variant)
    return package


def _remove_samples(folder: Path) -> None:
    if folder.is_dir():
        for old in folder.glob("*.frame"):
            old.unlink()
        folder.rmdir()  # refused while anything else lies in it


def _filled(root: Path, manifest: dict[str, Any]) -> Manifest:
    data = {"schema": f"{SCHEMA_MAJOR}.{SCHEMA_MINOR}", **copy.deepcopy(manifest)}
    for field, entry in _file_entries(data):
        if "sha256" not in entry or "bytes" not in entry:
            _fill(root, field, entry)
    try:
        encoded = json.dumps(data, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise ManifestError(MANIFEST_NAME, "", "data that JSON can hold", str(error)) from error
    return parse_manifest(encoded)


def _file_entries(data: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every entry that looks like a file's, with its field; what does not is left to the schema."""
    owners = [("", data)]
    owners += [(f"variants.{each.get('id')}.", each) for each in _objects(data, "variants")]
    for field, owner in owners:
        for position, entry in enumerate(_objects(owner, "files")):
            if isinstance(entry.get("path"), str):
                yield f"{field}files.{position}", entry
    holders = [
        (f"{listed}.{position}.file", each)
        for listed in ("golden", "certificates")
        for position, each in enumerate(_objects(data, listed))
    ]
    holders += [
        (f"variants.{each.get('id')}.calibration.file", each["calibration"])
        for each in _objects(data, "variants")
        if isinstance(each.get("calibration"), dict)
    ]
    for field, holder in holders:
        file: Any = holder.get("file")
        if isinstance(file, dict) and isinstance(cast("dict[str, Any]", file).get("path"), str):
            yield field, file


def _objects(data: dict[str, Any], field: str) -> list[dict[str, Any]]:
    if not isinstance(data.get(field), list):
        return []
    items: list[Any] = data[field]
    return [item for item in items if isinstance(item, dict)]


def _fill(root: Path, field: str, entry: dict[str, Any]) -> None:
    path: str = entry["path"]
    why = checks.unsafe(path)
    if why:
        raise UnsafePathError(MANIFEST_NAME, f"{field}.path", "a plain relative path", why)
    if not (root / path).is_file():
        raise MissingFileError(path, field, "the file", "nothing")
    with (root / path).open("rb") as file:
        entry.setdefault("sha256", hashlib.file_digest(file, "sha256").hexdigest())
        entry.setdefault("bytes", file.tell())
