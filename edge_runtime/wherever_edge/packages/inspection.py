"""What can be known of an archive before a byte of it is written. Opens zip files, writes none."""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Literal, NamedTuple

from wherever_contracts.errors import ArchiveError, MissingFileError, UnsafePathError
from wherever_contracts.manifest import (
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    Manifest,
    parse_manifest,
)
from wherever_edge.packages import checks

_MIB = 1024 * 1024
_LOCAL_HEADER_SIZE = 30
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_KINDS: Final[dict[int, Literal["file", "link"]]] = {
    0: "file",
    stat.S_IFREG: "file",
    stat.S_IFLNK: "link",
}
# The ends of a zip file: APPNOTE.TXT 4.3.14 (zip64 end), 4.3.15 (its locator), 4.3.16 (end).
_END64 = struct.Struct("<4s36xQ8x")
_LOCATOR = struct.Struct("<4s4xQ4x")
_END = struct.Struct("<4s8xI4xH")
# What zipfile and zlib raise for damaged archives, besides OSError.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    NotImplementedError,
    RuntimeError,
)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much an archive may hold.

    Attributes:
        files: entries.
        directory_bytes: the zip's own table of entries; bounds what opening it costs.
        total_bytes: everything, unpacked.
        ratio: times that everything unpacked may be larger than the archive (above 1 MiB).
    """

    files: int = 10_000
    directory_bytes: int = 4 * 1024**2
    total_bytes: int = 4 * 1024**3
    ratio: int = 200


class Contents(NamedTuple):
    """What a checked archive holds."""

    manifest: Manifest
    manifest_bytes: bytes
    entries: dict[str, zipfile.ZipInfo]

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.manifest_bytes).hexdigest()

    @property
    def folder(self) -> str:
        """Where it is unpacked to: packages of one version that differ have places of their own."""
        return f"{self.manifest.name}-{self.manifest.version}-{self.digest[:16]}"


@contextmanager
def opened(
    archive: Path, limits: Limits
) -> Generator[tuple[zipfile.ZipFile, Contents], None, None]:
    """Open an archive and check all that can be checked without unpacking it.

    Raises:
        PackageError: it is refused; damage that shows only inside the block is told so too.
    """
    with archive.open("rb") as file, _damage_told(archive):
        _check_directory(file, archive, limits)
        with zipfile.ZipFile(file) as zipped:
            yield zipped, _contents(zipped, archive, limits)


def _check_directory(file: IO[bytes], archive: Path, limits: Limits) -> None:
    """Bound the table of entries before zipfile reads all of it into memory."""
    end = os.fstat(file.fileno()).st_size
    tail_size = min(end, _END.size + _LOCATOR.size + _END64.size)
    file.seek(end - tail_size)
    size = _directory_size(file.read(tail_size), end)
    if size is None:
        raise ArchiveError(archive.name, "", "a zip file without a comment", "something else")
    if size > limits.directory_bytes:
        expected = f"a table of entries of at most {limits.directory_bytes} bytes"
        raise ArchiveError(archive.name, "", expected, f"{size} bytes")


def _directory_size(tail: bytes, end: int) -> int | None:
    """The size that zipfile will read, or None when the end is not one that we write."""
    if len(tail) < _END.size:
        return None
    magic, size, comment = _END.unpack(tail[-_END.size :])
    if magic != b"PK\x05\x06" or comment:
        return None
    before = tail[: -_END.size]
    if len(before) < _LOCATOR.size + _END64.size or before[-_LOCATOR.size :][:4] != b"PK\x06\x07":
        return int(size)
    _, offset = _LOCATOR.unpack(before[-_LOCATOR.size :])
    magic, size64 = _END64.unpack(before[: -_LOCATOR.size])
    consistent = magic == b"PK\x06\x06" and offset == end - len(tail)
    return int(size64) if consistent else None


def _contents(zipped: zipfile.ZipFile, archive: Path, limits: Limits) -> Contents:
    infos = zipped.infolist()
    _check_amount(infos, archive, limits)
    _check_layout(infos, zipped.start_dir, archive)
    entries = _by_name(infos)
    if MANIFEST_NAME not in entries:
        raise MissingFileError(MANIFEST_NAME, "", f"the manifest, in {archive.name}", "nothing")
    data = _read_manifest(zipped, entries[MANIFEST_NAME])
    manifest = parse_manifest(data)
    checks.check_manifest(manifest)
    checks.check_listing(manifest, (_found(name, info) for name, info in entries.items()))
    return Contents(manifest, data, entries)


def _check_amount(infos: list[zipfile.ZipInfo], archive: Path, limits: Limits) -> None:
    packed = archive.stat().st_size
    total = sum(info.file_size for info in infos)
    for expected, found, most in (
        ("files", len(infos), limits.files),
        ("bytes unpacked", total, limits.total_bytes),
        ("bytes unpacked for its size", total, limits.ratio * packed + _MIB),
    ):
        if found > most:
            raise ArchiveError(archive.name, "", f"at most {most} {expected}", str(found))


def _check_layout(infos: Iterable[zipfile.ZipInfo], end: int, archive: Path) -> None:
    """Refuse entries that share bytes: one compressed blob could be unpacked many times."""
    start = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < start:
            raise ArchiveError(info.filename, "", "bytes of its own", "those of another entry too")
        start = info.header_offset + _LOCAL_HEADER_SIZE + info.compress_size
    if start > end:
        raise ArchiveError(archive.name, "", "entries before the table of entries", "more bytes")


def _by_name(infos: Iterable[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    entries: dict[str, zipfile.ZipInfo] = {}
    keys: set[str] = set()
    for info in infos:
        name = info.orig_filename.removesuffix("/")
        why = checks.unsafe(name)
        if why:
            raise UnsafePathError(name, "", "a plain relative path", why)
        if checks.clash_key(name) in keys:
            raise ArchiveError(name, "", "every name once", "the same name again")
        _check_readable(info)
        keys.add(checks.clash_key(name))
        entries[name] = info
    return entries


def _check_readable(info: zipfile.ZipInfo) -> None:
    if info.flag_bits & _ENCRYPTED:
        raise ArchiveError(info.filename, "", "plain bytes", "an encrypted entry")
    if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        found = f"compression method {info.compress_type}"
        raise ArchiveError(info.filename, "", "a stored or deflated entry", found)
    if info.filename != info.orig_filename:  # zipfile has read another name from an extra field
        raise ArchiveError(info.orig_filename, "", "one name", repr(info.filename))


def _found(name: str, info: zipfile.ZipInfo) -> checks.Found:
    form = stat.S_IFMT(info.external_attr >> 16)
    if info.is_dir():
        plain = form in {0, stat.S_IFDIR} and not info.file_size
        return checks.Found(name, "dir" if plain else "other")
    return checks.Found(name, _KINDS.get(form, "other"), info.file_size)


def _read_manifest(zipped: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    if info.file_size > MAX_MANIFEST_BYTES:
        expected = f"at most {MAX_MANIFEST_BYTES} bytes"
        raise ArchiveError(MANIFEST_NAME, "", expected, f"{info.file_size} bytes")
    return zipped.read(info)


@contextmanager
def _damage_told(archive: Path) -> Generator[None, None, None]:
    try:
        yield
    except _DAMAGE as error:
        what = str(error) or type(error).__name__
        raise ArchiveError(archive.name, "", "an archive that can be read", what) from error
