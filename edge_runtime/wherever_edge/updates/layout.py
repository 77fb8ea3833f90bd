"""How packages and channels are named in a registry: what who publishes and who updates agree on.

    URL/metadata/   the signed metadata of The Update Framework
    URL/targets/    channels.json, and packages/NAME/VERSION/NAME-VERSION.wherever

What is read here was signed, and is checked all the same: a name becomes a part of a path. Pure.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, TypeAlias, cast
from urllib.parse import quote

from pydantic import Field, TypeAdapter, ValidationError

from wherever_contracts.errors import UpdateError
from wherever_edge.packages.package import ARCHIVE_SUFFIX
from wherever_edge.updates.state import Channel

CHANNELS_TARGET = "channels.json"
MAX_CHANNELS_BYTES = 1024 * 1024

_NAME = r"^[a-z0-9][a-z0-9._-]{0,62}$"
_VERSION = r"^[0-9]{1,18}\.[0-9]{1,18}\.[0-9]{1,18}(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$"
_SHA256 = r"^[0-9a-f]{64}$"

Channels: TypeAlias = dict[str, dict[Channel, str]]

_Name = Annotated[str, Field(pattern=_NAME)]
_Version = Annotated[str, Field(pattern=_VERSION, max_length=64)]
_CHANNELS = TypeAdapter(dict[_Name, dict[Channel, _Version]])
_DIGEST = TypeAdapter(Annotated[str, Field(pattern=_SHA256)])


def package_target(name: str, version: str) -> str:
    """Where the archive of a version is, among the targets."""
    return f"packages/{name}/{version}/{name}-{version}{ARCHIVE_SUFFIX}"


def prefixed(target: str, sha256: str) -> str:
    """The file of a target: its name begins with its digest, so that it never changes."""
    folder, slash, name = target.rpartition("/")
    return f"{folder}{slash}{sha256}.{name}"


def file_url(base: str, target: str, sha256: str) -> str:
    """The address of a target's file in the registry at `base`."""
    return f"{base.rstrip('/')}/targets/{quote(prefixed(target, sha256))}"


def custom_of(name: str, version: str, digest: str) -> dict[str, Any]:
    """What is signed about an archive besides its own length and digest."""
    return {"name": name, "version": version, "digest": digest}


def signed_digest(custom: object, name: str, version: str) -> str:
    """The package digest that was signed for a version.

    Raises:
        UpdateError: something else was signed.
    """
    fields = cast("dict[str, Any]", custom) if isinstance(custom, dict) else {}
    if (fields.get("name"), fields.get("version")) != (name, version):
        raise UpdateError(f"the registry signed no {name} {version} under its name", "tampered")
    try:
        return _DIGEST.validate_python(fields.get("digest"), strict=True)
    except ValidationError as error:
        raise UpdateError(f"the registry signed {name} {version} without a digest") from error


def channels_bytes(channels: Channels) -> bytes:
    """`channels.json`: model -> channel -> version."""
    return (json.dumps(channels, indent=1, sort_keys=True) + "\n").encode()


def parse_channels(data: bytes) -> Channels:
    """Read `channels.json`; channels that this version does not know are left out.

    Raises:
        UpdateError: it is not what a registry writes.
    """
    try:
        raw = json.loads(data)
        known = {m: {c: v for c, v in of.items() if c in _WORDS} for m, of in raw.items()}
        return _CHANNELS.validate_python(known)
    except (ValueError, AttributeError, RecursionError) as error:
        raise UpdateError(f"{CHANNELS_TARGET} of the registry is wrong: {error}") from error


_WORDS = frozenset({"stable", "canary"})
