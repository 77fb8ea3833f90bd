"""Calls that come again under the same idempotency key: answered once, and told the same again."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

from wherever_contracts.errors import DeadlineError, OverloadedError, RefusedError
from wherever_contracts.wire.messages import decode_response, encode_response

if TYPE_CHECKING:
    from wherever_contracts.wire.tensors import InferResponse
    from wherever_edge.oip.admission import Caller
    from wherever_gateway.state.kept import KeptAnswers
    from wherever_gateway.tenants.digests import Sameness

# Who waits for another call's answer keeps one of the server's threads from its work.
_MOST_WAITING = 4
_AGAIN_AFTER_S = 0.1
_LOOK_EVERY_S = 0.1


class Flight:
    """A call with an idempotency key while it is answered."""

    __slots__ = ("ended", "inputs", "response", "thread")

    def __init__(self, inputs: str) -> None:
        self.inputs = inputs
        self.thread = threading.get_ident()
        self.ended = threading.Event()
        self.response: InferResponse | None = None


class Repeats:
    """Knows the calls that are answered now, and the answers of earlier ones.

    Safe to use from many threads.

    Args:
        kept: the answers of earlier calls.
    """

    def __init__(self, kept: KeptAnswers) -> None:
        self._kept = kept
        self._lock = threading.Lock()
        self._flights: dict[str, Flight] = {}
        self._waiting = 0
        self._answering: Counter[int] = Counter()

    def enter(self, same: Sameness, caller: Caller) -> Flight | InferResponse:
        """The answer that a call was given before, or what is to be ended once it has one.

        While the first call is answered the others wait; when it fails, the next one is answered.

        Raises:
            RefusedError: the key came before with other inputs.
            OverloadedError: too many wait for the answer already.
            DeadlineError: nobody waits for the answer any more.
        """
        while True:
            with self._lock:
                flight = self._flights.get(same.id)
                if flight is None:
                    flight = self._begin(same)
                    break
            _check_same(flight.inputs, same)
            self._wait(flight, caller)
            if flight.response is not None:
                return flight.response
        return self._answered_before(same, flight) or flight

    def end(self, id_: str, flight: Flight, response: InferResponse | None = None) -> None:
        """A call has its answer, or none."""
        flight.response = response
        if response is not None:
            self._keep(id_, flight.inputs, response)
        self._leave(id_, flight)

    def _begin(self, same: Sameness) -> Flight:
        flight = self._flights[same.id] = Flight(same.inputs)
        self._answering[flight.thread] += 1
        return flight

    def _leave(self, id_: str, flight: Flight) -> None:
        with self._lock:
            del self._flights[id_]
            self._answering[flight.thread] -= 1
            if not self._answering[flight.thread]:
                del self._answering[flight.thread]
        flight.ended.set()

    def _answered_before(self, same: Sameness, flight: Flight) -> InferResponse | None:
        try:
            kept = self._kept.find(same.id)
            if kept is None:
                return None
            _check_same(kept.inputs, same)
            flight.response = decode_response(kept.answer)
        except BaseException:
            self._leave(same.id, flight)
            raise
        self._leave(same.id, flight)
        return flight.response

    def _keep(self, id_: str, inputs: str, response: InferResponse) -> None:
        if self._kept.fits(sum(len(tensor.data) for tensor in response.outputs)):
            self._kept.keep(id_, inputs, encode_response(response))

    def _wait(self, flight: Flight, caller: Caller) -> None:
        with self._lock:
            # A thread that has calls of its own to answer, several at a time, would wait for itself
            # or for one that waits for it.
            if self._waiting >= _MOST_WAITING or self._answering[threading.get_ident()]:
                raise _again()
            self._waiting += 1
        try:
            while not flight.ended.wait(_patience_s(caller)):
                if not caller.is_active() or _patience_s(caller) <= 0:
                    raise DeadlineError("the call waited for the first one with its key too long")
        finally:
            with self._lock:
                self._waiting -= 1


def _patience_s(caller: Caller) -> float:
    left_s = caller.time_remaining()
    return _LOOK_EVERY_S if left_s is None else min(max(left_s, 0.0), _LOOK_EVERY_S)


def _check_same(inputs: str, same: Sameness) -> None:
    if inputs != same.inputs:
        raise RefusedError(
            "its idempotency_key came before with other inputs or options; a new call needs a new "
            "key"
        )


def _again() -> OverloadedError:
    error = OverloadedError("the same call is being answered; ask again for its answer")
    error.retry_after_s = _AGAIN_AFTER_S
    return error
