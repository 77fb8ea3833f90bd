"""Small files of a registry over HTTP: bounded in size and time, whatever the server does."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

import httpx
import tenacity
from tuf.api.exceptions import (
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    SlowRetrievalError,
)
from tuf.ngclient import FetcherInterface

from wherever_contracts.errors import DownloadError as OurDownloadError
from wherever_edge import transfer
from wherever_edge.downloads import tls_context
from wherever_edge.transfer import Pace, Patience

_CHUNK = 64 * 1024


class Fetcher(FetcherInterface):
    """Fetches what python-tuf asks for; nothing but its `DownloadError` comes out.

    Args:
        patience: time-outs, the least rate, and the number of tries for each file.
    """

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        timeout = httpx.Timeout(patience.read_s, connect=patience.connect_s)
        self._client = httpx.Client(timeout=timeout, verify=tls_context())

    def close(self) -> None:
        """Close connections."""
        self._client.close()

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """The bytes of a small file; tried again when the network fails.

        Raises:
            DownloadLengthMismatchError: there are more than `max_length`.
            DownloadHTTPError: the server says that it has no such file, or will not give it.
            SlowRetrievalError: the server is too slow.
            DownloadError: it cannot be reached, or the connection broke.
        """
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self._patience.attempts),
            wait=tenacity.wait_random_exponential(self._patience.backoff_s, max=5.0),
            retry=tenacity.retry_if_exception(_worth_a_retry),
            reraise=True,
        )
        return retrying(super().download_bytes, url, max_length)

    def _fetch(self, url: str) -> Iterator[bytes]:
        if urlsplit(url).scheme == "file":
            return _from_disk(url)
        return self._from_network(url)

    def _from_network(self, url: str) -> Iterator[bytes]:
        deadline = self._patience.total_s and time.monotonic() + self._patience.total_s
        pace = Pace(self._patience, time.monotonic(), deadline)
        with _told(url), _answer(self._client, url) as response:
            if response.status_code != HTTPStatus.OK:
                status = response.status_code
                message = f"{transfer.shown(url)}: the server says {status}"
                raise DownloadHTTPError(message, status)
            for chunk in response.iter_raw():
                pace.check(transfer.shown(url), len(chunk), time.monotonic())
                yield chunk


def _from_disk(url: str) -> Iterator[bytes]:
    """A registry on a disk or a stick, named by a file address."""
    path = Path(url2pathname(unquote(urlsplit(url).path)))
    try:
        with path.open("rb") as file:
            yield from iter(lambda: file.read(_CHUNK), b"")
    except FileNotFoundError as error:
        raise DownloadHTTPError(f"{path} is not there", HTTPStatus.NOT_FOUND) from error
    except OSError as error:
        raise DownloadError(f"{path}: {error.strerror or error}") from error


@contextmanager
def _answer(client: httpx.Client, url: str) -> Generator[httpx.Response]:
    """The response, after the redirects that may be followed."""
    where = url
    for _ in range(transfer.MAX_REDIRECTS + 1):
        with client.stream("GET", where, headers={"Accept-Encoding": "identity"}) as response:
            if not transfer.is_redirect(response.status_code):
                yield response
                return
            where = transfer.redirected(where, response.headers.get("location"))
    raise DownloadError(f"{transfer.shown(url)}: redirected too often")


@contextmanager
def _told(url: str) -> Generator[None]:
    """Let what httpx and `transfer` raise come out as python-tuf's errors."""
    name = transfer.shown(url)
    try:
        yield
    except httpx.ConnectTimeout as error:
        raise DownloadError(f"{name}: no connection in time") from error
    except httpx.TimeoutException as error:
        raise SlowRetrievalError(f"{name}: nothing came for too long") from error
    except OurDownloadError as error:
        raise SlowRetrievalError(str(error)) from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise DownloadError(f"{name}: {str(error) or type(error).__name__}") from error


def _worth_a_retry(error: BaseException) -> bool:
    if isinstance(error, DownloadHTTPError):
        return error.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR
    final = (DownloadLengthMismatchError, SlowRetrievalError)
    return isinstance(error, DownloadError) and not isinstance(error, final)
