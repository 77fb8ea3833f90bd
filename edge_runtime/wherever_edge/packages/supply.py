"""Where the bytes of a package that is being built come from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias
from urllib.parse import unquote, urlsplit

from wherever_contracts.errors import DigestError, DownloadError
from wherever_contracts.manifest import MANIFEST_NAME, FileEntry
from wherever_edge.durable import sync_files, write_synced
from wherever_edge.packages.package import Package
from wherever_edge.transfer import Wanted, final

if TYPE_CHECKING:
    from wherever_edge.packages.catalogue import Entry
    from wherever_edge.transfer import Patience

Progress: TypeAlias = Callable[[int, int | None], None]


class Supply(Protocol):
    """Gives the bytes of one package."""

    def manifest_bytes(self) -> bytes:
        """The bytes of `model.json`."""
        ...

    def put(self, files: Sequence[FileEntry], root: Path) -> None:
        """Put files into the directory of the package, each once.

        Raises:
            PackageError: they are not what the manifest promises.
            DownloadError: one of them could not be had.
        """
        ...


class Source:
    """The network, or a mirror of it.

    Args:
        mirror: a directory with files under their digest or their name; nothing else is asked.
        patience: how long downloads wait.
    """

    def __init__(self, mirror: Path | None, patience: Patience | None) -> None:
        self._mirror = mirror
        self._patience = patience

    def obtain(
        self,
        urls: Sequence[str],
        target: Path,
        wanted: Wanted,
        progress: Progress,
        name: str = "",
    ) -> None:
        """Fetch a file from the first address that has it.

        Args:
            urls: the addresses.
            target: where to put it.
            wanted: its digest and size.
            progress: called with the bytes that have come.
            name: another name that it may have in a mirror.

        Raises:
            DigestError: other bytes than those that are wanted.
            DownloadError: nobody has it, or not now.
        """
        if _complete(target, wanted):
            return None
        if self._mirror is not None:
            urls = (_in_mirror(self._mirror, urls, wanted, name),)
        for url in urls[:-1]:
            try:
                return self._download(url, target, wanted, progress)
            except (DownloadError, DigestError):
                continue
        return self._download(urls[-1], target, wanted, progress)

    def _download(self, url: str, target: Path, wanted: Wanted, progress: Progress) -> None:
        from wherever_edge.downloads import download  # noqa: PLC0415 (only when it is needed)

        download(
            url,
            target,
            sha256=wanted.sha256,
            size=wanted.size,
            max_bytes=wanted.max_bytes,
            progress=progress,
            patience=self._patience,
        )


class Fetching:
    """The files of a model of the catalogue; tells how far all of them are."""

    def __init__(self, entry: Entry, source: Source, downloads: Path, tell: Progress) -> None:
        self._entry = entry
        self._source = source
        self._downloads = downloads
        self._tell = tell

    def manifest_bytes(self) -> bytes:
        """The bytes that the catalogue fixes."""
        return self._entry.manifest_bytes

    def put(self, files: Sequence[FileEntry], root: Path) -> None:
        """Fetch files, or finish what an earlier run had begun to fetch."""
        total, done = sum(file.bytes for file in files), 0
        for file in files:
            self._source.obtain(
                self._entry.urls[file.path],
                self._waiting(file),
                Wanted(file.sha256, file.bytes, file.bytes),
                _counting_from(done, total, self._tell),
                Path(file.path).name,
            )
            done += file.bytes
            self._tell(done, total)
        for file in files:
            self._waiting(file).rename(_made_room(root / file.path))

    def _waiting(self, file: FileEntry) -> Path:
        """Where a file waits for the others."""
        return self._downloads / f"{file.sha256}-{Path(file.path).name}"


class Copying:
    """The files of a package directory, which stays as it is."""

    def __init__(self, package: Package) -> None:
        self._package = package

    def manifest_bytes(self) -> bytes:
        """The bytes that were opened."""
        return self._package.manifest_bytes()

    def put(self, files: Sequence[FileEntry], root: Path) -> None:
        """Copy files, checked."""
        for file in files:
            write_synced(_made_room(root / file.path), [self._package.read(file)])


class Moving:
    """The files of a directory that was unpacked for this alone."""

    def __init__(self, package: Package) -> None:
        self._package = package

    def manifest_bytes(self) -> bytes:
        """The bytes that were unpacked."""
        return self._package.manifest_bytes()

    def put(self, files: Sequence[FileEntry], root: Path) -> None:
        """Move files."""
        for file in files:
            (self._package.root / file.path).rename(_made_room(root / file.path))


def build(
    fresh: Path, files: Sequence[FileEntry], supply: Supply, standing: Package | None
) -> None:
    """Write a package directory, through to the disk.

    Args:
        fresh: the directory, which is not there yet.
        files: what it shall hold.
        supply: gives `model.json`, and the files that are not there yet.
        standing: the same package, with some of the files.

    Raises:
        PackageError: a file is not what the manifest promises.
        DownloadError: a file could not be had.
    """
    fresh.mkdir()
    write_synced(fresh / MANIFEST_NAME, [supply.manifest_bytes()])
    have = {file.path for file in standing.files()} if standing else set[str]()
    if standing is not None:
        Copying(standing).put([file for file in files if file.path in have], fresh)
    supply.put([file for file in files if file.path not in have], fresh)
    sync_files(fresh)


def _made_room(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _complete(path: Path, wanted: Wanted) -> bool:
    """Whether an earlier run, which was killed then, has fetched a file already."""
    if wanted.sha256 is None or not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == wanted.sha256


def _in_mirror(mirror: Path, urls: Sequence[str], wanted: Wanted, name: str) -> str:
    """The address of a file of the mirror: under its digest, or under a name."""
    if not mirror.is_dir():
        raise final(f"the mirror {mirror} is no directory")
    in_urls = [Path(unquote(urlsplit(url).path)).name for url in urls]
    names = [each for each in dict.fromkeys([wanted.sha256, name, *in_urls]) if each]
    for each in names:
        if (mirror / each).is_file():
            return (mirror / each).resolve().as_uri()
    raise final(f"the mirror {mirror} has no file {' or '.join(names)}")


def _counting_from(done: int, total: int, tell: Progress) -> Progress:
    def count(bytes_done: int, _: int | None) -> None:
        tell(done + bytes_done, total)

    return count
