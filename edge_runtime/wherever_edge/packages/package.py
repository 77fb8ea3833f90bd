"""A package directory: opening it, and reading its files so that what is used was checked."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from wherever_contracts.errors import (
    ManifestError,
    MissingFileError,
    PackageError,
    UnsafePathError,
)
from wherever_contracts.manifest import (
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    FileEntry,
    Manifest,
    Variant,
    parse_manifest,
    signature_digest,
)
from wherever_edge.packages import checks

Trust: TypeAlias = Literal["wheel", "local", "signed"]

ARCHIVE_SUFFIX = ".wherever"


@dataclass(frozen=True)
class Package:
    """A package whose manifest and list of files are right; digests are checked when read.

    Attributes:
        root: the directory.
        manifest: what `model.json` says.
        digest: sha256 of `model.json`'s bytes.
        trust: "wheel" when it came inside wherever's own wheel, "signed" when a registry's keys
            signed its digest, else "local".
    """

    root: Path
    manifest: Manifest = field(repr=False)
    digest: str
    trust: Trust
    _present: tuple[Variant, ...] = field(repr=False)

    @property
    def name(self) -> str:
        """The model's name."""
        return self.manifest.name

    @property
    def version(self) -> str:
        """The package's version."""
        return self.manifest.version

    def present(self) -> tuple[Variant, ...]:
        """The variants whose files were all here when the package was opened."""
        return self._present

    def files(self) -> tuple[FileEntry, ...]:
        """What is here: all files but those of absent variants, each path once."""
        here = {entry.path for variant in self._present for entry in variant.files}
        here.update(listed.entry.path for listed in checks.common_files(self.manifest))
        return tuple(entry for entry in self.manifest.all_files() if entry.path in here)

    def still_has(self, variant: Variant) -> bool:
        """False when one of its files was removed meanwhile, or has another length."""
        try:
            sizes = [(self.root / entry.path).stat().st_size for entry in variant.files]
        except OSError:
            return False
        return sizes == [entry.bytes for entry in variant.files]

    def read(self, entry: FileEntry) -> bytes:
        """The bytes of a file, checked: what is returned is what was hashed.

        Raises:
            MissingFileError: the file is not there.
            UnsafePathError: it is a link or a device, or lies behind a link.
            DigestError: its bytes are not those that the manifest promises.
        """
        listed = self._listed(entry)
        data = self._bytes(entry.path, entry.bytes)
        checks.check_bytes(listed, data)
        return data

    def read_path(self, path: str) -> bytes:
        """The bytes of a file that is listed under `path`, checked like those of `read`.

        Raises:
            PackageError: no such file is listed, or see `read`.
        """
        for entry in self.manifest.all_files():
            if entry.path == path:
                return self.read(entry)
        raise ManifestError(MANIFEST_NAME, "files", f"an entry for {path!r}", "none")

    def manifest_bytes(self) -> bytes:
        """The bytes of `model.json`, which are still those that were opened.

        Raises:
            ManifestError: they have changed.
        """
        data = _read_file(self.root, MANIFEST_NAME, at_most=MAX_MANIFEST_BYTES)
        found = hashlib.sha256(data).hexdigest()
        if found != self.digest:
            raise ManifestError(MANIFEST_NAME, "", f"the bytes opened ({self.digest})", found)
        return data

    def verify(self) -> None:
        """Check everything anew: `model.json` itself, what is there, and every digest.

        Raises:
            PackageError: something is missing, added, linked or changed.
        """
        self.manifest_bytes()
        checks.check_listing(self.manifest, listing(self.root))
        for entry in self.files():
            self.read(entry)

    def variant_digest(self, variant_id: str) -> str:
        """A digest over all that decides a variant's answers, and nothing else.

        It covers files, tensors, pipeline, precision and the shared files; not the id, the
        measured quality, the golden samples, or where the variant is meant to run.

        Raises:
            KeyError: no such variant.
        """
        deciding = {"format", "precision", "files", "tensors", "pipeline"}
        dump = self.manifest.variant(variant_id).model_dump(
            mode="json", include=deciding, exclude_unset=True
        )
        dump["shared"] = [entry.model_dump(mode="json") for entry in self.manifest.files]
        text = json.dumps(dump, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def answers_digest(self, variant_id: str) -> str:
        """A digest over all that decides a variant's answers and what they are called.

        It covers what `variant_digest` does, and the signature with its labels; a certificate is
        about this.

        Raises:
            KeyError: no such variant.
        """
        named = signature_digest(self.manifest.signature)
        return hashlib.sha256(f"{named} {self.variant_digest(variant_id)}".encode()).hexdigest()

    def _bytes(self, path: str, at_most: int) -> bytes:
        """Up to `at_most` bytes and one more of a file of the package, not checked yet."""
        return _read_file(self.root, path, at_most=at_most)

    def _listed(self, entry: FileEntry) -> checks.Listed:
        for listed in checks.listed_files(self.manifest):
            if listed.entry == entry:
                return listed
        raise ValueError(f"{self.name} {self.version} lists no such file: {entry.path!r}")


def open_directory(path: Path, *, trust: Trust = "local") -> Package:
    """Open a package directory.

    `model.json` is read once, and what lies beside it is compared with what it lists. Digests are
    checked later, on the bytes that are used (`Package.read`) or all together (`Package.verify`).

    Args:
        path: a directory with `model.json`.
        trust: where it came from.

    Raises:
        PackageError: the package is refused; the error names file, field, expected and found.
    """
    root = path.resolve()
    data = _read_file(root, MANIFEST_NAME, at_most=MAX_MANIFEST_BYTES)
    manifest = parse_manifest(data)
    checks.check_manifest(manifest)
    present = checks.check_listing(manifest, listing(root))
    return Package(root, manifest, hashlib.sha256(data).hexdigest(), trust, present)


def listing(root: Path) -> Iterator[checks.Found]:
    """Everything below `root`, in order of name; links are named, never followed.

    Raises:
        PackageError: a directory cannot be read.
    """
    try:
        yield from _listing(os.fspath(root), "")
    except OSError as error:
        raise _unreadable(os.path.relpath(error.filename, root), error) from error


def _listing(folder: str, prefix: str) -> Iterator[checks.Found]:
    with os.scandir(folder) as entries:
        children = sorted(entries, key=lambda entry: entry.name)
    for child in children:
        path = prefix + child.name
        status = child.stat(follow_symlinks=False)
        kind = _kind(status.st_mode)
        yield checks.Found(path, kind, status.st_size)
        if kind == "dir":
            yield from _listing(child.path, f"{path}/")


def _kind(mode: int) -> Literal["file", "dir", "link", "other"]:
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "dir"
    return "link" if stat.S_ISLNK(mode) else "other"


def _read_file(root: Path, path: str, *, at_most: int) -> bytes:
    """Up to `at_most` bytes and one more of a plain file below `root`, following no link."""
    try:
        with open(_open_plain(root, path), "rb") as file:
            return file.read(at_most + 1)
    except FileNotFoundError as error:
        found = f"nothing in {root}" if root.is_dir() else f"no directory {root}"
        raise MissingFileError(path, "", "the file", found) from error
    except OSError as error:
        raise _unreadable(path, error) from error


def _open_plain(root: Path, path: str) -> int:
    """Open without following a link, and without waiting where the path is a pipe."""
    current = root
    for segment in path.split("/"):
        current /= segment
        if stat.S_ISLNK(current.lstat().st_mode):
            raise UnsafePathError(path, "", "plain files", "a link")
    careful = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(current, os.O_RDONLY | getattr(os, "O_BINARY", 0) | careful)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnsafePathError(path, "", "a plain file", "neither a file nor a link")
    return descriptor


def _unreadable(path: str, error: OSError) -> PackageError:
    return PackageError(path, "", "something that can be read", error.strerror or str(error))
