"""The directory of packages that were added: each appears whole, and goes in one step.

A package is built in a staging directory of the shelf and renamed into its place. One that takes
another's place stands beside it for a moment, so that a crash at any instant leaves the old one or
the new one for readers to find; what it leaves besides is tidied by the next who changes something.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import time

from wherever_contracts.errors import PackageError
from wherever_edge.durable import sync_directory, write_durably
from wherever_edge.packages import versions
from wherever_edge.packages.package import Package, open_directory
from wherever_edge.private_files import locked

_STAGING = ".staging-"
_DOWNLOADS = ".downloads"
_ORIGINS = ".origins"
_NEW = "~new"
_STALE_S = 7 * 24 * 3600


class Shelf:
    """Packages that were added.

    Args:
        root: the directory; made with the first package.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def downloads(self) -> Path:
        """Where files wait, by digest, until they are complete."""
        return self.root / _DOWNLOADS

    @contextmanager
    def staging(self) -> Generator[Path, None, None]:
        """An empty directory to build in, while no other process changes anything here.

        What is left in it is removed at the end.
        """
        with locked(self.root):
            self._tidy()
            staging = Path(tempfile.mkdtemp(prefix=_STAGING, dir=self.root))
            try:
                yield staging
            finally:
                shutil.rmtree(staging, ignore_errors=True)

    def place_of(self, name: str, version: str) -> Path:
        """The directory of a package."""
        return self.root / f"{name}-{version}"

    def standing(self, name: str, version: str) -> Package | None:
        """The package that is there, or None when there is none or it is damaged."""
        try:
            package = open_directory(self.place_of(name, version))
            package.verify()
        except PackageError:
            return None
        return package

    def place(self, package: Package, staging: Path, source: str) -> Package:
        """Move a package, which was built in the staging directory and checked, to its place."""
        fresh, target = package.root, self.place_of(package.name, package.version)
        self._note_origin(package, source)
        if target.exists():
            beside = target.with_name(target.name + _NEW)
            fresh.rename(beside)
            target.rename(staging / "old")
            beside.rename(target)
        else:
            fresh.rename(target)
        sync_directory(self.root)
        return open_directory(target)

    def versions(self, name: str) -> list[str]:
        """The versions of a model that are here, damaged ones too, in order."""
        found = [path.name.removeprefix(f"{name}-") for path in self._packages(name)]
        return sorted(found, key=versions.precedence)

    def remove(self, name: str, version: str, staging: Path) -> Path:
        """Take a package away, whole and at once.

        Raises:
            OSError: it cannot be moved.
        """
        target = self.place_of(name, version)
        target.rename(staging / f"{name}-{version}")
        sync_directory(self.root)
        self._origin_file(name, version).unlink(missing_ok=True)
        return target

    def origin(self, package: Package) -> str:
        """Where a package of this directory came from, or "" when nobody wrote it down."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            note = json.loads(self._origin_file(package.name, package.version).read_bytes())
            if package.root.parent == self.root.resolve() and note["digest"] == package.digest:
                return str(note["source"])
        return ""

    def _note_origin(self, package: Package, source: str) -> None:
        file = self._origin_file(package.name, package.version)
        file.parent.mkdir(exist_ok=True)
        write_durably(file, json.dumps({"digest": package.digest, "source": source}).encode())

    def _origin_file(self, name: str, version: str) -> Path:
        return self.root / _ORIGINS / f"{name}-{version}.json"

    def _packages(self, name: str) -> Iterator[Path]:
        """The directories of a model; "a-1.0.0" is another model than "a", whose version is odd."""
        for path in self.root.glob("*") if self.root.is_dir() else ():
            version = path.name.removeprefix(f"{name}-")
            if version != path.name and _is_version(version) and self._may_be(name, path):
                yield path

    def _may_be(self, name: str, path: Path) -> bool:
        try:
            return open_directory(path).name == name
        except PackageError:
            return True

    def _tidy(self) -> None:
        """Finish or undo what a process that was killed had begun."""
        for beside in self.root.glob(f"*{_NEW}"):
            target = beside.with_name(beside.name.removesuffix(_NEW))
            if target.exists():
                shutil.rmtree(beside, ignore_errors=True)
            else:
                beside.rename(target)
        for leftover in self.root.glob(f"{_STAGING}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        for file in self.downloads.glob("*"):
            with suppress(OSError):
                if file.stat().st_mtime < time() - _STALE_S:
                    file.unlink()


def _is_version(text: str) -> bool:
    try:
        versions.precedence(text)
    except ValueError:
        return False
    return True
