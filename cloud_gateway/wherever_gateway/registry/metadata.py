"""The signed metadata of a registry: its first form, and each next one. Pure; the clock comes in.

The rules are those of The Update Framework, https://theupdateframework.github.io/specification/:
versions only grow; what a file names, it names with version, length and digest; a root is signed
by the keys of the root before it, and by its own.
"""

# pyright: reportPrivateImportUsage=false
# (tuf and securesystemslib export their public names from modules that do not list them)

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from securesystemslib.signer import Key, Signer
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from wherever_gateway.registry.keys import Role

_DAYS_FIELD = "x-wherever-expires-days"
_DAYS_OF_RARELY_SIGNED = 365

Signers = Mapping[Role, Sequence[Signer]]


@dataclass(slots=True)
class Chain:
    """The four roles of a registry, as they stand."""

    root: Metadata[Root]
    targets: Metadata[Targets]
    snapshot: Metadata[Snapshot]
    timestamp: Metadata[Timestamp]

    def expiry(self, role: Role) -> datetime:
        """When a role's metadata ends to be trusted."""
        expires: datetime = getattr(self, role).signed.expires
        return expires

    def key_ids(self, role: Role) -> list[str]:
        """The keys that may sign for a role."""
        return [*self.root.signed.roles[role].keyids]

    def lifetime(self, role: Role) -> timedelta:
        """How long a role's metadata is trusted after it was signed."""
        days = int(self.root.signed.unrecognized_fields.get(_DAYS_FIELD, _DAYS_OF_RARELY_SIGNED))
        rarely = role in {"root", "targets"}
        return timedelta(days=max(days, _DAYS_OF_RARELY_SIGNED) if rarely else days)

    def ageing(self, role: Role, now: datetime) -> bool:
        """Whether a role's metadata has less than a third of its time left."""
        return self.expiry(role) - now < self.lifetime(role) / 3


def first_chain(keys: Iterable[tuple[Role, Key]], expires_days: int) -> Chain:
    """A registry that holds nothing yet; `seal` and `seal_root` sign it."""
    root = Root(unrecognized_fields={_DAYS_FIELD: expires_days})
    for role, key in keys:
        root.add_key(key, role)
    targets, snapshot, timestamp = Targets(), Snapshot(), Timestamp()
    for part in (root, targets, snapshot, timestamp):
        part.version = 0  # signing makes it 1
    return Chain(Metadata(root), Metadata(targets), Metadata(snapshot), Metadata(timestamp))


def seal(
    chain: Chain, signers: Signers, now: datetime, targets: Iterable[TargetFile] | None = None
) -> dict[str, bytes]:
    """Sign the next state of everything but the root.

    Args:
        chain: what was signed last; it is brought to the next state.
        signers: who signs for `targets` (when those change), `snapshot` and `timestamp`.
        now: the time of signing.
        targets: targets to add or replace; None leaves that role as it is.

    Returns:
        Name -> bytes, in the order in which the files may appear: the last one makes the others
        count.
    """
    files: dict[str, bytes] = {}
    if targets is not None:
        chain.targets.signed.targets.update({target.path: target for target in targets})
        data = _signed(chain, "targets", signers, now)
        version = chain.targets.signed.version
        chain.snapshot.signed.meta["targets.json"] = MetaFile.from_data(version, data, ["sha256"])
        files[f"{version}.targets.json"] = data
    data = _signed(chain, "snapshot", signers, now)
    version = chain.snapshot.signed.version
    chain.timestamp.signed.snapshot_meta = MetaFile.from_data(version, data, ["sha256"])
    files[f"{version}.snapshot.json"] = data
    files["timestamp.json"] = _signed(chain, "timestamp", signers, now)
    return files


def seal_root(chain: Chain, signers: Signers, now: datetime) -> dict[str, bytes]:
    """Sign the next root; its signers are the root keys before and after.

    Returns:
        The name of its file -> its bytes.
    """
    data = _signed(chain, "root", signers, now)
    return {f"{chain.root.signed.version}.root.json": data}


def exchange(chain: Chain, role: Role, key: Key) -> None:
    """Let a role be signed by `key` alone from the next root on."""
    for key_id in chain.key_ids(role):
        chain.root.signed.revoke_key(key_id, role)
    chain.root.signed.add_key(key, role)


def _signed(chain: Chain, role: Role, signers: Signers, now: datetime) -> bytes:
    metadata: Metadata[Any] = getattr(chain, role)
    metadata.signed.version += 1
    metadata.signed.expires = (now + chain.lifetime(role)).replace(microsecond=0)
    metadata.signatures.clear()
    for signer in signers[role]:
        metadata.sign(signer, append=True)
    return metadata.to_bytes()
