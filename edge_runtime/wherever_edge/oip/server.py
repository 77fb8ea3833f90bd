"""A gRPC server of the Open Inference Protocol v2 in front of a local host."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import grpc

from wherever_contracts.errors import (
    ForbiddenError,
    ModelNotFoundError,
    NotAllowedError,
    OverloadedError,
)
from wherever_contracts.wire import metadata
from wherever_contracts.wire.messages import decode_request, encode_response
from wherever_contracts.wire.schema import HEALTH_SERVICE, INFERENCE_SERVICE
from wherever_edge.counters import COUNTERS, ERRORS_TOLD
from wherever_edge.oip import forks
from wherever_edge.oip.calling import GrpcCaller
from wherever_edge.oip.client import MAX_BYTES
from wherever_edge.oip.completion import Status, possible
from wherever_edge.oip.direct import DirectCalls
from wherever_edge.oip.direct_inference import DirectInference
from wherever_edge.oip.elsewhere import Finder, nowhere
from wherever_edge.oip.health import Health, Send
from wherever_edge.oip.ports import listen
from wherever_edge.oip.saying import server_metadata
from wherever_edge.oip.service import InferenceService
from wherever_edge.oip.status import (
    CODE_KEY,
    PING_KEY,
    PUSHBACK_KEY,
    STREAM_KEY,
    code_of,
    pushback_ms,
    status_of,
    words_of,
)
from wherever_edge.oip.stream_server import Ending, NonBlocking, Rules, Streams
from wherever_edge.oip.triton_stream import TritonStreams

if TYPE_CHECKING:
    from wherever_contracts.wire.tensors import Parameters
    from wherever_edge.host import LocalHost
    from wherever_edge.oip.admission import Admission
    from wherever_edge.oip.direct_stream import DirectStreams
    from wherever_edge.oip.keys import KeyChecker, KeyInfo
    from wherever_edge.oip.security import ServerIdentity
    from wherever_edge.queueing.run_queue import RunQueue

_LOG = logging.getLogger(__name__)

# a string, because grpcio's class is generic in its stubs alone
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Handlers: TypeAlias = dict[str, Handler]
Unary: TypeAlias = Callable[[bytes, grpc.ServicerContext], bytes]
Method: TypeAlias = Callable[[bytes, GrpcCaller], bytes]

# allowed to clients that were told of it: one ping a second, also while no call runs
PING_EVERY_MS = 1000

# what needs a key when keys are needed: `Watch` too, because each watcher takes room
_KEYED = (
    f"/{INFERENCE_SERVICE}/",
    f"/{HEALTH_SERVICE}/Watch",
    "/wherever.Calls/",
    "/grpc.reflection.",
)
# what of it needs none: it says nothing but whether the server is there
_OPEN = frozenset({f"/{INFERENCE_SERVICE}/ServerLive", f"/{INFERENCE_SERVICE}/ServerReady"})
# a method -> the extension of the protocol that it belongs to
_EXTENSIONS = {
    f"/{INFERENCE_SERVICE}/RepositoryIndex": "model_repository",
    f"/{INFERENCE_SERVICE}/ModelStatistics": "statistics",
}
_TRITON_STREAM = f"/{INFERENCE_SERVICE}/ModelStreamInfer"

_SLACK_BYTES = 64 * 1024

# threads for health and metadata, when every other one waits for its turn or for a slow sender
_SPARE_THREADS = 8
# calls that wait for a thread hold no message; what has to be refused, the queue refuses, which
# knows tenants and says when to come again, and gRPC does not
_CALLS_PER_THREAD = 4


class InferenceServer:
    """Serves the protocol and gRPC's health checks.

    A call is received by a thread of its own and then waits for its turn, so that senders on slow
    links keep no worker from its work. What has expired by its turn is not worked on.

    Args:
        host: answers the calls; its queue says how many may be at work and wait.
        address: the address to listen on; the default is reached from this machine alone.
        port: the port; 0 takes any that is free.
        max_bytes: the largest message in either direction.
        identity: speak TLS, as this server; None speaks plaintext.
        keys: knows who calls; None knows nobody.
        keys_needed: whether calls need a key. Asking once whether the server is well (health
            `Check`, `ServerLive`, `ServerReady`) needs none.
        services: further services, as service -> method -> function; they are open to everybody
            and check themselves who may call.
        methods: further methods of the protocol's own service, which check themselves whether
            their caller's key may do that.
        handlers: further services, as grpcio takes them; those whose names begin as `_KEYED` says
            need a key where keys are needed.
        admission: decides about every call, and is told how it ended.
        elsewhere: the server that answers for a model in place of this one, if one does.

    Attributes:
        port: the port that is listened on, once started.
        service: answers what arrives, however it arrives.
    """

    def __init__(
        self,
        host: LocalHost,
        *,
        address: str = "127.0.0.1",
        port: int = 8001,
        max_bytes: int = MAX_BYTES,
        identity: ServerIdentity | None = None,
        keys: KeyChecker | None = None,
        keys_needed: bool = True,
        services: Mapping[str, Mapping[str, Unary]] | None = None,
        methods: Mapping[str, Method] | None = None,
        handlers: Sequence[grpc.GenericRpcHandler] = (),
        admission: Admission | None = None,
        elsewhere: Finder = nowhere,
    ) -> None:
        self.address = address
        self.port = port
        parameters: Parameters = {PING_KEY: PING_EVERY_MS, STREAM_KEY: 1}
        self.service = InferenceService(host, parameters, admission, elsewhere)
        self._threads = host.queue.places + _SPARE_THREADS
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="wherever-oip")
        self._health = Health(self._pool)
        self._max_bytes = max_bytes
        self._identity = identity
        self._keys = keys
        self._keys_needed = keys_needed
        self._services = services or {}
        self._methods = self._known_methods(methods or {})
        self._further = handlers
        self._triton_streams = TritonStreams(self.service)
        self._streams = Streams(
            self.service,
            Rules(self._identify, self._ending, self._abort, self._status, max_bytes),
            threads=self._threads,
        )
        self._server: grpc.Server | None = None
        self._direct: DirectCalls | None = None
        self._direct_streams: DirectStreams | None = None

    @property
    def queue(self) -> RunQueue:
        """Where calls wait, with counts of those refused and dropped."""
        return self.service.queue

    @property
    def ready(self) -> bool:
        """True while the server takes calls."""
        return self._server is not None and self._health.serving

    def start(self) -> None:
        """Listen, and serve from now on.

        Raises:
            SettingsError: the address or port cannot be listened on.
            ForkedError: a parent of this process had used the network.
        """
        forks.note_use()
        server = grpc.server(
            self._pool,
            handlers=self._handlers(),
            interceptors=self._interceptors(),
            options=_options(self._max_bytes),
            maximum_concurrent_rpcs=_CALLS_PER_THREAD * self._threads,
        )
        self._direct = self._direct_calls(server)
        self._direct_streams = self._streams.direct(server)
        self.port = listen(server, self.address, self.port, self._identity)
        server.start()
        for direct in self._direct_ways:
            direct.start()
        self._server = server

    def drain(self, grace_s: float) -> bool:
        """Take no more calls, let those that run end, and stop.

        Args:
            grace_s: how long they may take; those that take longer are cancelled.

        Returns:
            True when every call ended in time.
        """
        self._health.stop()
        self._streams.drain()
        if self._server is not None:
            self._server.stop(grace_s).wait()
        for direct in self._direct_ways:
            direct.close()
        done = self.queue.inside == 0
        self._triton_streams.close()
        self._streams.close()
        self._pool.shutdown(wait=done, cancel_futures=True)
        return done

    def _known_methods(self, further: Mapping[str, Method]) -> dict[str, Method]:
        methods: dict[str, Method] = {
            "ServerLive": lambda _data, _caller: metadata.encode_live(live=True),
            "ServerReady": lambda _data, _caller: metadata.encode_ready(ready=self.ready),
            "ServerMetadata": self._server_metadata,
            "ModelReady": self._model_ready,
            "ModelMetadata": self._model_metadata,
            "ModelInfer": self._infer,
            **further,
        }
        return {f"/{INFERENCE_SERVICE}/{name}": method for name, method in methods.items()}

    def _handlers(self) -> list[grpc.GenericRpcHandler]:
        health: Handlers = {
            "Check": grpc.unary_unary_rpc_method_handler(self._guarded(self._check)),
            "Watch": grpc.unary_stream_rpc_method_handler(NonBlocking(self._watch)),
        }
        inference: Handlers = {
            path.rpartition("/")[2]: self._handler_for(path, None) for path in self._own_paths
        }
        return [
            grpc.method_handlers_generic_handler(HEALTH_SERVICE, health),
            grpc.method_handlers_generic_handler(INFERENCE_SERVICE, inference),
            self._streams.handler(),
            *self._further,
            *(
                grpc.method_handlers_generic_handler(service, self._unary(functions))
                for service, functions in self._services.items()
            ),
        ]

    @property
    def _own_paths(self) -> tuple[str, ...]:
        return (*self._methods, _TRITON_STREAM)

    def _unary(self, functions: Mapping[str, Unary]) -> Handlers:
        return {
            name: grpc.unary_unary_rpc_method_handler(self._guarded(function))
            for name, function in functions.items()
        }

    def _handler_for(self, path: str, key: KeyInfo | None) -> Handler:
        """What answers a method's calls that bring this key."""
        if path == _TRITON_STREAM:
            return self._triton_streams.handler_for(key)
        method = self._methods[path]

        def answer(data: bytes, context: grpc.ServicerContext) -> bytes:
            return method(data, GrpcCaller(context, key, len(data)))

        return grpc.unary_unary_rpc_method_handler(self._guarded(answer))

    def _interceptors(self) -> list[grpc.ServerInterceptor]:
        if self._keys is None:
            return []
        from wherever_edge.oip.entrance import Entrance  # noqa: PLC0415 (most hosts need no key)

        return [
            Entrance(
                self._keys,
                _KEYED,
                _OPEN,
                refuse=self._abort,
                handler_for=lambda path, key: (
                    self._handler_for(path, key) if path in self._own_paths else None
                ),
                needed=self._keys_needed,
            )
        ]

    @property
    def _direct_ways(self) -> list[DirectCalls | DirectStreams]:
        return [way for way in (self._direct, self._direct_streams) if way is not None]

    def _direct_calls(self, server: grpc.Server) -> DirectCalls | None:
        if not possible(server):
            return None
        method = DirectInference(self.service, self._status, self._identify)
        return DirectCalls(server, f"/{INFERENCE_SERVICE}/ModelInfer", method, self._threads)

    def _server_metadata(self, _data: bytes, _caller: GrpcCaller) -> bytes:
        known = [name for method, name in _EXTENSIONS.items() if method in self._methods]
        said = server_metadata()
        return metadata.encode_server_metadata(said._replace(extensions=(*said.extensions, *known)))

    def _infer(self, data: bytes, caller: GrpcCaller) -> bytes:
        return encode_response(self.service.infer(decode_request(data), caller))

    def _model_ready(self, data: bytes, caller: GrpcCaller) -> bytes:
        asked = metadata.decode_model_name("ModelReadyRequest", data)
        there = self.service.sees(caller.key, asked.name)
        ready = there and self.ready and self.service.model_ready(*asked)
        return metadata.encode_ready(ready=ready)

    def _model_metadata(self, data: bytes, caller: GrpcCaller) -> bytes:
        asked = metadata.decode_model_name("ModelMetadataRequest", data)
        if not self.service.sees(caller.key, asked.name):
            raise ForbiddenError(f"this API key may not use the model {asked.name[:80]!r}")
        try:
            return metadata.encode_model_metadata(self.service.model_metadata(*asked))
        except ModelNotFoundError as error:
            raise self.service.discreet(error, asked.name, caller.key) from error

    def _check(self, data: bytes, _context: grpc.ServicerContext) -> bytes:
        service = metadata.decode_health_request(data)
        status = self._health.status(service)
        if status == metadata.SERVICE_UNKNOWN:
            raise ModelNotFoundError(f"no service {service!r} is known here")
        return metadata.encode_health(status)

    def _watch(self, data: bytes, context: grpc.ServicerContext, send: Send) -> None:
        try:
            self._health.watch(metadata.decode_health_request(data), context, send)
        except Exception as error:  # noqa: BLE001 (the boundary: no error ends the server)
            self._abort(context, error)

    def _guarded(self, function: Unary) -> Unary:
        """`function`, with every error as a status."""

        def guarded(data: bytes, context: grpc.ServicerContext) -> bytes:
            try:
                return function(data, context)
            except Exception as error:  # noqa: BLE001 (the boundary: no error ends the server)
                self._abort(context, error)

        return guarded

    def _identify(self, authorization: str | None) -> KeyInfo | None:
        """The key in a header, as the entrance sees it; raises NotAllowedError likewise."""
        if self._keys is None:
            return None
        try:
            return self._keys.check(authorization)
        except NotAllowedError:
            if self._keys_needed:
                raise
            return None

    def _abort(self, context: grpc.ServicerContext, error: Exception) -> NoReturn:
        ending = self._ending(error)
        context.set_trailing_metadata(_trailing(ending))
        context.abort(grpc.StatusCode[ending.status], ending.details)

    def _status(self, error: Exception) -> Status:
        ending = self._ending(error)
        number = grpc.StatusCode[ending.status].value[0]
        return Status(number, ending.details, _trailing(ending))

    def _ending(self, error: Exception) -> Ending:
        """What a client is told of an error."""
        status = status_of(error)
        if status == "INTERNAL":
            _LOG.error("a call failed", exc_info=error)
        again_ms = None
        if isinstance(error, OverloadedError):
            again_ms = pushback_ms(self.service.retry_after_s(error))
        code = code_of(error)
        COUNTERS.add(ERRORS_TOLD, front="grpc", code=code)
        return Ending(status, words_of(error), code, again_ms)


def _trailing(ending: Ending) -> tuple[tuple[str, str], ...]:
    code = (CODE_KEY, ending.code)
    if ending.pushback_ms is None:
        return (code,)
    return code, (PUSHBACK_KEY, str(ending.pushback_ms))


def _options(max_bytes: int) -> list[tuple[str, int]]:
    return [
        ("grpc.so_reuseport", 0),
        # a stranger who connects and says nothing is let go
        ("grpc.server_handshake_timeout_ms", 10_000),
        ("grpc.max_receive_message_length", max_bytes + _SLACK_BYTES),
        ("grpc.max_send_message_length", max_bytes + _SLACK_BYTES),
        # half of what is promised: pings that were delayed on the way arrive close together
        ("grpc.http2.min_ping_interval_without_data_ms", PING_EVERY_MS // 2),
        ("grpc.keepalive_permit_without_calls", 1),
        # a client that vanished is noticed after this long, and its calls are cancelled
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.max_pings_without_data", 0),
    ]
