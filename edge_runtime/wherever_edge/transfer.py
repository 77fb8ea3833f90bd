"""What decides about a download: addresses, headers, sizes and readings of the clock. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit, urlunsplit

from wherever_contracts.errors import DigestError, DownloadError

MAX_REDIRECTS = 5

_PORTS = {"http": 80, "https": 443}
_PHRASES = {int(status): status.phrase for status in HTTPStatus}
_WORTH_A_RETRY = frozenset({408, 425, 429, 500, 502, 503, 504})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a download waits, and how often it tries.

    Attributes:
        connect_s: seconds for a connection.
        read_s: seconds in which nothing at all may arrive.
        total_s: seconds for everything, retries included; None for as long as it takes.
        min_bytes_per_s: a server that sends less than this over `window_s` has stalled.
        window_s: see above.
        attempts: tries in all.
        backoff_s: the first pause between two tries; each is up to twice as long as the last.
    """

    connect_s: float = 10.0
    read_s: float = 20.0
    total_s: float | None = None
    min_bytes_per_s: float = 1024.0
    window_s: float = 30.0
    attempts: int = 4
    backoff_s: float = 0.5


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be fetched: its digest and size where they are known, and the most it may be."""

    sha256: str | None
    size: int | None
    max_bytes: int

    def check_total(self, name: str, total: int | None) -> None:
        """Refuse a file before its first byte, by the length that the server states.

        Raises:
            DigestError: another length than the one that is known.
            DownloadError: more than the caller takes.
        """
        if total is None:
            return
        if self.size is not None and total != self.size:
            raise DigestError(name, "bytes", f"{self.size} bytes", f"{total} bytes")
        self.check_so_far(name, total)

    def check_so_far(self, name: str, done: int) -> None:
        """Refuse a file that has become too long, whatever was stated.

        Raises:
            DigestError: longer than the length that is known.
            DownloadError: more than the caller takes.
        """
        if done > self.max_bytes:
            raise final(f"{name}: more than the {self.max_bytes} bytes that are allowed here")
        if self.size is not None and done > self.size:
            raise DigestError(name, "bytes", f"{self.size} bytes", f"more than {self.size} bytes")


class Kept(NamedTuple):
    """What is known about the bytes that an earlier try left behind.

    `validator` is the ETag or date that the server gave them, or "".
    """

    url: str
    validator: str
    sha256: str | None

    def fits(self, url: str, sha256: str | None) -> bool:
        """Whether what is fetched now can go on from there: same digest, or same version."""
        same_file = sha256 is not None and sha256 == self.sha256
        return same_file or (url == self.url and bool(self.validator))

    def request(self, url: str, have: int) -> dict[str, str]:
        """The headers that ask for the rest, and for all of it when it has changed since."""
        headers = {"Range": f"bytes={have}-"}
        if self.validator and url == self.url:
            headers["If-Range"] = self.validator
        return headers


class Part(NamedTuple):
    """What a response carries: bytes from `start` on, of `total` if the server says."""

    start: int
    total: int | None


class Pace:
    """Tells when a transfer has become too slow, or takes too long in all.

    Args:
        patience: what is too slow.
        now: the clock's reading in seconds at the start of this try.
        deadline: the reading at which everything must be done, or None.
    """

    def __init__(self, patience: Patience, now: float, deadline: float | None) -> None:
        self._patience = patience
        self._deadline = deadline
        self._since = now
        self._received = 0

    def check(self, name: str, count: int, now: float) -> None:
        """Count `count` bytes that have just arrived.

        Raises:
            DownloadError: too slow, or too late.
        """
        self._received += count
        if self._deadline is not None and now >= self._deadline:
            raise DownloadError(f"{name}: not done within {self._patience.total_s:g} s")
        passed = now - self._since
        if passed < self._patience.window_s:
            return
        if self._received < self._patience.min_bytes_per_s * passed:
            raise DownloadError(
                f"{name}: the server sent {self._received} bytes in {passed:.1f} s, "
                f"less than {self._patience.min_bytes_per_s:g} a second"
            )
        self._since, self._received = now, 0


def final(message: str) -> DownloadError:
    """An error that the same request would meet again."""
    error = DownloadError(message)
    error.retryable = False
    return error


def shown(url: str) -> str:
    """An address without what may be secret in it: user, password, query."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def check_address(url: str) -> str:
    """The scheme of an address that can be fetched: "http", "https" or "file".

    Raises:
        DownloadError: another scheme, or no host.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError as error:
        raise final(f"not an address: {url!r} ({error})") from error
    if parts.scheme not in {"http", "https", "file"}:
        raise final(f"{shown(url)}: only http, https and file addresses can be fetched")
    if parts.scheme == "file" and host not in {None, "localhost"}:
        raise final(f"{shown(url)}: a file address of another machine")
    if parts.scheme != "file" and not host:
        raise final(f"{url!r}: an address without a host")
    return parts.scheme


def same_origin(one: str, other: str) -> bool:
    """Whether two addresses mean the same scheme, host and port."""
    return _origin(one) == _origin(other)


def redirected(url: str, location: str | None) -> str:
    """Where a redirect leads, when it may be followed.

    Raises:
        DownloadError: it leads nowhere, to another kind of address, or from https to http.
    """
    if not location:
        raise final(f"{shown(url)}: redirected to nowhere")
    there = urljoin(url, location)
    before, after = urlsplit(url).scheme, check_address(there)
    if after != before and (before, after) != ("http", "https"):
        raise final(f"{shown(url)}: refused to be redirected to {shown(there)}")
    return there


def is_redirect(status: int) -> bool:
    """Whether a response means: ask elsewhere."""
    return status in _REDIRECTS


def check_status(url: str, status: int) -> None:
    """Refuse a response that carries no part of the file.

    Raises:
        DownloadError: what the server said; `retryable` where another try may help.
    """
    if status in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
        return
    phrase = _PHRASES.get(status, "no known status")
    message = f"{shown(url)}: the server says {status} ({phrase})"
    raise DownloadError(message) if status in _WORTH_A_RETRY else final(message)


def part_of(url: str, status: int, headers: Mapping[str, str], asked: int) -> Part:
    """Which bytes a response carries.

    Args:
        url: whom was asked, for errors.
        status: 200 or 206.
        headers: of the response, by lower-case name.
        asked: the first byte that was asked for.

    Raises:
        DownloadError: packed bytes, or another part than was asked for.
    """
    encoding = headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise final(f"{shown(url)}: the server packs what it sends ({encoding}), unasked")
    if status == HTTPStatus.OK:
        length = headers.get("content-length", "")
        return Part(0, int(length) if length.isdigit() else None)
    match = _CONTENT_RANGE.fullmatch(headers.get("content-range", ""))
    if not asked or match is None or int(match[1]) != asked:
        found = headers.get("content-range", "none")
        raise DownloadError(f"{shown(url)}: asked for bytes from {asked} on, got range {found!r}")
    return Part(asked, None if match[3] == "*" else int(match[3]))


def validator_of(headers: Mapping[str, str]) -> str:
    """What identifies these very bytes to the server that sent them, or "".

    A weak ETag does not, nor does a date from the second in which the file was served: it may
    have changed since.
    """
    etag = headers.get("etag", "")
    if etag.startswith('"'):
        return etag
    changed = headers.get("last-modified", "")
    return "" if etag or changed == headers.get("date") else changed


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)
