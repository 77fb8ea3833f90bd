"""Fetching one file, so that it appears whole and checked, or not at all.

What has arrived stays in `<target>.partial`, with a note beside it, and the next try goes on from
there; a file that has changed at the server since then is fetched anew.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import json
import os
import shutil
import stat
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeAlias
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from wherever_contracts.errors import DigestError, DownloadError
from wherever_edge import transfer
from wherever_edge.durable import sync_directory
from wherever_edge.transfer import Kept, Pace, Patience, Wanted

if TYPE_CHECKING:
    import ssl

    import httpx

__all__ = ["Patience", "Progress", "download"]

Progress: TypeAlias = Callable[[int, int | None], None]

_CHUNK = 64 * 1024
_FULL = frozenset({errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)})


def download(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    size: int | None = None,
    max_bytes: int,
    progress: Progress | None = None,
    headers: Mapping[str, str] | None = None,
    patience: Patience | None = None,
    proxy: str | None = None,
) -> Path:
    """Fetch a file, check it, and put it in its place.

    One caller at a time may fetch to a target; another file of that name is replaced.

    Args:
        url: an http, https or file address.
        target: where the file appears, whole; its directory is made when it is not there.
        sha256: the digest (hex) that it must have; None when nobody knows.
        size: the length in bytes that it must have; None when nobody knows.
        max_bytes: the most that is taken from the server.
        progress: called with the bytes that are there and the bytes in all (None: not known).
        headers: sent to the host of `url`, and to no other that it redirects to.
        patience: time-outs, the least rate, and the number of tries.
        proxy: the address of a proxy; what the environment says by default.

    Returns:
        `target`.

    Raises:
        DigestError: the server has other bytes than those that are wanted.
        DownloadError: the file cannot be had (now, when `retryable`); what came is kept.
    """
    wanted = Wanted(sha256, size, max_bytes)
    wanted.check_total(target.name, size)
    tell = progress or _tell_nobody
    if transfer.check_address(url) == "file":
        return _Fetch(url, target, wanted, tell, patience or Patience()).copy()
    fetch = _Fetch(url, target, wanted, tell, patience or Patience())
    return fetch.over_http(headers or {}, proxy)


@functools.cache
def tls_context() -> ssl.SSLContext:
    """Whom https servers may be certified by, as httpx has it; read once (20 ms) a process."""
    import httpx  # noqa: PLC0415 (120 ms)

    return httpx.create_ssl_context()


class _Fetch:
    """One file on its way to one place."""

    def __init__(
        self, url: str, target: Path, wanted: Wanted, tell: Progress, patience: Patience
    ) -> None:
        self._url = url
        self._target = target
        self._wanted = wanted
        self._tell = tell
        self._patience = patience
        self._partial = target.with_name(f"{target.name}.partial")
        self._note = target.with_name(f"{target.name}.partial.json")
        self._name = transfer.shown(url)
        self._deadline = patience.total_s and time.monotonic() + patience.total_s

    def copy(self) -> Path:
        """Take a file of this machine."""
        source = Path(url2pathname(unquote(urlsplit(self._url).path)))
        try:
            status = source.stat()
            if not stat.S_ISREG(status.st_mode):
                raise transfer.final(f"{source}: not a file")
            self._wanted.check_total(self._name, status.st_size)
            self._drop()
            with source.open("rb") as file:
                self._take(iter(lambda: file.read(_CHUNK), b""), 0, status.st_size)
        except OSError as error:
            raise transfer.final(f"{source}: {error.strerror or error}") from error
        return self._settle(resumed=False)

    def over_http(self, headers: Mapping[str, str], proxy: str | None) -> Path:
        """Take a file of a server, in as many tries as it needs and may have."""
        import tenacity  # noqa: PLC0415 (40 ms)

        patience = self._patience
        stop = tenacity.stop_after_attempt(patience.attempts)
        retrying = tenacity.Retrying(
            stop=stop | tenacity.stop_before_delay(patience.total_s) if patience.total_s else stop,
            wait=tenacity.wait_random_exponential(patience.backoff_s, max=16 * patience.backoff_s),
            retry=tenacity.retry_if_exception(_worth_a_retry),
            reraise=True,
        )
        with self._client(proxy) as client:
            return retrying(self._try, client, headers)

    def _client(self, proxy: str | None) -> httpx.Client:
        import httpx  # noqa: PLC0415 (120 ms)

        read_s = min(self._patience.read_s, self._patience.total_s or self._patience.read_s)
        timeout = httpx.Timeout(read_s, connect=min(self._patience.connect_s, read_s))
        try:
            return httpx.Client(timeout=timeout, proxy=proxy, verify=tls_context())
        except (httpx.InvalidURL, ValueError) as error:
            raise transfer.final(f"{self._name}: the proxy's address is wrong: {error}") from error

    def _try(self, client: httpx.Client, headers: Mapping[str, str]) -> Path:
        have, kept = self._left_behind()
        if kept is not None and have == self._wanted.size:
            return self._settle(resumed=True)
        asking = kept.request(self._url, have) if kept else {}
        with self._network(), self._answer(client, {**headers, **asking}) as response:
            if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and kept:
                self._drop()
                raise DownloadError(f"{self._name}: the file has become shorter; starting anew")
            transfer.check_status(self._url, response.status_code)
            start = self._receive(response, have)
        return self._settle(resumed=start > 0)

    @contextmanager
    def _answer(
        self, client: httpx.Client, headers: Mapping[str, str]
    ) -> Generator[httpx.Response, None, None]:
        """The response to a request, after the redirects that may be followed."""
        url = self._url
        for _ in range(transfer.MAX_REDIRECTS + 1):
            own = headers if transfer.same_origin(url, self._url) else _without_secrets(headers)
            with client.stream("GET", url, headers={**own, "Accept-Encoding": "identity"}) as found:
                if not transfer.is_redirect(found.status_code):
                    yield found
                    return
                url = transfer.redirected(url, found.headers.get("location"))
        raise transfer.final(f"{self._name}: redirected more than {transfer.MAX_REDIRECTS} times")

    @contextmanager
    def _network(self) -> Generator[None, None, None]:
        """Say what the network did in our words."""
        import httpx  # noqa: PLC0415 (loaded by now)

        try:
            yield
        except httpx.InvalidURL as error:
            raise transfer.final(f"{self._name}: {error}") from error
        except httpx.TransportError as error:
            what = str(error) or type(error).__name__
            if "CERTIFICATE_VERIFY_FAILED" in what:
                raise transfer.final(f"{self._name}: {what}") from error
            raise DownloadError(f"{self._name}: {what}") from error

    def _receive(self, response: httpx.Response, have: int) -> int:
        """Add what a response carries to what is there; where it began."""
        try:
            part = transfer.part_of(self._url, response.status_code, response.headers, have)
            self._wanted.check_total(self._name, part.total)
        except (DigestError, DownloadError):
            self._drop()
            raise
        if part.start == 0:
            self._drop()
            self._write_note(transfer.validator_of(response.headers))
        self._take(response.iter_raw(), part.start, part.total)
        return part.start

    def _take(self, chunks: Iterable[bytes], start: int, total: int | None) -> None:
        """Write chunks from `start` on."""
        whole = total if total is not None else self._wanted.size
        done, pace = start, Pace(self._patience, time.monotonic(), self._deadline)
        with self._disk(whole, start), self._open(start) as file:
            self._tell(done, whole)
            for chunk in chunks:
                done += len(chunk)
                self._check_so_far(done)
                file.write(chunk)
                self._tell(done, whole)
                pace.check(self._name, len(chunk), time.monotonic())
            file.flush()
            os.fsync(file.fileno())
        if whole is not None and done < whole:
            raise DownloadError(f"{self._name}: ended after {done} of {whole} bytes")

    def _check_so_far(self, done: int) -> None:
        try:
            self._wanted.check_so_far(self._name, done)
        except (DigestError, DownloadError):
            self._drop()
            raise

    def _open(self, start: int) -> BinaryIO:
        file = self._partial.open("r+b" if start else "wb")
        file.seek(start)
        return file

    @contextmanager
    def _disk(self, whole: int | None, start: int) -> Generator[None, None, None]:
        """Say what this machine's disk did in our words."""
        folder = self._partial.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            free, needed = shutil.disk_usage(folder).free, (whole or 0) - start
            if needed > free:
                raise transfer.final(
                    f"{self._name}: no room in {folder}: {needed} bytes to come, {free} free"
                )
            yield
        except OSError as error:
            what = "no room left" if error.errno in _FULL else error.strerror or str(error)
            message = f"{self._name}: {what} in {folder}; what has arrived is kept"
            raise transfer.final(message) from error

    def _settle(self, *, resumed: bool) -> Path:
        """Check what has arrived, and move it to its place."""
        wanted = self._wanted.sha256
        if wanted is not None:
            with self._partial.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != wanted:
                self._drop()
                if resumed:
                    raise DownloadError(f"{self._name}: what was kept did not fit; starting anew")
                raise DigestError(self._name, "sha256", wanted, found)
        with self._disk(None, 0):
            self._partial.replace(self._target)
            self._note.unlink(missing_ok=True)
            sync_directory(self._target.parent)
        return self._target

    def _left_behind(self) -> tuple[int, Kept | None]:
        """The bytes that an earlier try left, when this one can go on from there."""
        with suppress(OSError, ValueError, TypeError):
            kept = Kept(**json.loads(self._note.read_bytes()))
            have = self._partial.stat().st_size
            if have and kept.fits(self._url, self._wanted.sha256):
                return have, kept
        return 0, None

    def _write_note(self, validator: str) -> None:
        kept = Kept(self._url, validator, self._wanted.sha256)
        with self._disk(None, 0):
            self._note.write_text(json.dumps(kept._asdict()), encoding="utf-8")

    def _drop(self) -> None:
        for file in (self._note, self._partial):
            with suppress(FileNotFoundError, NotADirectoryError):
                file.unlink()


def _worth_a_retry(error: BaseException) -> bool:
    return isinstance(error, DownloadError) and error.retryable


def _without_secrets(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that are ours alone; a caller's may be meant for one host."""
    return {name: value for name, value in headers.items() if name in {"Range", "If-Range"}}


def _tell_nobody(done: int, total: int | None) -> None:
    """Nobody is looking."""
