"""The secret of this device: digests made with it say nothing about what was digested."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from wherever_contracts.errors import SettingsError
from wherever_edge.durable import sync_directory
from wherever_edge.private_files import create_private

_NAME = "device.key"
_SIZE = 32


def device_key(home: Path) -> bytes:
    """The 32 bytes of `home/device.key`; made on first use, and the same for every process.

    Raises:
        SettingsError: the file is not one that this made, or it cannot be read or written.
    """
    path = home / _NAME
    try:
        try:
            return _read(path)
        except FileNotFoundError:
            home.mkdir(parents=True, exist_ok=True)
            _create(path)
            return _read(path)
    except OSError as error:
        what = error.strerror or str(error)
        raise SettingsError(f"the device's key cannot be had from {path}: {what}") from error


def has_device_key(home: Path) -> bool:
    """Whether a key lies in a home, which need not be this device's; nothing is made."""
    return (home / _NAME).is_file()


def key_for_now(home: Path) -> bytes:
    """The device's key; where it cannot be read or written for now, one for this process alone.

    Raises:
        SettingsError: what lies there is not a device's key.
    """
    try:
        return device_key(home)
    except SettingsError as error:
        if not isinstance(error.__cause__, OSError):
            raise
        return secrets.token_bytes(_SIZE)


def _read(path: Path) -> bytes:
    careful = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | careful)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        key = file.read(_SIZE + 1) if stat.S_ISREG(status.st_mode) else b""
        if len(key) == _SIZE and os.name != "nt" and status.st_mode & 0o077:
            os.fchmod(descriptor, 0o600)
    if len(key) != _SIZE:
        raise SettingsError(f"{path} is not a device's key of {_SIZE} bytes; remove it")
    return key


def _create(path: Path) -> None:
    """Make the file appear whole, unless another process was faster."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        create_private(fresh, secrets.token_bytes(_SIZE))
        with suppress(FileExistsError):
            os.link(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
    sync_directory(path.parent)
