"""Output that appears whole or not at all: made beside its place, moved there at the end."""

from __future__ import annotations

import errno
import glob
import os
import re
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from wherever_contracts.errors import ConversionError, PackageError
from wherever_edge.durable import lock
from wherever_edge.packages import versions
from wherever_edge.packages.archive import write_archive
from wherever_edge.packages.package import ARCHIVE_SUFFIX, Package, open_directory
from wherever_edge.packages.store import open_package

_CORE = re.compile(r"(\d+)\.(\d+)\.(\d+)")
_LOCK = "lock"
# What systems say when something is where a directory shall be moved to.
_TAKEN = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR})


def check_output(output: Path) -> None:
    """Refuse a place where something is.

    Raises:
        ConversionError: it exists and is no empty directory, or its parent does not exist.
    """
    if not output.resolve().parent.is_dir():
        raise ConversionError(f"{output}: the directory {output.parent} does not exist")
    if output.is_symlink() or output.is_file():
        raise ConversionError(f"{output} exists already; name another output")
    if output.is_dir() and (any(output.iterdir()) or is_archive(output)):
        raise ConversionError(f"{output} exists and is not empty; name another output")


def is_archive(output: Path) -> bool:
    """True when an archive is wanted there."""
    return output.suffix == ARCHIVE_SUFFIX


@contextmanager
def staging(output: Path) -> Generator[Path]:
    """An empty directory on the file system of `output`; gone when the block ends.

    What a process left there that was killed while it made the same output is removed.

    Raises:
        ConversionError: nothing can be written there, or the block filled the disk.
    """
    parent = output.resolve().parent
    prefix = f".{output.name}."
    for old in parent.glob(f"{glob.escape(prefix)}*/{_LOCK}"):
        _remove_deserted(old)
    try:
        made = tempfile.TemporaryDirectory(prefix=prefix, dir=parent)
    except OSError as error:
        raise ConversionError(
            f"{output}: nothing can be written in {parent} ({error.strerror})"
        ) from error
    with made as name, _locked(Path(name, _LOCK)):
        work = Path(name, "work")
        work.mkdir()
        with _space_is_left(parent):
            yield work


@contextmanager
def _space_is_left(folder: Path) -> Generator[None]:
    """Say where there is no space: systems often do not."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise ConversionError(f"no space is left in {folder}") from error


@contextmanager
def _locked(path: Path) -> Generator[None]:
    """Show others that the directory is in use; it shows no more when this process ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        lock(descriptor, wait=True)
        yield
    finally:
        os.close(descriptor)


def _remove_deserted(held: Path) -> None:
    """Remove a directory whose process has ended; it is nobody's error when that cannot be."""
    with suppress(OSError):
        descriptor = os.open(held, os.O_RDWR)
        try:
            lock(descriptor, wait=False)
        finally:
            os.close(descriptor)
        shutil.rmtree(held.parent, ignore_errors=True)


def settle(root: Path, output: Path) -> Package:
    """Move a finished package directory to its place, or write its archive there.

    Raises:
        ConversionError: the place was taken meanwhile.
    """
    if is_archive(output):
        check_output(output)
        package = open_directory(root)
        write_archive(package, output)
        return package
    try:
        root.replace(output)
    except OSError as error:
        if error.errno not in _TAKEN:
            raise
        raise ConversionError(
            f"{output} was made by another process meanwhile; name another output"
        ) from error
    return open_directory(output)


def exchange(fresh: Path, place: Path) -> None:
    """Put a finished directory where another one is; that one comes back if it fails.

    Between the two renames there is nothing at `place` for an instant; if the process dies just
    then, what was there is beside it as `.NAME.old`.
    """
    aside = place.with_name(f".{place.name}.old")
    if aside.exists():
        shutil.rmtree(aside)
    place.rename(aside)
    try:
        fresh.rename(place)
    except OSError:
        aside.rename(place)
        raise
    shutil.rmtree(aside)


def next_version(current: str, wanted: str | None) -> str:
    """The version that follows: the one wanted, or else the next minor one.

    Raises:
        ConversionError: the one wanted is not above the current one, or there is no next one.
    """
    if wanted is None:
        match = _CORE.match(current)
        if match is None:
            raise ConversionError(f"version {current} has no next one; give one (--version)")
        return f"{match[1]}.{int(match[2]) + 1}.0"
    try:
        newer = versions.precedence(wanted) > versions.precedence(current)
    except ValueError as error:
        raise ConversionError(f"version: {error}") from error
    if not newer:
        raise ConversionError(f"the new version must be above {current}, not {wanted}")
    return wanted


def settle_over(root: Path, given: Path, place: Path, *, replaces: bool) -> Package:
    """Put a finished package at `place`, or, where it replaces it, where the given one is.

    Raises:
        PackageError: what was given is neither a directory nor an archive.
        ConversionError: the place was taken meanwhile.
    """
    if not replaces:
        return settle(root, place)
    made = open_package(root)
    if given.is_dir():
        exchange(root, place)
        return open_package(place)
    if not is_archive(place):
        raise PackageError(str(given), "", "a package directory or an archive", "something else")
    write_archive(made, place)
    return made
