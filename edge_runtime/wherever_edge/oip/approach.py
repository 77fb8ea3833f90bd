"""How one host is reached: over gRPC where that passes, else over REST.

What decides is `wherever_edge.oip.transport`; here it is carried out. A host is looked for with
questions that carry no payload, so no call is ever sent twice because of the search, and nothing
of it goes to a program that merely listens at a port.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib import import_module
from time import monotonic
from typing import TYPE_CHECKING, TypeAlias

from wherever_contracts.errors import (
    AttemptError,
    ClosedError,
    DeadlineError,
    UnreachableError,
    UntrustedPeerError,
    WhereverError,
)
from wherever_edge.oip import forks
from wherever_edge.oip.allotted import Allotted
from wherever_edge.oip.transport import (
    LONGEST_ASKING_S,
    Protocol,
    Transport,
    ports_to_ask,
    share,
)

if TYPE_CHECKING:
    from wherever_contracts.places import Place
    from wherever_contracts.wire.tensors import InferRequest
    from wherever_edge.oip.connection import Connection
    from wherever_edge.oip.deferred import DeferredCall
    from wherever_edge.oip.endpoints import Endpoint
    from wherever_edge.oip.rest import RestConnection
    from wherever_edge.oip.security import Way

Chosen: TypeAlias = "Connection | RestConnection"

# calls over REST that are under way at a time, and searches; others wait for their turn
_THREADS = 32
# who looks for a way waits for questions over REST: in the same threads, as many searches as
# there are threads would wait for each other
_ASKING, _SEARCHING = "wherever-remote", "wherever-search"
# in a forked child whose host has no REST, how long that is taken for granted
_FORGET_AFTER_S = 10.0


class Approach:
    """The connections to one host. Safe to use from many threads; connects on the first call.

    Args:
        endpoint: where the server listens.
        max_bytes: the largest message in either direction.
        way: whom to trust, the key to bring, and the proxy.
        place: the server's distance.

    Attributes:
        chosen: what the next call goes over; None when `find` has to find out.
    """

    def __init__(self, endpoint: Endpoint, *, max_bytes: int, way: Way, place: Place) -> None:
        self.chosen: Chosen | None = None
        self._endpoint = endpoint
        self._max_bytes = max_bytes
        self._way = way
        self._place: Place = place
        self._forked = endpoint.grpc and forks.in_child()
        self._transport = Transport(
            grpc=endpoint.grpc and not self._forked, rest=bool(endpoint.rest_ports)
        )
        self._lock = threading.RLock()
        self._closed = False
        self._grpc: Connection | None = None
        self._rest: RestConnection | None = None
        self._pools: dict[str, ThreadPoolExecutor] = {}
        self._had_rest = False
        self._no_rest_until = float("-inf")

    def prepare(self) -> None:
        """Import what the first question needs."""
        over_grpc = "grpc" in self._transport.order
        import_module("wherever_edge.oip.connection" if over_grpc else "wherever_edge.oip.rest")
        if not over_grpc:
            import_module("httpx")

    def find(self, time: Allotted) -> Chosen:
        """Look for a way to the host, within the time of a call.

        Raises:
            AttemptError: none was found; the message says what was tried.
            UntrustedPeerError: something else than the host answered; nothing else was tried.
            ClosedError: this was closed.
            ForkedError: only gRPC was left, in a process that cannot use it.
        """
        self._refuse_closed()
        time.left_s(self._endpoint.name)
        order = self._transport.order
        if order == ("grpc",):
            return self._use("grpc")
        grpc_error = rest_error = None
        if "grpc" in order:
            grpc_error = self._try_grpc(time, more_to_ask=True)
            if grpc_error is None:
                return self._use("grpc")
        rest_error = self._try_rest(time, grpc_error)
        if rest_error is None:
            return self._use("rest")
        if isinstance(grpc_error, DeadlineError) and not time.over:  # perhaps it is only slow
            grpc_error = self._try_grpc(time, more_to_ask=False)
            if grpc_error is None:
                return self._use("grpc")
        raise self._nowhere(grpc_error, rest_error)

    def start(self, request: InferRequest, time: Allotted) -> DeferredCall:
        """Look for a way and send a call, without waiting for either.

        Raises:
            ClosedError: this was closed.
        """
        from wherever_edge.oip.deferred import DeferredCall  # noqa: PLC0415 (few calls need it)

        self._refuse_closed()
        try:
            return DeferredCall(
                self._threads(_SEARCHING), lambda: self.find(time).start(request, time)
            )
        except RuntimeError as error:  # they take no more
            raise self._closed_error() from error

    def probe(self, time: Allotted) -> None:
        """Ask whether the server is well.

        Raises:
            AttemptError: it is not well, or not reached.
            ClosedError: this was closed.
            ForkedError: as `find` says.
        """
        try:
            chosen = self.chosen or self.find(time)
            well = chosen.is_well(time)
        except (UnreachableError, DeadlineError):
            self._probe_failed()
            raise
        if not well:
            name = self._endpoint.name
            raise UnreachableError(f"{name} answers, but says that it does not serve now")
        with self._lock:
            self._transport.well()

    def renew(self) -> None:
        """Let later calls connect anew; those that run go on."""
        with self._lock:
            grpc = self._grpc
        if grpc is not None:
            grpc.renew()

    def close(self) -> None:
        """Close all connections; calls that run end with an error."""
        with self._lock:
            self._closed = True
            connections = (self._grpc, self._rest)
            pools = tuple(self._pools.values())
        for connection in connections:
            if connection is not None:
                connection.close()
        for pool in pools:
            pool.shutdown(wait=False, cancel_futures=True)

    def _try_grpc(self, time: Allotted, *, more_to_ask: bool) -> AttemptError | None:
        """Ask whether gRPC passes; None means yes."""
        try:
            limit_s = share(time.left_s(self._endpoint.name), more_to_ask=more_to_ask)
            self._over_grpc().find(limit_s, time)
        except UntrustedPeerError:
            raise
        except (UnreachableError, DeadlineError) as error:
            return error
        return None

    def _try_rest(self, time: Allotted, grpc_error: AttemptError | None) -> AttemptError | None:
        """Ask at every port where REST may be; None means that it is there."""
        if self._forked and monotonic() < self._no_rest_until:
            forks.refuse_in_child()
        silent = isinstance(grpc_error, DeadlineError)
        asked = ports_to_ask(self._endpoint.rest_ports, self._endpoint.port, silent=silent)
        failed: AttemptError | None = None
        for position, port in enumerate(asked):
            try:
                more = silent or position + 1 < len(asked)
                limit_s = share(time.left_s(self._endpoint.name), more_to_ask=more)
                self._over_rest().find(port, limit_s, time)
            except UntrustedPeerError:
                raise
            except AttemptError as error:
                failed = error
            else:
                return None
        return failed or UnreachableError(f"{self._endpoint.name} has no REST")

    def _nowhere(self, grpc_error: AttemptError | None, rest_error: AttemptError) -> WhereverError:
        if grpc_error is not None:
            return type(grpc_error)(f"{grpc_error}; over REST: {rest_error}")
        if self._forked and not self._had_rest:
            self._no_rest_until = monotonic() + _FORGET_AFTER_S
            return forks.error(f"and over REST: {rest_error}")
        return rest_error

    def _use(self, protocol: Protocol) -> Chosen:
        with self._lock:
            self._refuse_closed()
            self._transport.reached(protocol, monotonic())
            self._had_rest = self._had_rest or protocol == "rest"
            self.chosen = self._over_grpc() if protocol == "grpc" else self._over_rest()
            return self.chosen

    def _probe_failed(self) -> None:
        """Look for the host anew; and see, beside the calls, whether REST would do better.

        gRPC itself waits longer and longer before it tries to connect again, and until then fails
        every probe without looking.
        """
        with self._lock:
            grpc, chosen = self._grpc, self.chosen
            if chosen is not grpc:
                self._transport.lost()
                self.chosen = None
        if grpc is not None and chosen is not grpc:
            grpc.seek()
        if chosen is not None and chosen is grpc and len(self._transport.order) > 1:
            self._beside(self._compare)

    def _compare(self) -> None:
        if self._try_rest(Allotted.from_now(LONGEST_ASKING_S), None) is None:
            with self._lock:
                self._transport.beaten(monotonic())
                if self._transport.chosen == "rest":
                    self.chosen = self._over_rest()

    def _heard(self, reached: bool) -> None:  # noqa: FBT001 (a callback's one argument)
        """Note what became of a call over REST; from time to time, ask for gRPC again."""
        with self._lock:
            if self._transport.chosen != "rest":
                return
            if not reached:
                self._transport.lost()
                self.chosen = None
                return
            due = self._transport.take_turn(monotonic())
        if due:
            self._beside(self._return_to_grpc)

    def _return_to_grpc(self) -> None:
        if self._try_grpc(Allotted.from_now(LONGEST_ASKING_S), more_to_ask=False) is None:
            self._use("grpc")

    def _beside(self, function: Callable[[], None]) -> None:
        """Do it in a thread, if there is one to be had; what it raises is nobody's concern."""

        def do() -> None:
            with suppress(WhereverError):
                function()

        with suppress(RuntimeError, ClosedError):
            self._threads(_SEARCHING).submit(do)

    def _over_grpc(self) -> Connection:
        forks.note_use()  # first: a child may be forked while another thread imports
        from wherever_edge.oip.connection import Connection  # noqa: PLC0415 (grpc, 75 ms)

        with self._lock:
            if self._grpc is None:
                self._refuse_closed()
                self._grpc = Connection(
                    self._endpoint, max_bytes=self._max_bytes, way=self._way, place=self._place
                )
            return self._grpc

    def _over_rest(self) -> RestConnection:
        from wherever_edge.oip.rest import RestConnection  # noqa: PLC0415 (numpy, protobuf)

        with self._lock:
            if self._rest is None:
                self._refuse_closed()
                self._rest = RestConnection(
                    self._endpoint,
                    max_bytes=self._max_bytes,
                    way=self._way,
                    place=self._place,
                    executor=self._threads(_ASKING),
                    threads=_THREADS,
                    heard=self._heard,
                )
            return self._rest

    def _threads(self, name: str) -> ThreadPoolExecutor:
        with self._lock:
            pool = self._pools.get(name)
            if pool is None:
                self._refuse_closed()
                pool = self._pools[name] = ThreadPoolExecutor(_THREADS, thread_name_prefix=name)
            return pool

    def _refuse_closed(self) -> None:
        if self._closed:
            raise self._closed_error()

    def _closed_error(self) -> ClosedError:
        return ClosedError(f"the connection to {self._endpoint.name} was closed")
