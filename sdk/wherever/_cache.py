"""The result cache: an answer is kept under what decides it, and given again for the same input.

Entries are frames and raw arrays, so nothing read from the disk can run; keys are HMACs under the
device's key, so that the disk does not tell what was asked. No failure of the disk fails a call.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import stat
import struct
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

from wherever._cache_age import Stamp, is_fresh, present
from wherever._cache_values import Found, pack, unpack
from wherever._device_key import key_for_now
from wherever_contracts.errors import SettingsError
from wherever_contracts.frames import FrameError
from wherever_contracts.wire.tensors import from_array
from wherever_edge.forking import loading
from wherever_edge.images import Image

if TYPE_CHECKING:
    from wherever._cache_database import Entries
    from wherever_contracts.receipts import Answer
    from wherever_contracts.wire.tensors import Buffer

_LOG = logging.getLogger(__name__)

MIN_BYTES = 4 * 1024 * 1024
_REST_S = 1.0  # how long a disk that failed is left alone
_CALL, _RESULT = b"wherever call 1", b"wherever result 2"
_LENGTH = struct.Struct("<Q")

_Result = TypeVar("_Result")


def call_digest(
    device_key: bytes,
    inputs: Mapping[str, Any],
    options: Mapping[str, float],
    signature_digest: str,
) -> bytes:
    """What a call asks, whoever answers it: an HMAC-SHA256 of inputs, options and signature.

    The same checked input always has the same digest, whatever its strides and the order of names;
    an image is its file's bytes when it came encoded, else its pixels.

    Args:
        device_key: the secret of this device.
        inputs: the checked inputs by name: arrays, `Image`s, text, bytes.
        options: the call's options, defaults included.
        signature_digest: of the model's signature.

    Raises:
        InputError: an image turned out to be damaged.
    """
    parts: list[Buffer] = [signature_digest.encode(), str(len(options)).encode()]
    for name in sorted(options):
        parts += (name.encode(), float(options[name]).hex().encode())
    for name in sorted(inputs):
        parts += (name.encode(), *_canonical(inputs[name]))
    return _mac(device_key, _CALL, parts)


def result_key(
    device_key: bytes, call: bytes, variant_digest: str, precision: str, release: str = ""
) -> bytes:
    """The name of an answer: an HMAC-SHA256 of everything that decides it.

    Args:
        device_key: the secret of this device.
        call: its `call_digest`.
        variant_digest: of the variant that answers.
        precision: in which it computes.
        release: the release rule that changed the inputs before they were answered; "": none did.
    """
    words = (variant_digest, precision, release)
    return _mac(device_key, _RESULT, [call, *(word.encode() for word in words)])


def _mac(secret: bytes, domain: bytes, parts: Iterable[Buffer]) -> bytes:
    digest = hmac.new(secret, domain, hashlib.sha256)
    for part in parts:
        digest.update(_LENGTH.pack(len(part)))
        digest.update(part)
    return digest.digest()


def _canonical(value: Any) -> tuple[Buffer, Buffer]:
    """What kind of input it is, and its content."""
    if isinstance(value, str):
        return b"text", value.encode()
    if isinstance(value, bytes):
        return b"bytes", value
    if isinstance(value, Image):
        if value.file is not None:
            return b"file", value.file
        value = value.rgb()
    tensor = from_array("", value)
    return f"{tensor.datatype}{list(tensor.shape)}".encode(), tensor.data


class ResultCache:
    """Answers on disk. Threads, processes and forked children may share one directory.

    Nothing is opened before the first use. When the disk fails, calls go on without it: it is
    logged once, counted, and tried again after a second.

    Args:
        directory: where the answers lie; made, and closed to other users.
        max_bytes: how much it may hold, 4 MiB or more; an answer of more than an eighth of it is
            not kept.
        device_key: the secret of this device.
        ttl_s: how many seconds old an answer may be when it is given; None: whatever its age.
        clock: seconds that only grow.
        now: the present moment, by which ages are told.

    Raises:
        SettingsError: the directory belongs to another user or cannot be one, or `max_bytes` is
            too small.
    """

    def __init__(
        self,
        directory: Path,
        *,
        max_bytes: int,
        device_key: bytes,
        ttl_s: float | None = None,
        clock: Callable[[], float] = monotonic,
        now: Callable[[], Stamp] = present,
    ) -> None:
        if max_bytes < MIN_BYTES:
            raise SettingsError(f"the result cache needs {MIN_BYTES} bytes, not {max_bytes}")
        self._directory = directory.absolute()
        self._max_bytes = max_bytes
        self._device_key = device_key
        self._ttl_s = ttl_s
        self._clock = clock
        self._now = now
        self._lock = threading.RLock()
        self._entries: Entries | None = None
        self._rests_until = 0.0
        self._counts = {"hits": 0, "misses": 0, "damaged": 0, "failures": 0}
        try:
            _make_private(self._directory)
        except OSError as error:
            self._failed(error)
        _caches.add(self)

    @classmethod
    def in_home(cls, home: Path, *, max_bytes: int, ttl_s: float | None = None) -> ResultCache:
        """The cache of a state directory, under the device's own key.

        Where that cannot be read or written for now, the names of answers are made with a key that
        ends with the process.

        Raises:
            SettingsError: as for the constructor; or what lies there is not a device's key.
        """
        secret = key_for_now(home)
        return cls(home / "cache", max_bytes=max_bytes, device_key=secret, ttl_s=ttl_s)

    def call_digest(
        self, inputs: Mapping[str, Any], options: Mapping[str, float], signature_digest: str
    ) -> bytes:
        """What a call asks, as only this device can tell; see `call_digest` of this module."""
        return call_digest(self._device_key, inputs, options, signature_digest)

    def key(self, call: bytes, variant_digest: str, precision: str, release: str = "") -> bytes:
        """The name of an answer on this device; see `result_key`."""
        return result_key(self._device_key, call, variant_digest, precision, release)

    def find(self, key: bytes) -> Found | None:
        """What was kept under `key` and is not too old, its arrays the caller's own, or None."""
        data = self._guarded(lambda entries: self._read(entries, key), None)
        found = None
        if data is not None:
            try:
                found = self._fresh(key, unpack(key, data))
            except FrameError:
                self._guarded(lambda entries: self._drop(entries, key), None)
        self._count("misses" if found is None else "hits")
        return found

    def get(self, key: bytes) -> Answer | None:
        """The answer of `find`."""
        found = self.find(key)
        return None if found is None else found.answer

    def put(self, key: bytes, answer: Answer, host: str = "") -> None:
        """Keep an answer of `host`; one that no frame can hold, or too large, is not kept."""
        try:
            data = pack(key, Found(answer, self._now(), host))
        except FrameError:
            return
        if self._clock() >= self._rests_until and len(data) <= self._max_bytes // 8:
            self._guarded(lambda entries: self._keep(entries, key, data), None)

    def stats(self) -> dict[str, int]:
        """Entries and bytes on disk; hits, misses, damaged entries and failures of this process."""
        entries, size = self._guarded(lambda entries: entries.size(), (0, 0))
        return {"entries": entries, "bytes": size, **self._counts}

    def clear(self) -> None:
        """Forget every answer."""
        self._guarded(lambda entries: entries.clear(), None)

    def close(self) -> None:
        """Close the database; using the cache again opens it again."""
        with self._lock:
            entries, self._entries = self._entries, None
            if entries is not None:
                entries.close()

    def hold(self) -> None:
        """Before a fork: nobody is inside, and no connection is open that a child could inherit."""
        self._lock.acquire()
        with suppress(Exception):  # a fork cannot be refused
            self.close()

    def release(self) -> None:
        """After a fork, in parent and child."""
        self._lock.release()

    def _guarded(self, operation: Callable[[Entries], _Result], otherwise: _Result) -> _Result:
        """Do something with the entries; whatever the disk does, the caller goes on."""
        with self._lock:
            try:
                entries = self._opened()
                return otherwise if entries is None else operation(entries)
            except Exception as error:  # noqa: BLE001 (a cache never fails a call)
                self._failed(error)
                return otherwise

    def _opened(self) -> Entries | None:
        if self._entries is None and self._clock() >= self._rests_until:
            _make_private(self._directory)
            with loading():
                from wherever._cache_database import Entries  # noqa: PLC0415 (30 ms, and only here)

                self._entries = Entries(self._directory, max_bytes=self._max_bytes)
        return self._entries

    def _read(self, entries: Entries, key: bytes) -> bytes | bytearray | None:
        from wherever._cache_disk import DamagedEntryError  # noqa: PLC0415 (loaded by now)

        try:
            return entries.read(key)
        except DamagedEntryError:
            self._drop(entries, key)
            return None

    def _fresh(self, key: bytes, found: Found) -> Found | None:
        """What was found, unless it is too old; then it makes room."""
        if self._ttl_s is None or is_fresh(found.kept, self._now(), self._ttl_s):
            return found
        self._guarded(lambda entries: entries.drop(key), None)
        return None

    def _keep(self, entries: Entries, key: bytes, data: bytes) -> None:
        from wherever._cache_database import NotKeptError  # noqa: PLC0415 (loaded by now)

        try:
            entries.keep(key, data)
        except NotKeptError as error:
            self._rest(error)

    def _drop(self, entries: Entries, key: bytes) -> None:
        self._count("damaged")
        entries.drop(key)

    def _failed(self, error: Exception) -> None:
        """Leave the disk alone for a while, and open it anew then."""
        self._rest(error)
        with suppress(Exception):  # it is given up anyway
            self.close()

    def _rest(self, error: Exception) -> None:
        """Write nothing for a while; what is open can still be read."""
        if not self._counts["failures"]:
            what = f"{type(error).__name__}: {error}"
            _LOG.warning("the result cache in %s does not work now: %s", self._directory, what)
        self._count("failures")
        self._rests_until = self._clock() + _REST_S

    def _count(self, what: str) -> None:
        with self._lock:
            self._counts[what] += 1


def _make_private(directory: Path) -> None:
    """Make the directory, and see that nobody else may enter it.

    Raises:
        SettingsError: it belongs to another user, is none, or diskcache would read its name
            otherwise.
    """
    if os.path.expandvars(directory) != os.fspath(directory):
        raise SettingsError(f"the result cache cannot lie in {directory}: it names a variable")
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError as error:
        raise SettingsError(f"the result cache cannot lie in {directory}: no directory") from error
    if os.name == "nt":
        return
    status = directory.stat()
    if status.st_uid != os.geteuid():
        raise SettingsError(
            f"the result cache cannot lie in {directory}: user {status.st_uid} owns it, and could "
            f"read and change answers; name another directory, or change its owner"
        )
    if stat.S_IMODE(status.st_mode) & 0o077:
        directory.chmod(0o700)


_caches: WeakSet[ResultCache] = WeakSet()
_held: list[ResultCache] = []


def _before_fork() -> None:
    for cache in list(_caches):
        _held.append(cache)
        cache.hold()


def _after_fork() -> None:
    while _held:
        _held.pop().release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork
    )
