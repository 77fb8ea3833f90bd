"""The packages that the update agent installed: those that its list names, and no others."""

from __future__ import annotations

import stat
import threading
from collections.abc import Iterator
from pathlib import Path

from wherever_contracts.errors import (
    DigestError,
    ManifestError,
    PackageError,
    SettingsError,
    UpdateError,
)
from wherever_contracts.manifest import MANIFEST_NAME
from wherever_edge.packages import versions
from wherever_edge.packages.package import Package, open_directory
from wherever_edge.updates.disk import STATE_NAME, read_state
from wherever_edge.updates.state import Channel, Installed, State


class SignedPackages:
    """One look at the directory of the update agent.

    A package is checked against the digest that was signed when it is looked at, and all of its
    files are checked before it is given out for the first time. One that fails is refused, and
    the version that was active before it takes its place.

    Args:
        folder: the directory; None, or one that is not there, holds nothing.

    Raises:
        SettingsError: nobody may see whether it is there, and so which version is to serve.
    """

    def __init__(self, folder: Path | None) -> None:
        self.refused: list[tuple[Path, PackageError]] = []
        self._lock = threading.Lock()
        self._state = State()
        self._packages: dict[tuple[str, str], Package] = {}
        self._proven: set[str] = set()
        if folder is not None and _is_there(folder):
            self._look(folder)

    @property
    def generation(self) -> int:
        """Grows whenever the update agent lets another version serve."""
        return self._state.generation

    def all(self) -> list[Package]:
        """Every package that is not refused so far."""
        with self._lock:
            return [*self._packages.values()]

    def version(self, model: str, version: str) -> Package | None:
        """One version of a model, when it is here and right to the last byte."""
        with self._lock:
            package = self._packages.get((model, version))
            if package is None or package.digest in self._proven:
                return package
            try:
                package.verify()
            except PackageError as error:
                del self._packages[model, version]
                self.refused.append((package.root, error))
                return None
            self._proven.add(package.digest)
            return package

    def following(self, model: str, channel: Channel | None = None) -> Package | None:
        """What a channel of a model means (by default: a bare name), or what served before."""
        followed = self._state.followed(model, channel)
        if followed is None:
            return None
        return self.version(model, followed.active) or self.version(model, followed.previous)

    def fitting(self, model: str, wanted: str) -> Package | None:
        """What a bare name means, when that version fits what is wanted ("", "2", "2.1")."""
        package = self.following(model)
        fits = package is not None and versions.choose(wanted, [package.version]) is not None
        return package if fits else None

    def _look(self, folder: Path) -> None:
        try:
            self._state = read_state(folder)
        except UpdateError as error:
            expected = "the list of what was verified (`wherever update` makes it anew)"
            self._refuse(folder, PackageError(STATE_NAME, "", expected, str(error)))
        for model, version, installed in _listed(self._state):
            self._take(folder / "packages" / installed.folder, model, version, installed)
        self._refuse_unlisted(folder / "packages")

    def _take(self, root: Path, model: str, version: str, installed: Installed) -> None:
        try:
            self._packages[model, version] = _opened(root, model, version, installed)
        except PackageError as error:
            self._refuse(root, error)

    def _refuse_unlisted(self, packages: Path) -> None:
        listed = self._state.folders()
        found = sorted(packages.iterdir()) if packages.is_dir() else []
        for child in found:
            if child.name not in listed and not child.name.startswith("."):
                expected, is_not = f"a package that {STATE_NAME} lists", "one that was not verified"
                self._refuse(child, PackageError(child.name, "", expected, is_not))

    def _refuse(self, path: Path, error: PackageError) -> None:
        self.refused.append((path, error))


def _listed(state: State) -> Iterator[tuple[str, str, Installed]]:
    for model, known in state.models.items():
        for version, installed in known.versions.items():
            yield model, version, installed


def _opened(root: Path, model: str, version: str, installed: Installed) -> Package:
    package = open_directory(root, trust="signed")
    if package.digest != installed.digest:
        raise DigestError(MANIFEST_NAME, "", f"the signed {installed.digest}", package.digest)
    if (package.name, package.version) != (model, version):
        found = f"{package.name} {package.version}"
        raise ManifestError(MANIFEST_NAME, "name", f"{model} {version}, as it was signed", found)
    return package


def _is_there(folder: Path) -> bool:
    try:
        return stat.S_ISDIR(folder.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        state = (
            f"state is kept in {folder.parent}, and WHEREVER_HOME names another directory for it"
        )
        raise SettingsError(f"{folder}: {error.strerror}; {state}") from error
