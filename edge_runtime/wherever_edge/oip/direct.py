"""Calls of one unary method, taken straight from gRPC's completion queue.

grpcio's own server passes each call through three threads: one that polls, one that works and waits
for the message, and again the one that polls. Here the thread that finds a message answers it, and
lets another poll meanwhile; what is answered in microseconds, it answers before it polls on. Calls
of one model that are there together are answered together. `direct_stream.py` does likewise for
streams; the other methods of the server stay with grpcio. ADR 22 has the figures.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from wherever_edge.oip.calling import header_in, tenant_of
from wherever_edge.oip.completion import WELL, Completions, Pollers, Status
from wherever_edge.queueing.shares import Places

if TYPE_CHECKING:
    import grpc

    from wherever_contracts.wire.tensors import InferRequest
    from wherever_edge.oip.keys import KeyInfo

_LOG = logging.getLogger(__name__)

# calls are asked for in lots, which costs less than one by one; at least so many are asked for
_LEAST_ASKED_FOR, _LOT = 32, 16
_AT_ONCE = 0.0
_NO_DEADLINE_S = 1e9
_UNIMPLEMENTED = 12
# what takes microseconds with so much may take long with more, while nobody polls
_LITTLE_BYTES = 64 * 1024
# so many calls that take microseconds each are answered before the next look at the queue
_MOST_AT_ONCE = 16
_NO_MESSAGE = "the call brought no message; it has exactly one"


class Method(Protocol):
    """What answers the calls. Safe to use from many threads."""

    def enter(self, authorization: str | None) -> KeyInfo | None:
        """The key that a call comes with; raises what refuses it before its message is read."""
        ...

    def read(self, data: bytes) -> InferRequest:
        """The request in a message."""
        ...

    def together(self, request: InferRequest, /) -> int:
        """With how many of its model, itself included, a call gains by being answered.

        0: they take so little that they are answered before others are looked for; 1: it does not
        gain.
        """
        ...

    def answer(
        self, requests: Sequence[InferRequest], callers: Sequence[DirectCall]
    ) -> Iterable[bytes | Exception]:
        """The answer to each of them, in order."""
        ...

    def status(self, error: Exception, /) -> Status:
        """What a client is told of an error."""
        ...

    def full(self, key: KeyInfo | None, /) -> Exception:
        """What a call with this key is told that there is no room for."""
        ...


class DirectCall:
    """One call, and its client; see `wherever_edge.oip.admission.Caller`.

    Attributes:
        rpc: the call as gRPC's core has it.
        place: the tenant whose place it holds; None when it was not let in.
    """

    __slots__ = ("_active", "_deadline", "_metadata", "key", "n_bytes", "place", "rpc")

    def __init__(self, event: Any) -> None:
        self.rpc: Any = event.call
        self._metadata = event.invocation_metadata
        self._deadline: float = event.call_details.deadline
        self._active = True
        self.key: KeyInfo | None = None
        self.n_bytes: int = 0
        self.place: str | None = None

    def time_remaining(self) -> float | None:
        """Seconds until the call's deadline, None when it has none."""
        left_s = self._deadline - time.time()
        return None if left_s > _NO_DEADLINE_S else max(0.0, left_s)

    def is_active(self) -> bool:
        """False once the client has given the call up."""
        return self._active

    def gone(self) -> None:
        """Its client has given it up."""
        self._active = False

    def header(self, name: str) -> str | None:
        """What the call's metadata has under this name."""
        return header_in(self._metadata, name)


class _Arrived(NamedTuple):
    """A call whose message is there."""

    call: DirectCall
    request: InferRequest


