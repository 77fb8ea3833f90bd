"""A device's view of its registry: refreshed, checked by The Update Framework, and in our words."""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wherever_contracts.errors import DigestError, DownloadError, UpdateError
from wherever_edge.downloads import download
from wherever_edge.durable import sync_files, write_durably
from wherever_edge.transfer import Patience, shown
from wherever_edge.updates.layout import (
    CHANNELS_TARGET,
    MAX_CHANNELS_BYTES,
    Channels,
    file_url,
    package_target,
    parse_channels,
    signed_digest,
)

if TYPE_CHECKING:
    from tuf.ngclient import TargetFile, Updater

    from wherever_edge.updates.fetcher import Fetcher

MAX_ROOT_BYTES = 512_000

# kind -> what python-tuf's error of that name means here; the first one that fits is said
_WORDS = {
    "ExpiredMetadataError": (
        "expired",
        "the registry's state has expired: `wherever repo refresh` was forgotten, or it is frozen",
    ),
    "BadVersionNumberError": (
        "rolled_back",
        "the registry shows an older state than this device has seen",
    ),
    "UnsignedMetadataError": (
        "wrong_key",
        "the registry's state is not signed by the keys that this device trusts",
    ),
    "LengthOrHashMismatchError": (
        "tampered",
        "a file of the registry is not the one that was signed",
    ),
    "DownloadLengthMismatchError": (
        "oversize",
        "the registry sends more than such a file may hold",
    ),
    "SlowRetrievalError": ("slow", "the registry is too slow"),
    "DownloadHTTPError": ("unreachable", "the registry does not have what it should"),
    "DownloadError": ("unreachable", "the registry cannot be reached"),
    "RepositoryError": ("tampered", "a file of the registry is damaged"),
}


@dataclass(frozen=True, slots=True)
class Release:
    """A version of a model, as it was signed.

    Attributes:
        url: where its archive is.
        archive_sha256: the archive's digest.
        archive_bytes: the archive's length.
        digest: the package's digest.
    """

    name: str
    version: str
    url: str
    archive_sha256: str
    archive_bytes: int
    digest: str


