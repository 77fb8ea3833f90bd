"""Packages on this machine's disk: opening one, and finding one by name and version."""

from __future__ import annotations

import difflib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from wherever_contracts.errors import MissingFileError, ModelNotFoundError, PackageError
from wherever_contracts.manifest import MANIFEST_NAME
from wherever_edge.packages import versions
from wherever_edge.packages.package import (
    ARCHIVE_SUFFIX,
    Package,
    Trust,
    open_directory,
)

Refused: TypeAlias = list[tuple[Path, PackageError]]

__all__ = ["BUILTIN", "Package", "Refused", "Store", "Trust", "open_package"]

BUILTIN = Path(__file__).parent.parent / "builtin"


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
    if path.is_dir():
        return open_directory(path, trust=trust)
    if not path.is_file():
        raise MissingFileError(str(path), "", "a package directory or an archive", "nothing")
    if unpack_into is None:
        raise PackageError(str(path), "", "a package directory", "a file, and no `unpack_into`")
    from wherever_edge.packages.archive import unpack  # noqa: PLC0415 (zipfile costs 8 ms)

    return open_directory(unpack(path, unpack_into), trust=trust)


class Store:
    """The packages found in some directories and inside the wheel.

    A directory either is a package or holds packages and archives. One that is refused hides
    nothing else. Where two packages have the same name and version, the first found wins:
    directories in the order given, then the wheel's; the other is refused when it differs, except
    that the wheel's give way quietly. Looked at on first use, and on `rescan`.

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
            scan.take_all(directory, "local", self._unpack_into)
        if self._builtin:
            scan.take_all(BUILTIN, "wheel", None)
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

    def take_all(self, directory: Path, trust: Trust, unpack_into: Path | None) -> None:
        try:
            paths = _candidates(directory)
        except OSError as error:
            expected, found = "a directory that can be read", error.strerror or str(error)
            self.refused.append((directory, PackageError(str(directory), "", expected, found)))
        else:
            for path in paths:
                self._take(path, trust, unpack_into)

    def _take(self, path: Path, trust: Trust, unpack_into: Path | None) -> None:
        try:
            self._add(open_package(path, trust=trust, unpack_into=unpack_into))
        except PackageError as error:
            self.refused.append((path, error))

    def _add(self, package: Package) -> None:
        first = self._by_id.setdefault((package.name, package.version), package)
        if first is package:
            self.packages.append(package)
        elif first.digest != package.digest and package.trust != "wheel":
            one = f"one {package.name} {package.version} (the first is {first.root})"
            raise PackageError(MANIFEST_NAME, "version", one, "another one with the same version")


def _candidates(directory: Path) -> list[Path]:
    """The packages and archives that `directory` is or holds."""
    if not directory.is_dir() or (directory / MANIFEST_NAME).exists():
        return [directory]
    return [
        child
        for child in sorted(directory.iterdir())
        if not child.name.startswith(".")
        and (child.suffix == ARCHIVE_SUFFIX or (child / MANIFEST_NAME).exists())
    ]