class DirectCalls:
    """Answers one method's calls of a grpcio server.

    Args:
        server: the server, before it starts.
        path: the method.
        method: what answers.
        most: how many calls there may be at a time; those above it are refused, unless their
            tenant (the name of their key) holds less than its share of the places.
    """

    def __init__(self, server: grpc.Server, path: str, method: Method, most: int) -> None:
        self._completions = Completions(server, path)
        self._pollers = Pollers(self._take, self._answer, "wherever-direct")
        self._method = method
        self._most = most
        self._ready: deque[_Arrived] = deque()
        self._places = Places()
        self._asked_for = 0
        self._open = 0

    def start(self) -> None:
        """Take calls; the server has started.

        Several are asked for at a time, so that those that arrive while all threads are at work are
        taken all the same: a server that stops turns away what was not taken.
        """
        self._ask_for_calls(_LEAST_ASKED_FOR + _LOT)
        self._pollers.start()

    def close(self) -> None:
        """End the threads; the server has stopped."""
        self._completions.close()
        self._pollers.join()

    def _take(self) -> list[_Arrived] | None:
        """The next calls to be answered together; None once there will be none."""
        while not self._completions.closed:
            while not self._ready and not self._completions.closed:
                self._completions.poll(None)
            if not self._ready:
                continue
            first = self._ready.popleft()
            most = self._method.together(first.request)
            taken = self._with_others(first, most or _MOST_AT_ONCE)
            if most or sum([each.call.n_bytes for each in taken]) > _LITTLE_BYTES:
                return taken
            self._answer(taken)
        return None

    def _with_others(self, first: _Arrived, most: int) -> list[_Arrived]:
        """A call, and those of its model that are there too."""
        while len(self._ready) < min(most, self._open) - 1 and self._completions.poll(_AT_ONCE):
            pass
        if not self._ready:
            return [first]
        model, key = first.request.model, first.call.key
        alike = [
            each
            for each in self._ready
            if each.request.model == model and each.call.key == key  # one tenant's alone
        ][: most - 1]
        for each in alike:
            self._ready.remove(each)
        return [first, *alike]

    def _ask_for_calls(self, count: int) -> None:
        self._asked_for += count
        self._completions.ask(count, self._begin)

    def _begin(self, event: Any) -> None:
        """A call has come."""
        if not event.success:
            return  # the server stops
        self._asked_for -= 1
        if self._asked_for <= _LEAST_ASKED_FOR:
            self._ask_for_calls(_LOT)
        call = DirectCall(event)
        self._completions.hear_end(call.rpc, partial(self._ended, call))
        try:
            call.key = self._method.enter(call.header("authorization"))
            self._take_place(call)
        except Exception as error:  # noqa: BLE001 (told to its client)
            self._refuse(call, error)
            return
        self._completions.receive(call.rpc, partial(self._received, call))

    def _take_place(self, call: DirectCall) -> None:
        """Refuse a call of a tenant that holds its share of the places, when all are taken."""
        tenant = tenant_of(call.key)
        if self._open >= self._most and not self._places.spare_one(tenant, self._most):
            raise self._method.full(call.key)
        self._places.take(tenant)
        self._open += 1
        call.place = tenant

    def _ended(self, call: DirectCall, event: Any) -> None:
        """A call is over, answered or given up."""
        if call.place is not None:
            self._open -= 1
            self._places.give_back(call.place)
        if event.batch_operations[0].cancelled():
            call.gone()

    def _received(self, call: DirectCall, event: Any) -> None:
        """A call's message has come."""
        data: bytes | None = event.batch_operations[0].message()
        if data is None:
            self._end(call, Status(_UNIMPLEMENTED, _NO_MESSAGE))
            return
        call.n_bytes = len(data)
        try:
            self._ready.append(_Arrived(call, self._method.read(data)))
        except Exception as error:  # noqa: BLE001 (told to its client)
            self._refuse(call, error)

    def _answer(self, arrived: Sequence[_Arrived]) -> None:
        calls, requests = zip(*arrived, strict=True)
        left = deque(calls)
        try:
            for answer in self._method.answer(requests, calls):
                if isinstance(answer, Exception):
                    self._refuse(left[0], answer)
                else:
                    self._end(left[0], WELL, answer)
                left.popleft()
        except Exception as error:  # noqa: BLE001 (told to those without an answer)
            _LOG.exception("calls got an error for an answer")
            for call in left:
                self._refuse(call, error)

    def _refuse(self, call: DirectCall, error: Exception) -> None:
        self._end(call, self._method.status(error))

    def _end(self, call: DirectCall, status: Status, message: bytes | None = None) -> None:
        if call.is_active():
            self._completions.end(call.rpc, status, message)
