"""API keys: made and shown once, kept as hashes, and checked for every call.

A key is `whv_<id>_<secret>`. Its secret has 256 random bits, so a plain SHA-256 is all that has to
be kept: the slow hashes that passwords need are against guessing, and there is nothing to guess.
"""

from __future__ import annotations

import hmac
import json
import logging
import re
import secrets
import threading
from base64 import b32encode
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from time import monotonic
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

from wherever_contracts.errors import NotAllowedError, SettingsError
from wherever_edge.private_files import locked, write_private

Role: TypeAlias = Literal["use", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)

FILE_NAME = "keys.json"
_FORMAT = 1
_PREFIX = "whv"
_ID_BYTES = 5
_SECRET_BYTES = 32
_LOOK_EVERY_S = 0.5
_MAX_NAME = 100
_MOST_CHECKED = 4096
_DIGEST = re.compile("[0-9a-f]{64}")
_NO_DIGEST = "0" * 64  # of no secret

_LOG = logging.getLogger(__name__)


class KeyInfo(NamedTuple):
    """What is known of a key, apart from its secret.

    Attributes:
        id: a short name that is part of the key.
        name: whom it was made for.
        role: "use" for calls, "admin" for those that change the server as well.
        created: when it was made, as ISO 8601 in UTC.
        revoked: when it was revoked; "" while it is not.
    """

    id: str
    name: str
    role: Role
    created: str
    revoked: str = ""

    def may(self, role: Role) -> bool:
        """Whether the key may do what `role` may."""
        return role in ("use", self.role)


class StoredKey(NamedTuple):
    """A key as it is kept."""

    info: KeyInfo
    sha256: str


KeyInfos: TypeAlias = list[KeyInfo]
StoredKeys: TypeAlias = list[StoredKey]


