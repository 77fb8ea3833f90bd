"""A registry on disk: made, read, and brought to its next state without ever being half there.

What devices read begins at `timestamp.json` and at the next root. Everything that those name is
written before them, and no file that they named is ever changed: a device, or a mirror, that comes
in the middle sees the old state or the new one.
"""

# pyright: reportPrivateImportUsage=false
# (tuf and securesystemslib export their public names from modules that do not list them)

from __future__ import annotations

import secrets
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from securesystemslib.signer import Signer
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import TargetFile

from wherever_contracts.errors import UpdateError
from wherever_edge.durable import sync_directory, write_durably
from wherever_edge.packages.archive import write_archive
from wherever_edge.packages.package import Package
from wherever_edge.updates.disk import locked
from wherever_edge.updates.layout import (
    CHANNELS_TARGET,
    Channels,
    channels_bytes,
    custom_of,
    package_target,
    parse_channels,
    prefixed,
)
from wherever_edge.updates.state import Channel
from wherever_gateway.registry.anchor import Anchor
from wherever_gateway.registry.keys import ROLES, KeyFolder, Role
from wherever_gateway.registry.metadata import (
    Chain,
    exchange,
    first_chain,
    seal,
    seal_root,
)

_ONLINE: Final[tuple[Role, ...]] = ("targets", "snapshot", "timestamp")


@dataclass(frozen=True, slots=True)
class Published:
    """What publishing did.

    Attributes:
        added: whether the version is new in the registry.
        before: the version that the channel named until now, or "".
    """

    name: str
    version: str
    channel: Channel
    digest: str
    bytes: int
    added: bool
    before: str


