"""A host on the other side of a network: any server of the Open Inference Protocol v2."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from wherever_contracts.errors import ClosedError, UnreachableError
from wherever_edge.oip import forks
from wherever_edge.oip.security import ClientSecurity

if TYPE_CHECKING:
    from wherever_contracts.places import Place
    from wherever_contracts.wire.metadata import ModelMetadata, ServerMetadata
    from wherever_contracts.wire.tensors import InferRequest, InferResponse
    from wherever_edge.oip.calls import RemoteCall
    from wherever_edge.oip.connection import Connection
    from wherever_edge.oip.endpoints import Endpoint

MAX_BYTES = 64 * 1024 * 1024
_NO_SECURITY = ClientSecurity()


class RemoteHost:
    """Sends calls to one server. Safe to use from many threads; connects on the first call.

    Every error of a call names the server, the time it took, and what may help. A call that the
    server broke off because it stops is sent once more, in the time that is left.

    Args:
        endpoint: where the server listens.
        max_bytes: the largest message in either direction.
        place: its distance. Only what is as far as the cloud is reached through a proxy that the
            environment names.
        security: whom to trust, the key to bring, and the proxy.

    Raises:
        SettingsError: an API key would travel in the clear, or a certificate is none.

    Attributes:
        name: "host:port".
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        max_bytes: int = MAX_BYTES,
        place: Place = "cloud",
        security: ClientSecurity = _NO_SECURITY,
    ) -> None:
        self.endpoint = endpoint
        self.name = endpoint.name
        self.place: Place = place
        self.max_bytes = max_bytes
        self._way = security.way_to(endpoint, proxied=place == "cloud")
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._closed = False

    @property
    def pings(self) -> bool:
        """Whether the server allows pings, so that a cut is noticed within 1.5 s of a call."""
        return self._connection is not None and self._connection.links.pings

    def infer(self, request: InferRequest, timeout_s: float | None = None) -> InferResponse:
        """Send a call and wait for its answer.

        Args:
            request: the call.
            timeout_s: how long it may take, None for no limit.

        Raises:
            AttemptError: the server could not be reached, refused, failed, or was too slow.
            ClosedError: this host was closed.
            ForkedError: a parent of this process had used the network.
        """
        return (self._connection or self._connect()).infer(request, timeout_s)

    def start(self, request: InferRequest, timeout_s: float | None = None) -> RemoteCall:
        """Send a call without waiting; what goes wrong later is raised by the call's `result`.

        Args:
            request: the call.
            timeout_s: how long it may take, None for no limit.

        Raises:
            RefusedError: the request is too large, or cannot be put into a message.
            DeadlineError: no time is left.
            ClosedError: this host was closed.
            ForkedError: a parent of this process had used the network.
        """
        from wherever_edge.oip.calls import RemoteCall  # noqa: PLC0415 (grpc, 75 ms)

        connection = self._connection or self._connect()
        return RemoteCall(connection, connection.encoded(request), timeout_s)

    def probe(self, timeout_s: float | None = 1.0) -> None:
        """Ask whether the server is well.

        When no answer comes in time, later calls use a new connection.

        Raises:
            AttemptError: it is not well, or not reached.
            ClosedError: this host was closed.
            ForkedError: a parent of this process had used the network.
        """
        if not (self._connection or self._connect()).is_well(timeout_s):
            raise UnreachableError(f"{self.name} answers, but says that it does not serve now")

    def server_metadata(self, timeout_s: float | None = None) -> ServerMetadata:
        """What the server says about itself; raises as `infer` does."""
        return (self._connection or self._connect()).server_metadata(timeout_s)

    def model_metadata(
        self, model: str, version: str = "", timeout_s: float | None = None
    ) -> ModelMetadata:
        """What the server says about a model; raises as `infer` does."""
        return (self._connection or self._connect()).model_metadata(model, version, timeout_s)

    def close(self) -> None:
        """Close the connection; calls that run end with an error."""
        if forks.in_child():
            return  # the connection is the parent's, and so may be the lock
        with self._lock:
            self._closed = True
            connection = self._connection
        if connection is not None:
            connection.links.close()

    def _connect(self) -> Connection:
        forks.note_use()  # first: a child may be forked while another thread imports
        from wherever_edge.oip.connection import Connection  # noqa: PLC0415 (grpc, 75 ms)

        with self._lock:
            if self._closed:
                raise ClosedError(f"the connection to {self.name} was closed")
            if self._connection is None:
                self._connection = Connection(
                    self.endpoint,
                    max_bytes=self.max_bytes,
                    way=self._way,
                )
            return self._connection
