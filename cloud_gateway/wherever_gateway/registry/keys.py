"""The private keys of a registry: one file each, apart from what is served."""

# pyright: reportPrivateImportUsage=false
# (tuf and securesystemslib export their public names from modules that do not list them)

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

from wherever_contracts.errors import UpdateError
from wherever_edge.durable import sync_directory
from wherever_edge.private_files import create_private

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner

Role: TypeAlias = Literal["root", "targets", "snapshot", "timestamp"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)

_SHOWN = 16


class KeyFolder:
    """A directory with `ROLE-KEYID.pem` files that its owner alone can read.

    Which of them count is said by the registry's root: a key that was made and never published
    has no effect, and one that was rotated out has none any more.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make(self, role: Role) -> CryptoSigner:
        """Make a new ed25519 key for a role, and keep it durably.

        Raises:
            OSError: it cannot be kept.
        """
        from securesystemslib.signer import CryptoSigner  # noqa: PLC0415 (60 ms)

        signer = CryptoSigner.generate_ed25519()
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.path(role, signer.public_key.keyid)
        create_private(path, signer.private_bytes)
        sync_directory(self.folder)
        return signer

    def path(self, role: Role, key_id: str) -> Path:
        """Where the private half of a key is, or would be."""
        return self.folder / f"{role}-{key_id[:_SHOWN]}.pem"

    def signer(self, role: Role, key_id: str) -> CryptoSigner:
        """What signs for a role.

        Raises:
            UpdateError: the key is not here, or is another one.
        """
        from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415 (25 ms)
            load_pem_private_key,
        )
        from securesystemslib.signer import CryptoSigner  # noqa: PLC0415

        path = self.path(role, key_id)
        try:
            signer = CryptoSigner(load_pem_private_key(path.read_bytes(), None))
        except FileNotFoundError as error:
            message = f"the {role} key is needed, and {path} is not there (--keys says where it is)"
            raise UpdateError(message, "keys") from error
        except (ValueError, TypeError) as error:
            raise UpdateError(f"{path} is no private key: {error}", "keys") from error
        if signer.public_key.keyid != key_id:
            raise UpdateError(f"{path} is another key than the {role} key {key_id}", "keys")
        return signer
