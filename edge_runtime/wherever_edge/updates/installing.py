"""From a signed release to a verified package in its place."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from wherever_contracts.errors import DigestError, EngineError, PackageError, UpdateError
from wherever_contracts.manifest import MANIFEST_NAME
from wherever_contracts.places import Place
from wherever_edge.downloads import Progress, download
from wherever_edge.durable import sync_directory
from wherever_edge.packages.package import Package, open_directory
from wherever_edge.transfer import Patience
from wherever_edge.updates.registry import Release
from wherever_edge.updates.state import Installed

MAX_ARCHIVE_BYTES = 4 * 1024**3

Proof: TypeAlias = Callable[[Package], None]


class Installer:
    """Puts releases into a directory of packages, each whole and proven, or not at all.

    Args:
        folder: the update agent's directory.
        prove: what a package must pass on this machine before it is put into its place.
        patience: how long a download waits, and how often it tries.
    """

    def __init__(self, folder: Path, prove: Proof, patience: Patience) -> None:
        self.packages = folder / "packages"
        self.staging = folder / "staging"
        self._prove = prove
        self._patience = patience
        self._refused: dict[str, PackageError | EngineError] = {}

    def stands(self, release: Release, installed: Installed, *, thorough: bool) -> bool:
        """Whether what is installed is this release, and still whole.

        Args:
            release: what was signed.
            installed: what is installed as this version.
            thorough: read every byte, not sizes alone.
        """
        return self._opened(self.packages / installed.folder, release, thorough) is not None

    def install(
        self, release: Release, progress: Progress | None, *, again: bool = True
    ) -> Installed:
        """Fetch, unpack, verify and prove a release, and put it into its place.

        A crash at any moment leaves the place empty or holding the whole package.

        Args:
            release: what was signed.
            progress: called with the bytes of the archive that are here, and the bytes in all.
            again: also try what this installer has refused before; else that is refused at once,
                so that a fleet does not fetch a bad release over and over.

        Raises:
            PackageError: it is not what was signed, or did not prove itself here.
            DownloadError: it cannot be had now; what has come is kept for the next time.
            UpdateError: there is no room for it.
            EngineError: it cannot run here.
            OSError: the disk failed.
        """
        refused = self._refused.get(release.archive_sha256)
        if refused is not None and not again:
            raise refused.with_traceback(None)
        for child in self.packages.glob(f"{release.name}-{release.version}-*"):
            package = self._opened(child, release, thorough=True)
            if package is not None:
                self._prove(package)
                return _installed(child, release)
        archive = self._fetch(release, progress)
        try:
            place = self._settle(self._unpacked(archive, release))
        except (PackageError, EngineError) as error:
            self._refused[release.archive_sha256] = error
            raise
        finally:
            archive.unlink()
        return _installed(place, release)

    def tidy(self, folders: set[str]) -> None:
        """Remove what was staged, and packages that are not among `folders`."""
        shutil.rmtree(self.staging, ignore_errors=True)
        for child in self.packages.glob("*"):
            if child.name not in folders:
                shutil.rmtree(child, ignore_errors=True)

    def _fetch(self, release: Release, progress: Progress | None) -> Path:
        self.staging.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self._unpacking, ignore_errors=True)
        archive = self.staging / release.archive_sha256
        partial = archive.with_name(f"{archive.name}.partial")
        have = partial.stat().st_size if partial.exists() else 0
        needed = 2 * release.archive_bytes - have
        free = shutil.disk_usage(self.staging).free
        if needed > free:
            what = f"{release.name} {release.version} needs {needed} bytes of room"
            raise UpdateError(f"{what} in {self.staging}, and {free} are free", "disk")
        return download(
            release.url,
            archive,
            sha256=release.archive_sha256,
            size=release.archive_bytes,
            max_bytes=MAX_ARCHIVE_BYTES,
            progress=progress,
            patience=self._patience,
        )

    @property
    def _unpacking(self) -> Path:
        return self.staging / "unpacking"

    def _unpacked(self, archive: Path, release: Release) -> Path:
        from wherever_edge.packages.archive import unpack  # noqa: PLC0415 (zipfile costs 8 ms)

        root = unpack(archive, self._unpacking)
        package = open_directory(root, trust="signed")
        if package.digest != release.digest:
            expected = f"the signed {release.digest}"
            raise DigestError(MANIFEST_NAME, "", expected, package.digest)
        if (package.name, package.version) != (release.name, release.version):
            expected = f"{release.name} {release.version}, as it was signed"
            found = f"{package.name} {package.version}"
            raise PackageError(MANIFEST_NAME, "name", expected, found)
        package.verify()
        self._prove(package)
        return root

    def _settle(self, root: Path) -> Path:
        self.packages.mkdir(exist_ok=True)
        place = self.packages / root.name
        if place.exists():  # damaged: an intact one would have been taken
            place.rename(self.staging / f"damaged-{secrets.token_hex(4)}")
        root.replace(place)
        sync_directory(self.packages)
        return place

    def _opened(self, root: Path, release: Release, thorough: bool) -> Package | None:  # noqa: FBT001
        try:
            package = open_directory(root, trust="signed")
            if package.digest != release.digest:
                return None
            if thorough:
                package.verify()
        except PackageError:
            return None
        return package


def golden_proof(distance: Place, home: Path) -> Proof:
    """What proves a package on this machine: the variant that it would run answers as it should.

    Args:
        distance: where this machine stands as its callers see it.
        home: where what passed is remembered, so that it is not checked again when it serves.
    """

    def prove(package: Package) -> None:
        from wherever_edge.host import LocalHost  # noqa: PLC0415 (numpy, engines)
        from wherever_edge.packages.golden import check_golden  # noqa: PLC0415
        from wherever_edge.packages.store import Store  # noqa: PLC0415
        from wherever_edge.proving import Proving  # noqa: PLC0415

        host = LocalHost(Store(builtin=False), distance=distance, proves=False)
        try:
            loaded = host.resolve_package(package)
            check_golden(loaded)
            Proving(host.machine, home).remember(loaded)
        finally:
            host.close()

    return prove


def _installed(place: Path, release: Release) -> Installed:
    return Installed(
        folder=place.name,
        digest=release.digest,
        archive_sha256=release.archive_sha256,
        archive_bytes=release.archive_bytes,
        verified_at=time.time(),
    )
