"""What the holder of the keys signed last, kept beside the keys.

What is served lies on a web server, where others may write. Before it is signed anew it has to be
what these keys signed, and no older than what they signed last.
"""

# pyright: reportPrivateImportUsage=false
# (tuf exports its public names from modules that do not list them)

from __future__ import annotations

from pathlib import Path
from typing import Any

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from wherever_contracts.errors import UpdateError
from wherever_edge.durable import write_durably
from wherever_gateway.registry.metadata import Chain


class Anchor:
    """The root and the timestamp that were signed last, in the directory of the keys.

    Args:
        keys: the directory of the keys.
        served: the directory of the served metadata.
    """

    def __init__(self, keys: Path, served: Path) -> None:
        self._root = keys / "root.json"
        self._timestamp = keys / "timestamp.json"
        self._served = served

    def chain(self) -> Chain:
        """What is served, when these keys signed it.

        Raises:
            UpdateError: this is no registry of these keys, a file is damaged, or it is an old one.
        """
        root = self._current_root()
        timestamp: Metadata[Timestamp] = self._signed(root, "timestamp", "timestamp.json")
        meta = timestamp.signed.snapshot_meta
        snapshot: Metadata[Snapshot] = self._signed(
            root, "snapshot", f"{meta.version}.snapshot.json", meta
        )
        meta = snapshot.signed.meta["targets.json"]
        targets: Metadata[Targets] = self._signed(
            root, "targets", f"{meta.version}.targets.json", meta
        )
        self._refuse_older(timestamp)
        return Chain(root, targets, snapshot, timestamp)

    def keep(self, name: str, data: bytes) -> None:
        """Remember what has just been written into the served directory."""
        if name.endswith("root.json"):
            write_durably(self._root, data)
        elif name == "timestamp.json":
            write_durably(self._timestamp, data)

    def _current_root(self) -> Metadata[Root]:
        """The kept root, or the last of those that follow from it."""
        root: Metadata[Root] = _parsed(self._root, "wherever repo init makes a registry, --keys")
        while (path := self._served / f"{root.signed.version + 1}.root.json").exists():
            following: Metadata[Root] = _parsed(path, "restore it")
            for signers in (root, following):
                _check(signers.signed, following, "root", path)
            root = following
        return root

    def _signed(
        self, root: Metadata[Root], role: str, name: str, meta: Any = None
    ) -> Metadata[Any]:
        path = self._served / name
        metadata: Metadata[Any] = _parsed(path, "restore it")
        _check(root.signed, metadata, role, path)
        try:
            if meta is not None:
                meta.verify_length_and_hashes(path.read_bytes())
        except RepositoryError as error:
            raise UpdateError(f"{path} is damaged: {error}", "repository") from error
        return metadata

    def _refuse_older(self, timestamp: Metadata[Timestamp]) -> None:
        if not self._timestamp.exists():
            return
        last: Metadata[Timestamp] = _parsed(self._timestamp, "remove it")
        if timestamp.signed.version < last.signed.version:
            message = (
                f"{self._served} is at state {timestamp.signed.version}, and "
                f"{last.signed.version} was signed already: somebody put an old one there"
            )
            raise UpdateError(message, "rolled_back")


def _parsed(path: Path, remedy: str) -> Metadata[Any]:
    try:
        return Metadata[Any].from_bytes(path.read_bytes())
    except (OSError, RepositoryError) as error:
        message = f"{path} is missing or damaged ({remedy}): {error}"
        raise UpdateError(message, "repository") from error


def _check(delegator: Root, metadata: Metadata[Any], role: str, path: Path) -> None:
    try:
        delegator.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    except (RepositoryError, ValueError) as error:
        message = f"{path} was not signed by these keys; it is not signed anew ({error})"
        raise UpdateError(message, "wrong_key") from error
