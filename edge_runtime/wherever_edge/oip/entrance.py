"""Keys at the entrance of a gRPC server: who may not call is refused before the message is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NoReturn, TypeAlias

import grpc

from wherever_contracts.errors import NotAllowedError
from wherever_edge.oip.keys import KeyChecker

# strings, because grpcio's classes are generic in its stubs alone
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Next: TypeAlias = "Callable[[grpc.HandlerCallDetails], Handler | None]"
Refuse: TypeAlias = Callable[[grpc.ServicerContext, Exception], NoReturn]


class Entrance(grpc.ServerInterceptor):
    """Lets in the calls of services that need a key, and those of all others.

    Args:
        keys: decides who may call.
        keyed: beginnings of the methods that need a key.
        refuse: ends a call with an error.
    """

    def __init__(self, keys: KeyChecker, keyed: tuple[str, ...], refuse: Refuse) -> None:
        self._keys = keys
        self._keyed = keyed
        self._refuse = refuse

    def intercept_service(
        self, continuation: Next, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """The method's handler, or one that refuses."""
        if handler_call_details.method.startswith(self._keyed):
            try:
                self._keys.check(_authorization(handler_call_details))
            except NotAllowedError as error:
                return self._refusal(error)
        return continuation(handler_call_details)

    def _refusal(self, error: NotAllowedError) -> Handler:
        def refuse(_messages: Iterator[bytes], context: grpc.ServicerContext) -> NoReturn:
            self._refuse(context, error)

        # as a stream of messages, of which it takes none: megabytes stay unread
        return grpc.stream_unary_rpc_method_handler(refuse)


def _authorization(details: grpc.HandlerCallDetails) -> str | None:
    for name, value in details.invocation_metadata:
        if name == "authorization":
            return value if isinstance(value, str) else None
    return None
