"""Building a package from a directory of files and a manifest in plain data."""

from __future__ import annotations

import copy
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wherever_contracts.errors import ManifestError, MissingFileError, UnsafePathError
from wherever_contracts.manifest import (
    MANIFEST_NAME,
    SCHEMA_MAJOR,
    SCHEMA_MINOR,
    Manifest,
    parse_manifest,
)
from wherever_edge.packages import checks
from wherever_edge.packages.package import Package, listing


def build_package(root: Path, manifest: dict[str, Any]) -> Package:
    """Check a package's files, and write its `model.json` beside them.

    Args:
        root: a directory with the package's files and nothing else.
        manifest: the fields of `model.json`. In its `files`, `sha256` and `bytes` may be left
            out, and so may `schema`; they are filled in.

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
    _write(root / MANIFEST_NAME, data)
    return package


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


def _write(path: Path, data: bytes) -> None:
    """Write all of it or nothing."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
