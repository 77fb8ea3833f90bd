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
from wherever_edge.packages.signed import SignedPackages
from wherever_edge.updates.state import CHANNELS

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
    """The packages found in some directories, installed by signed updates, and inside the wheel.

    A directory either is a package or holds packages and archives. One that is refused hides
    nothing else. Where two packages have the same name and version, the first found wins:
    directories in the order given, signed ones, added ones, then the wheel's; the other is refused
    when it differs, except that the wheel's give way quietly. Looked at on first use, and on
    `rescan`.

    Args:
        directories: where to look; what they hold also wins over signed versions of its name.
        builtin: also take the packages that ship inside the wheel.
        unpack_into: a directory that keeps unpacked archives.
        signed: the directory of the update agent.
        added: more directories, which signed versions win over.
    """

    def __init__(
        self,
        directories: Sequence[Path] = (),
        *,
        builtin: bool = True,
        unpack_into: Path | None = None,
        signed: Path | None = None,
        added: Sequence[Path] = (),
    ) -> None:
        self._directories = tuple(directories)
        self._builtin = builtin
        self._unpack_into = unpack_into
        self._signed = signed
        self._added = tuple(added)
        self._lock = threading.Lock()
        self._scan: _Scan | None = None

    @classmethod
    def of_home(cls, home: Path, directories: Sequence[Path] = ()) -> Store:
        """What some directories hold, and what was added or came as signed updates under a home."""
        return cls(
            directories,
            added=(home / "models",),
            signed=home / "signed",
            unpack_into=home / "unpacked",
        )

    def get(self, name: str) -> Package:
        """The package that `name` means: "digits", "digits@1.0", "digits@1.0.0", "digits@canary".

        A channel means the signed version that it names, and a bare name the stable one, when
        signed updates installed any. Otherwise the highest version that fits wins; a pre-release
        only when asked for in full or when no release fits.

        Raises:
            ModelNotFoundError: none fits; the message says what is known.
        """
        model, _, wanted = name.partition("@")
        chosen = self._found().choose(model, wanted)
        if chosen is None:
            raise ModelNotFoundError(self._not_found(model, wanted))
        return chosen

    def list(self) -> list[Package]:
        """Every package, by name and version."""
        return sorted(
            self._found().known(),
            key=lambda p: (p.name, versions.precedence(p.version), p.version),
        )

    def refused(self) -> Refused:
        """What was found and refused, and why."""
        scan = self._found()
        return [*scan.refused, *scan.signed.refused]

    @property
    def generation(self) -> int:
        """The generation of the signed packages that were found."""
        return self._found().signed.generation

    def look_in(self, directories: Sequence[Path], *, builtin: bool) -> None:
        """Look in other directories from the next `rescan` on; raises nothing."""
        self._directories, self._builtin = tuple(directories), builtin

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
        scan = _Scan(SignedPackages(self._signed))
        for directory in self._directories:
            scan.take_all(directory, "local", self._unpack_into)
        scan.take_signed()
        for directory in filter(Path.exists, self._added):
            scan.take_all(directory, "local", self._unpack_into)
        if self._builtin:
            scan.take_all(BUILTIN, "wheel", None)
        return scan

    def _not_found(self, model: str, wanted: str) -> str:
        have = [p.version for p in self.list() if p.name == model]
        if have and wanted in CHANNELS:
            return f"no signed update gave {model!r} a {wanted} version here (try: wherever update)"
        if have:
            return f"model {model!r} has no version {wanted!r} here (there are: {', '.join(have)})"
        names = sorted({p.name for p in self.list()})
        near = difflib.get_close_matches(model, names, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        bad = "".join(f"; refused: {path}: {error}" for path, error in self.refused()[:3])
        return f"no model {model!r} is known here (known: {', '.join(names) or 'none'}){hint}{bad}"


class _Scan:
    """One look at the directories."""

    def __init__(self, signed: SignedPackages) -> None:
        self.signed = signed
        self.refused: Refused = []
        self._preferred: set[str] = set()
        self._by_id: dict[tuple[str, str], Package] = {}

    def choose(self, model: str, wanted: str) -> Package | None:
        for channel in CHANNELS:
            if channel == wanted:
                return self.signed.following(model, channel)
        preferred = None if model in self._preferred else self.signed.fitting(model, wanted)
        return preferred or self._highest(model, wanted)

    def known(self) -> list[Package]:
        """Every package; of those that were signed, the ones that still pass."""
        signed = self.signed.all()
        return [p for p in self._by_id.values() if p.trust != "signed" or p in signed]

    def take_signed(self) -> None:
        """Take the signed packages; what was found so far stays preferred."""
        self._preferred = {name for name, _ in self._by_id}
        for package in self.signed.all():
            try:
                self._add(package)
            except PackageError as error:
                self.refused.append((package.root, error))

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
        if first.digest != package.digest and package.trust != "wheel":
            one = f"one {package.name} {package.version} (the first is {first.root})"
            raise PackageError(MANIFEST_NAME, "version", one, "another one with the same version")

    def _highest(self, model: str, wanted: str) -> Package | None:
        """The highest version that fits; a signed one that a bare name did not mean, by version."""
        usable = {
            p.version: p
            for p in self.known()
            if p.name == model and (wanted or p.trust != "signed")
        }
        while (chosen := versions.choose(wanted, usable)) is not None:
            package = usable[chosen]
            if package.trust != "signed" or self.signed.version(model, chosen) is not None:
                return package
            del usable[chosen]
        return None


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
