"""Adding packages to this machine, from the catalogue, a directory, an archive or an address.

Whatever its source, a package is built in a staging directory, every digest is checked there, and
it moves to its place in one step.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from wherever_contracts.errors import (
    DigestError,
    InputError,
    ModelNotFoundError,
    PackageError,
)
from wherever_contracts.manifest import MANIFEST_NAME, Variant
from wherever_edge.packages import catalogue, versions
from wherever_edge.packages.inspection import Limits
from wherever_edge.packages.package import ARCHIVE_SUFFIX, Package, open_directory
from wherever_edge.packages.shelf import Shelf
from wherever_edge.packages.supply import (
    Copying,
    Fetching,
    Moving,
    Progress,
    Source,
    Supply,
    build,
)
from wherever_edge.transfer import Wanted, shown

if TYPE_CHECKING:
    from wherever_edge.packages.catalogue import Entry
    from wherever_edge.packages.store import Store
    from wherever_edge.transfer import Patience

_SCHEMES = ("http", "https", "file")
_BARE = (".onnx", ".tflite", ".xml", ".bin")


def is_address(source: str) -> bool:
    """Whether a source is an address, and not a name or a path."""
    return urlsplit(source).scheme in _SCHEMES


class Installer:
    """Adds packages to `home/models`, and removes them.

    Args:
        home: the state directory.
        mirror: a directory that has the files under their digest or their name; then nothing is
            asked of the network.
        progress: called with the bytes that have come and the bytes to come (None: not known).
        patience: how long downloads wait.
    """

    def __init__(
        self,
        home: Path,
        *,
        mirror: Path | None = None,
        progress: Progress | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._home = home
        self._shelf = Shelf(home / "models")
        self._source = Source(mirror, patience)
        self._tell = progress or _tell_nobody

    def install(
        self,
        source: str,
        *,
        sha256: str | None = None,
        replace: bool = False,
        every_variant: bool = False,
    ) -> Package:
        """Add a package.

        Args:
            source: a name of the catalogue, also as "name@version"; a package directory or an
                archive; or the http, https or file address of an archive.
            sha256: the digest (hex) that an archive must have.
            replace: put it in the place of another one with the same name and version.
            every_variant: of a model of the catalogue, also fetch the variants that are not meant
                for devices.

        Returns:
            The package in its place, with every digest checked.

        Raises:
            ModelNotFoundError: the source is neither in the catalogue nor on the disk.
            InputError: the source is a bare model file, or the options do not fit it.
            PackageError: the package is refused; nothing has changed.
            DownloadError: a file could not be had; what came of it is kept for the next try.
        """
        sha256 = sha256 and _checked_digest(sha256)
        entry = catalogue.find(source)
        if entry is not None:
            _refuse_digest(sha256, source)
            return self._from_catalogue(entry, replace=replace, every_variant=every_variant)
        if is_address(source):
            return self._from_address(source, sha256, replace=replace)
        path = Path(source)
        if path.is_dir():
            _refuse_digest(sha256, source)
            return self._from_directory(path, replace=replace)
        if not path.is_file():
            raise ModelNotFoundError(_not_found(source))
        _refuse_bare(path.name, source)
        with self._shelf.staging() as staging:
            return self._unpacked(path, staging, source, sha256, replace=replace)

    def fetch(self, name: str, *, every_variant: bool = False) -> Package:
        """Fetch a model of the catalogue, unless all of it is here.

        Raises:
            ModelNotFoundError: the catalogue has no such model.
            PackageError: what came is not what the catalogue promises.
            DownloadError: a file could not be had; what came of it is kept for the next try.
        """
        entry = catalogue.find(name)
        if entry is None:
            raise ModelNotFoundError(_not_found(name))
        return self._from_catalogue(entry, replace=False, every_variant=every_variant)

    def origin(self, package: Package) -> str:
        """Where a package that was added came from, or ""."""
        return self._shelf.origin(package)

    def remove(self, model: str, store: Store, *, every_version: bool = False) -> list[Path]:
        """Take a package away that was added.

        Args:
            model: its name, also as "name@version".
            store: the packages that are known, to say why one cannot be removed.
            every_version: take every version of it.

        Returns:
            The directories that are gone.

        Raises:
            ModelNotFoundError: it was not added, or has several versions and none is named.
        """
        name, _, wanted = model.partition("@")
        with self._shelf.staging() as staging:
            have = self._shelf.versions(name)
            chosen = have if every_version and not wanted else _one(name, wanted, have, store)
            return [self._shelf.remove(name, version, staging) for version in chosen]

    def _from_catalogue(self, entry: Entry, *, replace: bool, every_variant: bool) -> Package:
        chosen = entry.manifest.variants if every_variant else entry.variants_for("device")
        with self._shelf.staging() as staging:
            package = entry.package(staging / "package", chosen)
            supply = Fetching(entry, self._source, self._shelf.downloads, self._tell)
            return self._add(package, supply, staging, "the catalogue", replace=replace)

    def _from_directory(self, path: Path, *, replace: bool) -> Package:
        package = open_directory(path)
        with self._shelf.staging() as staging:
            source = str(package.root)
            return self._add(package, Copying(package), staging, source, replace=replace)

    def _from_address(self, url: str, sha256: str | None, *, replace: bool) -> Package:
        _refuse_bare(urlsplit(url).path, url)
        name = sha256 or hashlib.sha256(url.encode()).hexdigest()
        archive = self._shelf.downloads / f"{name}{ARCHIVE_SUFFIX}"
        with self._shelf.staging() as staging:
            wanted = Wanted(sha256, None, Limits().total_bytes)
            self._source.obtain((url,), archive, wanted, self._tell)
            try:
                return self._unpacked(archive, staging, shown(url), sha256, replace=replace)
            finally:
                archive.unlink(missing_ok=True)

    def _unpacked(
        self, archive: Path, staging: Path, source: str, sha256: str | None, *, replace: bool
    ) -> Package:
        from wherever_edge.packages.archive import unpack  # noqa: PLC0415 (zipfile costs 8 ms)

        if sha256 is not None:
            _check_digest(archive, sha256)
        package = open_directory(unpack(archive, staging / "unpacked"))
        return self._add(package, Moving(package), staging, source, replace=replace)

    def _add(
        self, package: Package, supply: Supply, staging: Path, source: str, *, replace: bool
    ) -> Package:
        """Build a package beside its place, with the variants that stand there already."""
        standing = self._shelf.standing(package.name, package.version)
        if standing is not None and standing.digest != package.digest:
            if not replace or standing.name != package.name:
                raise _other_package(standing, source)
            standing = None
        variants = _united(package, standing)
        if standing is not None and variants == standing.present():
            return standing
        whole = Package(package.root, package.manifest, package.digest, "local", variants)
        fresh = staging / "package"
        build(fresh, whole.files(), supply, standing)
        return self._shelf.place(_proven(fresh, self._home), staging, source)


def _proven(root: Path, home: Path) -> Package:
    """A package with every digest checked, and every golden sample that can be checked here.

    Raises:
        PackageError: a file is not what it should be, or gives other answers than it should.
    """
    package = open_directory(root)
    package.verify()
    if package.manifest.golden:
        _check_golden(package, home)
    return package


def _check_golden(package: Package, home: Path) -> None:
    """Check every variant that can run here, and remember what passed: it serves at once."""
    from wherever_edge.host import LocalHost  # noqa: PLC0415 (numpy, and engines)
    from wherever_edge.packages.golden import check_golden  # noqa: PLC0415
    from wherever_edge.packages.store import Store  # noqa: PLC0415
    from wherever_edge.proving import Proving  # noqa: PLC0415

    host = LocalHost(Store(builtin=False), distance="device", proves=False)
    proving = Proving(host.machine, home)
    try:
        for variant, reason in host.choices(package):
            if not reason:
                loaded = host.load(package, variant)
                check_golden(loaded)
                proving.remember(loaded)
    finally:
        host.close()


def _united(package: Package, standing: Package | None) -> tuple[Variant, ...]:
    """The variants that either has, in the manifest's order."""
    have = {variant.id for each in (package, standing) if each for variant in each.present()}
    return tuple(variant for variant in package.manifest.variants if variant.id in have)