class Repository:
    """A registry's directory, and the directory with its keys.

    Args:
        directory: what a static HTTP server serves.
        keys: the keys; they may not lie inside of what is served.

    Raises:
        UpdateError: the keys would be served.
    """

    def __init__(self, directory: Path, keys: Path) -> None:
        if keys.resolve().is_relative_to(directory.resolve()):
            message = f"{keys} lies in {directory}, which is served to everybody"
            raise UpdateError(f"{message}; keep the keys elsewhere (--keys)", "keys")
        self.directory = directory
        self.keys = KeyFolder(keys)
        self._metadata = directory / "metadata"
        self._targets = directory / "targets"
        self._anchor = Anchor(keys, self._metadata)

    def create(self, expires_days: int) -> Path:
        """Make keys and a registry that holds nothing yet.

        Args:
            expires_days: how long devices trust what they have read; it is to be signed anew
                (`refresh`) before that.

        Returns:
            The root that devices are to be given.

        Raises:
            UpdateError: there is a registry already.
        """
        if any(self._metadata.glob("*.root.json")):
            raise UpdateError(f"{self.directory} is a registry already", "repository")
        made: list[tuple[Role, Signer]] = [(role, self.keys.make(role)) for role in ROLES]
        by_role: dict[Role, list[Signer]] = {role: [signer] for role, signer in made}
        chain = first_chain([(role, signer.public_key) for role, signer in made], expires_days)
        self._metadata.mkdir(parents=True, exist_ok=True)
        self._targets.mkdir(exist_ok=True)
        now = datetime.now(UTC)
        root = seal_root(chain, by_role, now)
        self._write(seal(chain, by_role, now, [self._put_channels({})]))
        self._write(root)
        return self._metadata / "1.root.json"

    def load(self) -> Chain:
        """What was signed last.

        Raises:
            UpdateError: this is no registry, a file of it is damaged, or is not what these keys
                signed last.
        """
        return self._anchor.chain()

    def channels(self, chain: Chain) -> Channels:
        """Which version each channel of each model means.

        Raises:
            UpdateError: the file is damaged.
        """
        target = chain.targets.signed.targets[CHANNELS_TARGET]
        path = self._targets / prefixed(CHANNELS_TARGET, target.hashes["sha256"])
        try:
            data = path.read_bytes()
            target.verify_length_and_hashes(data)
        except (OSError, RepositoryError) as error:
            raise UpdateError(f"{path} is damaged: {error}", "repository") from error
        return parse_channels(data)

    def publish(self, package: Package, channel: Channel) -> Published:
        """Add a package, unless it is there, and let a channel mean it.

        Raises:
            PackageError: its files are not what it promises.
            UpdateError: another package was published with this name and version.
        """
        package.verify()
        with self._locked():
            chain = self.load()
            path = package_target(package.name, package.version)
            known = chain.targets.signed.targets.get(path)
            target = self._put_package(package, path, known)
            new = [] if known else [target]
            return self._point(chain, package.name, package.version, channel, new)

    def point(self, name: str, version: str, channel: Channel) -> Published:
        """Let a channel mean a version that was published before, a lower one too.

        Raises:
            UpdateError: no such version was published.
        """
        with self._locked():
            chain = self.load()
            if package_target(name, version) not in chain.targets.signed.targets:
                known = sorted(
                    target.custom["version"]
                    for target in chain.targets.signed.targets.values()
                    if target.custom and target.custom["name"] == name
                )
                there = ", ".join(known) or "none"
                message = f"{name} {version} was not published (of {name} there is: {there})"
                raise UpdateError(message, "repository")
            return self._point(chain, name, version, channel, [])

    def refresh(self) -> list[Role]:
        """Sign anew what is short-lived, and what is near the end of its time.

        Returns:
            The roles that are near their end and could not be signed: their key is not here.
        """
        with self._locked():
            chain, now = self.load(), datetime.now(UTC)
            ageing: list[Role] = [role for role in ROLES if chain.ageing(role, now)]
            missing: list[Role] = [role for role in ageing if not self._has_key(chain, role)]
            if "root" in ageing and "root" not in missing:
                self._write(seal_root(chain, self._signers(chain, ["root"]), now))
            again: list[TargetFile] | None = (
                [] if "targets" in ageing and "targets" not in missing else None
            )
            roles: list[Role] = [role for role in _ONLINE if role != "targets" or again is not None]
            self._write(seal(chain, self._signers(chain, roles), now, again))
            return missing

    def rotate(self, role: Role) -> str:
        """Give a role a new key; from the next root on the old one has no power.

        Between the two steps of this, devices see a state that is signed by both keys and so is
        right under the old root and under the new one.

        Returns:
            The new key's id.
        """
        with self._locked():
            chain, now = self.load(), datetime.now(UTC)
            both = self._signers(chain, ROLES)
            new = self.keys.make(role)
            both[role].append(new)
            if role != "root":
                self._write(seal(chain, both, now, []))
            exchange(chain, role, new.public_key)
            self._write(seal_root(chain, both, now))
            return new.public_key.keyid

    def _point(
        self, chain: Chain, name: str, version: str, channel: Channel, new: list[TargetFile]
    ) -> Published:
        channels = self.channels(chain)
        before = channels.get(name, {}).get(channel, "")
        if new or before != version:
            channels.setdefault(name, {})[channel] = version
            changed = [*new, self._put_channels(channels)]
            signers = self._signers(chain, _ONLINE)
            self._write(seal(chain, signers, datetime.now(UTC), changed))
        target = chain.targets.signed.targets[package_target(name, version)]
        digest, size = target.custom["digest"], target.length
        return Published(name, version, channel, digest, size, added=bool(new), before=before)

    def _put_package(self, package: Package, path: str, known: TargetFile | None) -> TargetFile:
        """Write the archive beside its place, compare it with what is there, and move it."""
        fresh = self._targets / f".{secrets.token_hex(8)}"
        try:
            write_archive(package, fresh)
            target = TargetFile.from_file(path, str(fresh), ["sha256"])
            target.unrecognized_fields["custom"] = custom_of(
                package.name, package.version, package.digest
            )
            if known is not None and known.hashes != target.hashes:
                what = f"{package.name} {package.version} was published with other bytes"
                raise UpdateError(f"{what}; a change needs a new version", "repository")
            place = self._targets / prefixed(path, target.hashes["sha256"])
            place.parent.mkdir(parents=True, exist_ok=True)
            fresh.replace(place)
            for folder in place.relative_to(self.directory).parents:
                sync_directory(self.directory / folder)
            return target
        finally:
            fresh.unlink(missing_ok=True)

    def _put_channels(self, channels: Channels) -> TargetFile:
        data = channels_bytes(channels)
        target = TargetFile.from_data(CHANNELS_TARGET, data, ["sha256"])
        write_durably(self._targets / prefixed(CHANNELS_TARGET, target.hashes["sha256"]), data)
        return target

    def _signers(self, chain: Chain, roles: Iterable[Role]) -> dict[Role, list[Signer]]:
        return {role: [self.keys.signer(role, k) for k in chain.key_ids(role)] for role in roles}

    def _has_key(self, chain: Chain, role: Role) -> bool:
        return all(self.keys.path(role, key_id).exists() for key_id in chain.key_ids(role))

    def _write(self, files: Mapping[str, bytes]) -> None:
        for name, data in files.items():
            write_durably(self._metadata / name, data)
            self._anchor.keep(name, data)

    @contextmanager
    def _locked(self) -> Generator[None]:
        if not self.keys.folder.is_dir():
            message = f"the keys of {self.directory} are not in {self.keys.folder}"
            raise UpdateError(f"{message}: --keys says where they are", "keys")
        with locked(self.keys.folder / "lock", f"a change of {self.directory}"):
            yield
