"""`ModelInfer`, answered straight from gRPC's completion queue."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from wherever_contracts.errors import OverloadedError
from wherever_contracts.wire.messages import WireError, decode_request, encode_response
from wherever_edge.oip.calling import tenant_of

if TYPE_CHECKING:
    from wherever_contracts.wire.tensors import InferRequest, InferResponse
    from wherever_edge.oip.completion import Status
    from wherever_edge.oip.direct import DirectCall
    from wherever_edge.oip.keys import KeyInfo
    from wherever_edge.oip.service import InferenceService


class DirectInference:
    """What `DirectCalls` asks; see `wherever_edge.oip.direct.Method`.

    Args:
        service: answers the calls.
        status: what a client is told of an error.
        enter: the key in an `authorization` header; raises NotAllowedError where a call needs one
            and comes with none that counts.
    """

    def __init__(
        self,
        service: InferenceService,
        status: Callable[[Exception], Status],
        enter: Callable[[str | None], KeyInfo | None],
    ) -> None:
        self._service = service
        self._enter = enter
        self.status = status
        self.together = service.together

    def enter(self, authorization: str | None) -> KeyInfo | None:
        """The key that a call comes with.

        Raises:
            NotAllowedError: it needs one, and brings none that counts.
            OverloadedError: while calls are refused, its tenant has all that it can have.
        """
        key = self._enter(authorization)
        if self._service.answers_all:
            try:
                self._service.queue.turn_away(tenant_of(key))
            except OverloadedError as error:
                self._service.turned_away(key, error)
                raise
        return key

    def read(self, data: bytes) -> InferRequest:
        """The request in a message; raises as `decode_request`."""
        return decode_request(data)

    def answer(
        self, requests: Sequence[InferRequest], callers: Sequence[DirectCall]
    ) -> Iterable[bytes | Exception]:
        """The answer to each, in order."""
        if len(requests) > 1:
            return map(_encoded, self._service.infer_many(requests, callers))
        try:
            return (encode_response(self._service.infer(requests[0], callers[0])),)
        except Exception as error:  # noqa: BLE001 (told to its client)
            return (error,)

    def full(self, key: KeyInfo | None) -> OverloadedError:
        """What a call with this key is told that there is no room for."""
        error = OverloadedError("as many calls are here as there is room for; try again later")
        self._service.turned_away(key, error)
        return error


def _encoded(answer: InferResponse | Exception) -> bytes | Exception:
    try:
        return answer if isinstance(answer, Exception) else encode_response(answer)
    except WireError as error:
        return error
