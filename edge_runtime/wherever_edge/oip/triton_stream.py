"""Triton's own stream of calls (`ModelStreamInfer`), for its clients; ours have a faster one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc

from wherever_contracts.errors import OverloadedError
from wherever_contracts.wire.framing import length_field, text_field
from wherever_contracts.wire.messages import decode_request, encode_response
from wherever_edge.oip.calling import GrpcCaller
from wherever_edge.oip.status import words_of

if TYPE_CHECKING:
    from wherever_edge.oip.keys import KeyInfo
    from wherever_edge.oip.service import InferenceService

# a string, because grpcio's class is generic in its stubs alone
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

_ERROR_TAG, _RESPONSE_TAG = 0x0A, 0x12


class TritonStreams:
    """Answers the calls of each stream one after the other, in their order.

    A stream holds a thread while it is open, one of a pool of their own, so that idle ones take
    nothing from the other calls.

    Args:
        service: answers the calls.
        most: streams at a time; one more is refused.
    """

    def __init__(self, service: InferenceService, most: int = 32) -> None:
        self._service = service
        self._pool = ThreadPoolExecutor(most, thread_name_prefix="wherever-triton-stream")
        self._places = threading.BoundedSemaphore(most)

    def handler_for(self, key: KeyInfo | None) -> Handler:
        """What answers a stream that brings this key."""
        return grpc.stream_stream_rpc_method_handler(_Behavior(self, self._pool, key))

    def close(self) -> None:
        """Begin no more streams."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def answers(
        self, messages: Iterator[bytes], context: grpc.ServicerContext, key: KeyInfo | None
    ) -> Iterator[bytes]:
        """An answer for each message.

        Raises:
            OverloadedError: there are too many streams.
        """
        if not self._places.acquire(blocking=False):
            raise OverloadedError("too many streams are open; close one, or send single calls")
        try:
            for data in messages:
                yield self._answer(data, GrpcCaller(context, key, len(data)))
        finally:
            self._places.release()

    def _answer(self, data: bytes, caller: GrpcCaller) -> bytes:
        try:
            response = encode_response(self._service.infer(decode_request(data), caller))
        except Exception as error:  # noqa: BLE001 (told to the client; the stream goes on)
            return text_field(_ERROR_TAG, words_of(error))
        return length_field(_RESPONSE_TAG, len(response)) + response


class _Behavior:
    """A handler's function; grpcio reads from it which threads run it."""

    def __init__(
        self, streams: TritonStreams, pool: ThreadPoolExecutor, key: KeyInfo | None
    ) -> None:
        self.experimental_thread_pool = pool
        self._streams = streams
        self._key = key

    def __call__(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        try:
            yield from self._streams.answers(messages, context, self._key)
        except OverloadedError as error:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
