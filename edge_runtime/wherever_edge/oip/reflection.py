"""gRPC server reflection: what a server's services and messages look like, for tools of people."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from wherever_contracts.errors import missing_extra
from wherever_contracts.wire.schema import HEALTH_SERVICE, INFERENCE_SERVICE, POOL

try:
    from grpc_reflection.v1alpha import reflection, reflection_pb2
except ImportError as error:
    raise missing_extra("gRPC reflection", "gateway") from error

# the messages of both are the same (gRPC's "server reflection protocol")
SERVICES = ("grpc.reflection.v1.ServerReflection", reflection.SERVICE_NAME)

# a stream holds a thread; whoever asks more at a time waits
_STREAMS = 4


def reflection_handlers() -> list[grpc.GenericRpcHandler]:
    """The services that describe those of the protocol and of the health checks."""
    # `Any`: grpcio's stubs do not know the whole type of its method
    servicer: Any = reflection.ReflectionServicer((INFERENCE_SERVICE, HEALTH_SERVICE), pool=POOL)
    behavior = _InOwnThreads(servicer.ServerReflectionInfo)
    method = grpc.stream_stream_rpc_method_handler(
        behavior,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    return [
        grpc.method_handlers_generic_handler(service, {"ServerReflectionInfo": method})
        for service in SERVICES
    ]


class _InOwnThreads:
    """Keeps idle streams from the threads of calls; grpcio reads the pool from the function."""

    def __init__(self, answer: Callable[[Iterator[Any], grpc.ServicerContext], Any]) -> None:
        self.experimental_thread_pool = ThreadPoolExecutor(
            _STREAMS, thread_name_prefix="wherever-reflection"
        )
        self._answer = answer

    def __call__(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
        return self._answer(requests, context)
