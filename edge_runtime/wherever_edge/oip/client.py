"""A host on the other side of a network: any server of the Open Inference Protocol v2."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from wherever_contracts.errors import RefusedError
from wherever_edge.egress import guard
from wherever_edge.oip import forks
from wherever_edge.oip.allotted import Allotted
from wherever_edge.oip.approach import Approach
from wherever_edge.oip.security import ClientSecurity

if TYPE_CHECKING:
    from wherever_contracts.places import Place
    from wherever_contracts.wire.metadata import ModelMetadata, ServerMetadata
    from wherever_contracts.wire.tensors import InferRequest, InferResponse
    from wherever_edge.oip.approach import Chosen
    from wherever_edge.oip.deferred import StartedCall
    from wherever_edge.oip.endpoints import Endpoint

T = TypeVar("T")

MAX_BYTES = 64 * 1024 * 1024
_NO_SECURITY = ClientSecurity()


class RemoteHost:
    """Sends calls to one server. Safe to use from many threads; connects on the first call.

    Calls go over gRPC; where it does not pass, over REST. Every error of a call names the server,
    the time it took, and what may help. A call that the server broke off because it stops is sent
    once more, in the time that is left.

    Args:
        endpoint: where the server listens.
        max_bytes: the largest message in either direction.
        place: its distance. A call that may not travel so far is not sent; only what is as far as
            the cloud is reached through a proxy that the environment names.
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
        self._approach = self._new_approach()
        forks.begin_anew_in_children(self)

    @property
    def pings(self) -> bool:
        """Whether the server allows pings, so that a cut is noticed within 1.5 s of a call."""
        chosen = self._approach.chosen
        return chosen is not None and chosen.pings

    def infer(self, request: InferRequest, timeout_s: float | None = None) -> InferResponse:
        """Send a call and wait for its answer.

        Args:
            request: the call.
            timeout_s: how long it may take, None for no limit.

        Raises:
            BlockedError: the call's boundary does not reach as far as this host.
            AttemptError: the server could not be reached, refused, failed, or was too slow.
            ClosedError: this host was closed.
            ForkedError: a parent of this process had used gRPC, and the server has no REST.
        """
        time = Allotted.from_now(timeout_s)
        chosen = self._approach.chosen
        if chosen is None:
            self._refuse_unsent(request)
            chosen = self._approach.find(time)
        return chosen.infer(request, time)

    def start(self, request: InferRequest, timeout_s: float | None = None) -> StartedCall:
        """Send a call without waiting; what goes wrong later is raised by the call's `result`.

        Args:
            request: the call.
            timeout_s: how long it may take, None for no limit.

        Raises:
            BlockedError: the call's boundary does not reach as far as this host.
            RefusedError: the request is too large, or cannot be put into a message.
            DeadlineError: no time is left.
            ClosedError: this host was closed.
            ForkedError: a parent of this process had used gRPC, and the server has no REST.
        """
        time = Allotted.from_now(timeout_s)
        chosen = self._approach.chosen
        if chosen is None:
            self._refuse_unsent(request)
            return self._approach.start(request, time)
        return chosen.start(request, time)

    def probe(self, timeout_s: float | None = 1.0) -> None:
        """Ask whether the server is well.

        When no answer comes in time, later calls use a new connection.

        Raises:
            AttemptError: it is not well, or not reached.
            ClosedError: this host was closed.
            ForkedError: a parent of this process had used gRPC, and the server has no REST.
        """
        self._approach.probe(Allotted.from_now(timeout_s))

    def server_metadata(self, timeout_s: float | None = None) -> ServerMetadata:
        """What the server says about itself; raises as `infer` does."""
        return self._within(timeout_s, lambda chosen, time: chosen.server_metadata(time))

    def model_metadata(
        self, model: str, version: str = "", timeout_s: float | None = None
    ) -> ModelMetadata:
        """What the server says about a model; raises as `infer` does."""
        return self._within(
            timeout_s, lambda chosen, time: chosen.model_metadata(model, version, time)
        )

    def model_ready(self, model: str, version: str = "", timeout_s: float | None = None) -> bool:
        """Whether the server says that it answers calls for a model; raises as `infer` does."""
        return self._within(
            timeout_s, lambda chosen, time: chosen.model_ready(model, version, time)
        )

    def prepare(self) -> None:
        """Import what calls need, so that no call has to: gRPC takes 75 ms, httpx 120."""
        self._approach.prepare()

    def renew(self) -> None:
        """Let later calls use a new connection: what lies under the one in use may be gone."""
        self._approach.renew()

    def close(self) -> None:
        """Close the connections; calls that run end with an error."""
        self._approach.close()

    def after_fork(self) -> object:
        """Begin anew in a child, with connections of its own; gives back those of the parent."""
        inherited, self._approach = self._approach, self._new_approach()
        return inherited

    def _new_approach(self) -> Approach:
        return Approach(self.endpoint, max_bytes=self.max_bytes, way=self._way, place=self.place)

    def _within(self, timeout_s: float | None, ask: Callable[[Chosen, Allotted], T]) -> T:
        time = Allotted.from_now(timeout_s)
        return ask(self._approach.chosen or self._approach.find(time), time)

    def _refuse_unsent(self, request: InferRequest) -> None:
        """Before anything is connected; the connection looks again, and counts to the byte."""
        guard.check(request.boundary, self.place, self.name)
        size = sum(len(tensor.data) for tensor in request.inputs)
        if size > self.max_bytes:
            raise RefusedError(
                f"the call to {self.name} has {size} bytes and the limit is {self.max_bytes}; "
                "send less, or raise the limit on both sides"
            )
