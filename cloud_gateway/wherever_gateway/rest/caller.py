"""The client of one HTTP request."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.requests import Request

    from wherever_edge.oip.keys import KeyInfo

# the extension of ASGI by which a connection tells whether its client is gone: a function, which is
# there for the asking; waiting for the news would be a task for every request
GONE = "wherever.gone"


class HttpCaller:
    """Who waits for an answer; see `wherever_edge.oip.admission.Caller`.

    Attributes:
        key: the API key that it brought, if it counts here.
        n_bytes: the size of its body.
        timeout_s: how long it waits, from the arrival of its body on; None for no limit.
    """

    def __init__(self, request: Request, key: KeyInfo | None, n_bytes: int) -> None:
        self._headers = request.headers
        self.key = key
        self.n_bytes = n_bytes
        self._arrived = monotonic()
        self._gone: Callable[[], bool] | None = request.scope.get("extensions", {}).get(GONE)
        self.timeout_s: float | None = None

    def time_remaining(self) -> float | None:
        """Seconds of the request's timeout that are left, None when it has none."""
        return None if self.timeout_s is None else self._arrived + self.timeout_s - monotonic()

    def is_active(self) -> bool:
        """False once the client has closed the connection, as far as the server tells."""
        return self._gone is None or not self._gone()

    def header(self, name: str) -> str | None:
        """The request's header of this name."""
        return self._headers.get(name)