class Registry:
    """A registry as this device may believe it.

    The first root that a device is given is kept, and only what its keys signed, or the keys of
    later roots that they signed, is believed. `refresh` comes before everything else.

    Args:
        folder: the update agent's directory.
        url: the registry's address.
        patience: time-outs, the least rate, and the number of tries.
    """

    def __init__(self, folder: Path, url: str, patience: Patience) -> None:
        self.url = url.rstrip("/")
        self._folder = folder
        self._pinned = folder / "root.json"
        self._metadata = folder / "tuf"
        self._patience = patience
        self._updater: Updater | None = None
        self._fetcher: Fetcher | None = None

    def close(self) -> None:
        """Close connections."""
        if self._fetcher is not None:
            self._fetcher.close()

    def refresh(self, root: bytes | None = None, root_sha256: str | None = None) -> None:
        """Learn the registry's newest signed state.

        Args:
            root: the root to begin with, when this device has none yet.
            root_sha256: its digest, to take it from the registry itself.

        Raises:
            UpdateError: it cannot be reached, or must not be believed; `kind` says which.
        """
        from tuf.ngclient import Updater, UpdaterConfig  # noqa: PLC0415 (100 ms)

        from wherever_edge.updates.fetcher import Fetcher  # noqa: PLC0415 (httpx: 120 ms)

        with _in_our_words(self.url):
            fetcher = self._fetcher = Fetcher(self._patience)
            if root is None and root_sha256 is not None and not self._pinned.exists():
                url = f"{self.url}/metadata/1.root.json"
                root = _with_digest(fetcher.download_bytes(url, MAX_ROOT_BYTES), root_sha256)
            trusted = self._trusted(root)
            self._metadata.mkdir(parents=True, exist_ok=True)
            before = self._timestamp()
            updater = Updater(
                str(self._metadata),
                f"{self.url}/metadata/",
                fetcher=fetcher,
                config=UpdaterConfig(root_max_length=MAX_ROOT_BYTES),
                bootstrap=trusted,
            )
            updater.refresh()
            if self._timestamp() != before:
                sync_files(self._metadata)  # what was seen is not forgotten: older is a rollback
            if not self._pinned.exists():
                write_durably(self._pinned, trusted)
        self._updater = updater

    def channels(self) -> Channels:
        """Which version each channel of each model means.

        Raises:
            UpdateError: it cannot be had, or is not what was signed.
        """
        target = self._target(CHANNELS_TARGET)
        if target is None:
            raise UpdateError(f"{shown(self.url)} is no registry of models: it has no channels")
        sha256 = _sha256(target)
        path = self._folder / CHANNELS_TARGET
        if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            self._fetch_channels(path, sha256, target.length)
        return parse_channels(path.read_bytes())

    def release(self, name: str, version: str) -> Release:
        """A version of a model, as it was signed.

        Raises:
            UpdateError: it was not.
        """
        path = package_target(name, version)
        target = self._target(path)
        if target is None:
            message = f"the registry's channel names {name} {version}, but it was never signed"
            raise UpdateError(message, "tampered")
        sha256 = _sha256(target)
        digest = signed_digest(target.custom, name, version)
        url = file_url(self.url, path, sha256)
        return Release(name, version, url, sha256, target.length, digest)

    def _fetch_channels(self, path: Path, sha256: str, size: int) -> None:
        try:
            download(
                file_url(self.url, CHANNELS_TARGET, sha256),
                path,
                sha256=sha256,
                size=size,
                max_bytes=MAX_CHANNELS_BYTES,
                patience=self._patience,
            )
        except (DigestError, DownloadError) as error:
            raise as_update_error(error) from error

    def _target(self, path: str) -> TargetFile | None:
        if self._updater is None:
            raise UpdateError("the registry was not asked yet")
        with _in_our_words(self.url):
            return self._updater.get_targetinfo(path)

    def _trusted(self, given: bytes | None) -> bytes:
        """The root that this device began with, or the one to begin with."""
        try:
            pinned = self._pinned.read_bytes()
        except FileNotFoundError:
            pinned = None
        if pinned is None and given is None:
            message = "this device does not know whom to trust yet"
            raise UpdateError(f"{message}: give --root FILE or --root-sha256 HEX once", "no_root")
        if pinned is not None and given is not None and pinned != given:
            message = f"this device trusts another root already ({self._pinned})"
            raise UpdateError(f"{message}; remove {self._folder} to begin anew", "wrong_key")
        if pinned is not None:
            return pinned
        return _root(given or b"")

    def _timestamp(self) -> bytes:
        path = self._metadata / "timestamp.json"
        return path.read_bytes() if path.exists() else b""


def as_update_error(error: DigestError | DownloadError) -> UpdateError:
    """What went wrong with a file, as an error of the update.

    A file of another length or digest was exchanged or damaged; the rest is the network.
    """
    kind = "tampered" if isinstance(error, DigestError) else "download"
    return UpdateError(str(error), kind)


@contextmanager
def _in_our_words(url: str) -> Generator[None]:
    from tuf.api import exceptions  # noqa: PLC0415 (loaded by now)

    try:
        yield
    except (exceptions.RepositoryError, exceptions.DownloadError) as error:
        names = [one.__name__ for one in type(error).__mro__]
        kind, words = next(_WORDS[name] for name in names if name in _WORDS)
        raise UpdateError(f"{shown(url)}: {words} ({error})", kind) from error
    except OSError as error:
        raise UpdateError(f"what the registry says cannot be kept: {error}", "disk") from error


def _root(data: bytes) -> bytes:
    """What a person gave as the root, when it is one."""
    from tuf.api import exceptions, metadata  # noqa: PLC0415 (loaded by now)

    try:
        found = metadata.Metadata[Any].from_bytes(data).signed.type
    except exceptions.RepositoryError as error:
        raise UpdateError(
            f"what was given as the root is no metadata: {error}", "no_root"
        ) from error
    if found != "root":
        raise UpdateError(f"what was given as the root is the metadata of {found}", "no_root")
    return data


def _with_digest(root: bytes, sha256: str) -> bytes:
    found = hashlib.sha256(root).hexdigest()
    if found != sha256.lower():
        message = f"the registry's root has the sha256 {found}, not {sha256.lower()}"
        raise UpdateError(message, "wrong_key")
    return root


def _sha256(target: TargetFile) -> str:
    found = target.hashes.get("sha256")
    if found is None:
        raise UpdateError(f"{target.path} was signed without a sha256", "tampered")
    return found
