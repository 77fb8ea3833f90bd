"""Keys at the entrance of a gRPC server: who may not call is refused before the message is read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any, NoReturn, TypeAlias

import grpc

from wherever_contracts.errors import NotAllowedError
from wherever_edge.oip.calling import header_in
from wherever_edge.oip.keys import KeyChecker, KeyInfo

# strings, because grpcio's classes are generic in its stubs alone
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Next: TypeAlias = "Callable[[grpc.HandlerCallDetails], Handler | None]"
Refuse: TypeAlias = Callable[[grpc.ServicerContext, Exception], NoReturn]

_MOST_KNOWN = 4096


class Entrance(grpc.ServerInterceptor):
    """Lets in the calls of services that need a key, and those of all others.

    Args:
        keys: decides who may call.
        keyed: beginnings of the methods that need a key.
        free: methods that begin so and need none.
        refuse: ends a call with an error.
        handler_for: what answers the calls of a method that bring this key; None when that is the
            same for all.
        needed: whether they need a key; else those that bring one that counts are known by it.
    """

    def __init__(
        self,
        keys: KeyChecker,
        keyed: tuple[str, ...],
        free: Collection[str],
        *,
        refuse: Refuse,
        handler_for: Callable[[str, KeyInfo], Handler | None],
        needed: bool = True,
    ) -> None:
        self._keys = keys
        self._keyed = keyed
        self._free = free
        self._refuse = refuse
        self._handler_for = handler_for
        self._needed = needed
        self._made: dict[tuple[str, KeyInfo], Handler | None] = {}

    def intercept_service(
        self, continuation: Next, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """The method's handler, or one that refuses."""
        method = handler_call_details.method
        if not method.startswith(self._keyed) or method in self._free:
            return continuation(handler_call_details)
        try:
            metadata = handler_call_details.invocation_metadata
            info = self._keys.check(header_in(metadata, "authorization"))
        except NotAllowedError as error:
            return self._refusal(error) if self._needed else continuation(handler_call_details)
        return self._known(method, info) or continuation(handler_call_details)

    def _known(self, method: str, info: KeyInfo) -> Handler | None:
        known = method, info
        if known not in self._made:
            if len(self._made) >= _MOST_KNOWN:
                self._made.clear()
            self._made[known] = self._handler_for(method, info)
        return self._made[known]

    def _refusal(self, error: NotAllowedError) -> Handler:
        def refuse(_messages: Iterator[bytes], context: grpc.ServicerContext) -> NoReturn:
            self._refuse(context, error)

        # as a stream of messages, of which it takes none: megabytes stay unread
        return grpc.stream_unary_rpc_method_handler(refuse)