def _check_digest(archive: Path, sha256: str) -> None:
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise DigestError(archive.name, "sha256", sha256, found)


def _checked_digest(sha256: str) -> str:
    if not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise InputError("sha256", "64 hexadecimal digits", repr(sha256), kind="argument")
    return sha256.lower()


def _refuse_digest(sha256: str | None, source: str) -> None:
    if sha256 is not None:
        raise InputError("sha256", "an archive to check with it", source, kind="argument")


def _refuse_bare(name: str, source: str) -> None:
    if Path(name).suffix.lower() in _BARE:
        expected = (
            "a package; a bare model file needs none (wherever.open(FILE, task=...), or "
            "`wherever predict FILE --task ...`) or becomes one with `wherever pack`"
        )
        raise InputError("source", expected, source, kind="argument")


def _other_package(standing: Package, source: str) -> PackageError:
    expected = f"the {standing.name} {standing.version} that is installed, or --replace"
    found = f"another one with the same version, from {source}"
    return PackageError(MANIFEST_NAME, "version", expected, found)


def _not_found(source: str) -> str:
    known = catalogue.names()
    near = difflib.get_close_matches(source.partition("@")[0], known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return (
        f"{source!r} is no file or directory here, and the catalogue has no such model "
        f"(it has: {', '.join(known)}){hint}"
    )


def _one(name: str, wanted: str, have: Sequence[str], store: Store) -> list[str]:
    """The version to remove, when it is clear which one is meant."""
    if not wanted and len(have) > 1:
        raise ModelNotFoundError(
            f"{name} was added in {len(have)} versions ({', '.join(have)}): name one, as "
            f"{name}@{have[-1]}, or say --all"
        )
    version = versions.choose(wanted, have)
    if version is None:
        raise ModelNotFoundError(_not_added(name, wanted, store))
    return [version]


def _not_added(name: str, wanted: str, store: Store) -> str:
    model = f"{name} {wanted}".strip()
    for package in store.list():
        if package.name != name or not versions.choose(wanted, [package.version]):
            continue
        if package.trust == "wheel":
            return f"{model} came inside wherever itself, and cannot be removed"
        if package.trust == "signed":
            return f"{model} came by a signed update: its channel decides what is installed"
        return f"{model} was not added: it lies in {package.root}, which is yours to delete"
    return f"{model} was not added here (see: wherever models)"


def _tell_nobody(done: int, total: int | None) -> None:
    """Nobody is looking."""
