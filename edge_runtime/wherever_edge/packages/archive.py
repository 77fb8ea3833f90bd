"""Archives of packages: written so that equal packages give equal bytes, unpacked without trust.

An archive is a zip file. Everything that can be known of it is checked before a byte is written;
what it really holds is checked while it is written, beside the place where it will stand; and it
appears there with one rename, whole.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import time
from typing import IO

from wherever_contracts.errors import ArchiveError, PackageError
from wherever_contracts.manifest import MANIFEST_NAME
from wherever_edge.durable import sync_directory, write_synced
from wherever_edge.packages import checks
from wherever_edge.packages.inspection import Contents, Limits, opened
from wherever_edge.packages.package import ARCHIVE_SUFFIX, Package, open_directory

_EPOCH = (1980, 1, 1, 0, 0, 0)
_CHUNK = 1024 * 1024
_STAGING = ".unpacking-"
_STALE_S = 24 * 3600


def archive_name(package: Package) -> str:
    """The usual file name: `NAME-VERSION.wherever`."""
    return f"{package.name}-{package.version}{ARCHIVE_SUFFIX}"


def write_archive(package: Package, path: Path) -> None:
    """Write what is here of a package to an archive, which appears whole or not at all.

    The same content gives the same bytes on every machine: nothing is compressed, as zlib's output
    differs between versions, and weights hardly shrink.

    Raises:
        PackageError: a file is not what the manifest promises.
        OSError: the archive cannot be written.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with partial.open("xb") as file:
            _write_zip(package, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    sync_directory(path.parent)


def unpack(archive: Path, into: Path, limits: Limits | None = None) -> Path:
    """Unpack an archive into a directory of its own below `into`.

    A crash at any moment leaves either nothing there or the whole package. An archive that is
    already unpacked there is not unpacked again.

    Args:
        archive: the archive.
        into: the directory that keeps unpacked archives; made when it is not there.
        limits: how much the archive may hold.

    Returns:
        The package's directory.

    Raises:
        PackageError: the archive is refused, or there is no room for it; nothing is left behind.
    """
    try:
        with opened(archive, limits or Limits()) as (zipped, contents):
            return _settle(zipped, contents, archive, into)
    except OSError as error:
        what = error.strerror or str(error)
        raise ArchiveError(archive.name, "", f"to be unpacked into {into}", what) from error


def _write_zip(package: Package, file: IO[bytes]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as zipped:
        zipped.writestr(_info(MANIFEST_NAME), package.manifest_bytes())
        for entry in sorted(package.files(), key=lambda entry: entry.path):
            zipped.writestr(_info(entry.path), package.read(entry))


def _info(path: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(path, _EPOCH)
    info.create_system = 3
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    return info


def _settle(zipped: zipfile.ZipFile, contents: Contents, archive: Path, into: Path) -> Path:
    """Unpack beside the place where the package will stand, and move it there."""
    target = into / contents.folder
    if _stands(target, contents):
        return target
    into.mkdir(parents=True, exist_ok=True)
    _sweep(into)
    _check_room(contents, archive, into)
    with tempfile.TemporaryDirectory(
        prefix=_STAGING, dir=into, ignore_cleanup_errors=True
    ) as staging:
        fresh = Path(staging) / "new"
        _write_tree(zipped, contents, fresh)
        open_directory(fresh)
        _place(fresh, target, contents)
    sync_directory(into)
    return target


def _place(fresh: Path, target: Path, contents: Contents) -> None:
    """Move what was unpacked to its place, unless another process was faster."""
    if target.exists() and not _stands(target, contents):
        target.rename(fresh.with_name("damaged"))
    try:
        fresh.rename(target)
    except OSError:
        if not _stands(target, contents):
            raise


def _stands(target: Path, contents: Contents) -> bool:
    try:
        return open_directory(target).digest == contents.digest
    except PackageError:
        return False


def _sweep(into: Path) -> None:
    """Remove what processes that were killed left behind; none takes a day to unpack."""
    for leftover in into.glob(f"{_STAGING}*"):
        with suppress(OSError):
            if leftover.stat().st_mtime < time() - _STALE_S:
                shutil.rmtree(leftover)


def _check_room(contents: Contents, archive: Path, into: Path) -> None:
    needed = sum(info.file_size for info in contents.entries.values())
    free = shutil.disk_usage(into).free
    if needed > free:
        expected = f"{needed} bytes of room in {into}"
        raise ArchiveError(archive.name, "", expected, f"{free} bytes free")


def _write_tree(zipped: zipfile.ZipFile, contents: Contents, root: Path) -> None:
    root.mkdir()
    write_synced(root / MANIFEST_NAME, [contents.manifest_bytes])
    folders = {root}
    written: set[str] = set()
    for listed in checks.listed_files(contents.manifest):
        path = listed.entry.path
        if path in contents.entries and path not in written:
            written.add(path)
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            folders.update(parent for parent in target.parents if parent.is_relative_to(root))
            with zipped.open(contents.entries[path]) as source:
                write_synced(target, _checked(source, listed))
    for folder in folders:
        sync_directory(folder)


def _checked(source: IO[bytes], listed: checks.Listed) -> Iterator[bytes]:
    """The chunks of a file, and a refusal at the end when they are not what was promised.

    zipfile gives no more bytes than the entry declares, and that was compared with the manifest.
    """
    digest, size = hashlib.sha256(), 0
    while chunk := source.read(_CHUNK):
        size += len(chunk)
        digest.update(chunk)
        yield chunk
    checks.check_size(listed, size)
    checks.check_digest(listed, digest.hexdigest())