class KeyStore:
    """The keys that a server knows, in a file that only its owner can read.

    Args:
        directory: where the file is.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.file: Path = directory / FILE_NAME

    def add(self, name: str, role: Role = "use") -> str:
        """Make a key, and give it back: it can never be shown again.

        Raises:
            SettingsError: the name is taken by a key that is not revoked, or says nothing; the
                role is none; or the file is damaged.
            OSError: the file cannot be written.
        """
        _check(name, role)
        id_, secret = _random_text(_ID_BYTES), _random_text(_SECRET_BYTES)
        info = KeyInfo(id_, name, role, _now())
        with locked(self.directory):
            keys = self.read()
            if any(name in (key.info.id, key.info.name) for key in _valid(keys)):
                raise SettingsError(f"there is a key {name!r} already; revoke it, or name another")
            self._write([*keys, StoredKey(info, _digest(secret))])
        return f"{_PREFIX}_{id_}_{secret}"

    def list(self) -> KeyInfos:
        """Every key, revoked ones too, in the order they were made.

        Raises:
            SettingsError: the file is damaged.
        """
        return [key.info for key in self.read()]

    def revoke(self, id_or_name: str) -> KeyInfo:
        """Let a key count no more; servers that run notice within a second.

        Raises:
            SettingsError: no key that counts has this id or name, or the file is damaged.
            OSError: the file cannot be written.
        """
        with locked(self.directory):
            keys = self.read()
            found = [k for k in _valid(keys) if id_or_name in (k.info.id, k.info.name)]
            if not found:
                known = ", ".join(k.info.name for k in _valid(keys)) or "none"
                raise SettingsError(f"no key {id_or_name!r} counts here (those that do: {known})")
            revoked = found[0]._replace(info=found[0].info._replace(revoked=_now()))
            self._write([revoked if key is found[0] else key for key in keys])
        return revoked.info

    def read(self) -> StoredKeys:
        """The keys as they are kept; none when there is no file.

        Raises:
            SettingsError: the file cannot be read or is damaged.
        """
        try:
            return _parse(self.file.read_bytes())
        except FileNotFoundError:
            return []
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise SettingsError(
                f"the keys in {self.file} cannot be read ({type(error).__name__}: {error}); "
                "repair the file, or remove it and make new keys"
            ) from error

    def _write(self, keys: StoredKeys) -> None:
        rows = [{**key.info._asdict(), "sha256": key.sha256} for key in keys]
        text = json.dumps({"format": _FORMAT, "keys": rows}, indent=1)
        write_private(self.file, text.encode())


class _Keys(NamedTuple):
    """The keys as they were read: by their ids, and by the headers that brought them since."""

    by_id: dict[str, StoredKey]
    by_header: dict[str | None, KeyInfo]


class KeyChecker:
    """Decides whether a call may be made. Safe to use from many threads.

    Looks at the file again when it has changed, and for that at most twice a second. While the
    file cannot be read, nobody may do anything.

    Args:
        store: where the keys are.
        clock: seconds that only grow.
    """

    def __init__(self, store: KeyStore, clock: Callable[[], float] = monotonic) -> None:
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: object = None
        self._keys = _Keys({}, {})
        self._look()
        self._look_at = clock() + _LOOK_EVERY_S

    @property
    def any(self) -> bool:
        """Whether there is a key that is not revoked."""
        return any(not key.info.revoked for key in self._known().by_id.values())

    def check(self, header: str | None, role: Role = "use") -> KeyInfo:
        """What is known of the key in an `authorization` header.

        Args:
            header: its value, None when there is none.
            role: what the call needs.

        Raises:
            NotAllowedError: there is no key, it is not known or was revoked, or may not do this.
        """
        info = self._right(header)
        if not info.may(role):
            raise NotAllowedError(f"this needs a key with the role {role!r}; {info.id!r} has none")
        return info

    def _right(self, header: str | None) -> KeyInfo:
        """The key in a header, that counts; those seen a moment ago are not hashed again."""
        known, checked = self._known()
        seen = checked.get(header)
        if seen is not None:
            return seen
        id_, secret = _key_in(header)
        key = known.get(id_)
        # compared in the same time whether the id is known or not
        right = hmac.compare_digest(_digest(secret), key.sha256 if key else _NO_DIGEST)
        if key is None or not right:
            raise NotAllowedError("the API key is not known here")
        if key.info.revoked:
            raise NotAllowedError(f"the API key {id_!r} was revoked on {key.info.revoked}")
        if len(checked) < _MOST_CHECKED:
            checked[header] = key.info
        return key.info

    def _known(self) -> _Keys:
        now = self._clock()
        if now >= self._look_at:
            with self._lock:
                self._look_at = now + _LOOK_EVERY_S
                self._look()
        return self._keys

    def _look(self) -> None:
        seen = _state_of(self._store.file)
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._keys = _Keys({key.info.id: key for key in self._store.read()}, {})
        except SettingsError as error:
            self._keys = _Keys({}, {})
            _LOG.error("nobody is let in: %s", error)


def _key_in(header: str | None) -> tuple[str, str]:
    """Id and secret in a header.

    Raises:
        NotAllowedError: there is no key in it.
    """
    scheme, _, key = (header or "").partition(" ")
    prefix, _, rest = key.strip().partition("_")
    id_, _, secret = rest.partition("_")
    if scheme.lower() != "bearer" or prefix != _PREFIX or not secret:
        raise NotAllowedError(
            "an API key is needed here, and the call brought none that reads whv_ID_SECRET "
            "(api_key, or the header 'authorization: Bearer whv_...')"
        )
    return id_, secret


def _digest(secret: str) -> str:
    return sha256(secret.encode(errors="surrogateescape")).hexdigest()


def _random_text(size: int) -> str:
    """Random bytes in letters and digits that are hard to confuse and easy to select."""
    return b32encode(secrets.token_bytes(size)).decode().rstrip("=").lower()


def _check(name: str, role: str) -> None:
    if role not in ROLES:
        raise SettingsError(f"{role!r} is no role of a key; there are {', '.join(ROLES)}")
    if not name.strip() or len(name) > _MAX_NAME or not name.isprintable():
        raise SettingsError(
            f"a key needs a name of 1 to {_MAX_NAME} printable characters, found {name!r}"
        )


def _valid(keys: StoredKeys) -> StoredKeys:
    return [key for key in keys if not key.info.revoked]


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _parse(data: bytes) -> StoredKeys:
    root = json.loads(data)
    if root["format"] != _FORMAT:
        raise ValueError(f"format {root['format']!r} is not {_FORMAT}")
    return [_stored(row) for row in root["keys"]]


def _stored(row: dict[str, Any]) -> StoredKey:
    fields = {name: row[name] for name in KeyInfo._fields}
    texts = all(isinstance(value, str) for value in fields.values())
    if not texts or fields["role"] not in ROLES or not _DIGEST.fullmatch(row["sha256"]):
        raise ValueError(f"key {fields['id']!r} has a field that does not fit")
    return StoredKey(KeyInfo(**fields), row["sha256"])


def _state_of(file: Path) -> tuple[int, ...]:
    """What changes when the file does; () when there is none."""
    try:
        found = file.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_mtime_ns, found.st_size
