"""Packages on this machine's disk: opening one, and finding one by name and version."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import stat
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from wherever_contracts.errors import (
    ManifestError,
    MissingFileError,
    ModelNotFoundError,
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
)
from wherever_edge.packages import checks, versions

Trust: TypeAlias = Literal["wheel", "local"]
Refused: TypeAlias = list[tuple[Path, PackageError]]

ARCHIVE_SUFFIX = ".wherever"
BUILTIN = Path(__file__).parent.parent / "builtin"


@dataclass(frozen=True)
class Package:
    """A package whose manifest and list of files are right; digests are checked when read.

    Attributes:
        root: the directory.
        manifest: what `model.json` says.
        digest: sha256 of `model.json`'s bytes.
        trust: "wheel" when it came inside wherever's own wheel, else "local".
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

    def read(self, entry: FileEntry) -> bytes:
        """The bytes of a file, checked: what is returned is what was hashed.

        Raises:
            MissingFileError: the file is not there.
            UnsafePathError: it is a link or a device, or lies behind a link.
            DigestError: its bytes are not those that the manifest promises.
        """
        listed = self._listed(entry)
        data = _read_file(self.root, entry.path, at_most=entry.bytes)
        checks.check_bytes(listed, data)
        return data

    def verify(self) -> None:
        """Check everything anew: `model.json` itself, what is there, and every digest.

        Raises:
            PackageError: something is missing, added, linked or changed.
        """
        found = hashlib.sha256(_read_manifest(self.root)).hexdigest()
        if found != self.digest:
            raise ManifestError(MANIFEST_NAME, "", f"the bytes opened ({self.digest})", found)
        for variant_or_shared in self._files(
            checks.check_listing(self.manifest, listing(self.root))
        ):
            self.read(variant_or_shared)

    def variant_digest(self, variant_id: str) -> str:
        """A digest over all that decides a variant's answers, and nothing else.

        It covers files, tensors, pipeline, precision and the shared files; not the id, the
        measured quality, or where the variant is meant to run.

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

    def _listed(self, entry: FileEntry) -> checks.Listed:
        for listed in checks.listed_files(self.manifest):
            if listed.entry == entry:
                return listed
        raise ValueError(f"{self.name} {self.version} lists no such file: {entry.path!r}")

    def _files(self, variants: tuple[Variant, ...]) -> Iterator[FileEntry]:
        here = {entry.path for variant in variants for entry in variant.files}
        here.update(entry.path for entry in self.manifest.files)
        return (entry for entry in self.manifest.all_files() if entry.path in here)


def open_package(path: Path, *, trust: Trust = "local", unpack_into: Path | None = None) -> Package:
    """Open a package directory, or unpack an archive and open what was in it.

    `model.json` is read once, and what lies beside it is compared with what it lists. Digests are
    checked later, on the bytes that are used (`Package.read`) or all together (`Package.verify`).

    Args:
        path: a directory with `model.json`, or an archive.
        trust: where it came from.
        unpack_into: a directory that keeps unpacked archives.

    Raises:
        PackageError: the package is refused; the error names file, field, expected and found.
    """
    if not path.is_dir():
        path = _unpacked(path, unpack_into)
    root = path.resolve()
    data = _read_manifest(root)
    manifest = parse_manifest(data)
    checks.check_manifest(manifest)
    present = checks.check_listing(manifest, listing(root))
    return Package(root, manifest, hashlib.sha256(data).hexdigest(), trust, present)


def listing(root: Path) -> Iterator[checks.Found]:
    """Everything below `root`, in order of name; links are named, never followed."""
    yield from _listing(os.fspath(root), "")


class Store:
    """The packages found in some directories and inside the wheel.

    A directory either is a package or holds packages and archives. One that is refused hides
    nothing else. Where two packages have the same name and version, the first found wins:
    directories in the order given, then the wheel's. Looked at on first use, and on `rescan`.

    Args:
        directories: where to look.
        builtin: also take the packages that ship inside the wheel.
        unpack_into: a directory that keeps unpacked archives.
    """

    def __init__(
        self,
        directories: Sequence[Path] = (),
        *,
        builtin: bool = True,
        unpack_into: Path | None = None,
    ) -> None:
        self._directories = tuple(directories)
        self._builtin = builtin
        self._unpack_into = unpack_into
        self._lock = threading.Lock()
        self._scan: _Scan | None = None

    def get(self, name: str) -> Package:
        """The package that `name` means: "digits", "digits@1", "digits@1.0" or "digits@1.0.0".

        The highest version that fits wins; a pre-release only when asked for in full or when no
        release fits.

        Raises:
            ModelNotFoundError: none fits; the message says what is known.
        """
        model, _, wanted = name.partition("@")
        by_version = {p.version: p for p in self._found().packages if p.name == model}
        chosen = versions.choose(wanted, by_version)
        if chosen is None:
            raise ModelNotFoundError(self._not_found(model, wanted))
        return by_version[chosen]

    def list(self) -> list[Package]:
        """Every package, by name and version."""
        return sorted(
            self._found().packages,
            key=lambda p: (p.name, versions.precedence(p.version), p.version),
        )

    def refused(self) -> Refused:
        """What was found and refused, and why."""
        return [*self._found().refused]

    def rescan(self) -> None:
        """Look again, now."""
        scan = self._look()
        with self._lock:
            self._scan = scan

    def _found(self) -> _Scan:
        with self._lock:
            if self._scan is None:
                self._scan = self._look()
            return self._scan

    def _look(self) -> _Scan:
        scan = _Scan()
        for directory in self._directories:
            for path in _candidates(directory):
                scan.take(path, "local", self._unpack_into)
        for path in _candidates(BUILTIN) if self._builtin else ():
            scan.take(path, "wheel", None)
        return scan

    def _not_found(self, model: str, wanted: str) -> str:
        have = [p.version for p in self.list() if p.name == model]
        if have:
            return f"model {model!r} has no version {wanted!r} here (there are: {', '.join(have)})"
        names = sorted({p.name for p in self.list()})
        near = difflib.get_close_matches(model, names, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        bad = "".join(f"; refused: {path}: {error}" for path, error in self.refused()[:3])
        return f"no model {model!r} is known here (known: {', '.join(names) or 'none'}){hint}{bad}"


class _Scan:
    """One look at the directories."""

    def __init__(self) -> None:
        self.packages: list[Package] = []
        self.refused: Refused = []
        self._by_id: dict[tuple[str, str], Package] = {}

    def take(self, path: Path, trust: Trust, unpack_into: Path | None) -> None:
        try:
            self._add(open_package(path, trust=trust, unpack_into=unpack_into))
        except PackageError as error:
            self.refused.append((path, error))

    def _add(self, package: Package) -> None:
        first = self._by_id.setdefault((package.name, package.version), package)
        if first is package:
            self.packages.append(package)
        elif first.digest != package.digest:
            one = f"one {package.name} {package.version} (the first is {first.root})"
            raise PackageError(MANIFEST_NAME, "version", one, "another one with the same version")


def _candidates(directory: Path) -> Iterator[Path]:
    """The packages and archives that `directory` is or holds."""
    if not directory.is_dir() or (directory / MANIFEST_NAME).exists():
        yield directory
        return
    for child in sorted(directory.iterdir()):
        if child.name.startswith("."):
            continue
        if (child / MANIFEST_NAME).exists() or child.suffix == ARCHIVE_SUFFIX:
            yield child


def _unpacked(path: Path, unpack_into: Path | None) -> Path:
    if not path.is_file():
        raise MissingFileError(str(path), "", "a package directory or an archive", "nothing")
    raise PackageError(path.name, "", "a package directory", f"a file ({unpack_into})")


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


def _read_manifest(root: Path) -> bytes:
    return _read_file(root, MANIFEST_NAME, at_most=MAX_MANIFEST_BYTES)


def _read_file(root: Path, path: str, *, at_most: int) -> bytes:
    """Up to `at_most` bytes and one more of a plain file below `root`, following no link."""
    try:
        with open(_open_plain(root, path), "rb") as file:
            return file.read(at_most + 1)
    except FileNotFoundError as error:
        raise MissingFileError(path, "", "the file", "nothing") from error
    except OSError as error:
        raise PackageError(path, "", "a file that can be read", f"{error.strerror}") from error


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
