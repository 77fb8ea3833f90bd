"""One channel to a host, closed when its last call has ended."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc

from wherever_contracts.wire.schema import HEALTH_SERVICE, INFERENCE_SERVICE
from wherever_contracts.wire.streaming import STREAM_METHOD
from wherever_edge.oip.call_stream import CallStream

if TYPE_CHECKING:
    from wherever_edge.oip.call_stream import Opened
    from wherever_edge.oip.endpoints import Endpoint
    from wherever_edge.oip.security import Way

# strings, because grpcio's classes are generic in its stubs alone
Unary: TypeAlias = "grpc.UnaryUnaryMultiCallable[bytes, bytes]"
Streaming: TypeAlias = "grpc.StreamStreamMultiCallable[Any, Any]"

Metadata: TypeAlias = tuple[tuple[str, str], ...]
Options: TypeAlias = list[tuple[str, Any]]

INFER = f"/{INFERENCE_SERVICE}/ModelInfer"
SERVER_READY = f"/{INFERENCE_SERVICE}/ServerReady"
SERVER_METADATA = f"/{INFERENCE_SERVICE}/ServerMetadata"
MODEL_METADATA = f"/{INFERENCE_SERVICE}/ModelMetadata"
MODEL_READY = f"/{INFERENCE_SERVICE}/ModelReady"
HEALTH_CHECK = f"/{HEALTH_SERVICE}/Check"

PING_EVERY_MS = 1000
UNACKNOWLEDGED_MS = 500
PING_TIMEOUT_MS = 10_000

# for the first call on a channel that is to replace another
_CONNECT_S = 5.0
_NOT_CONNECTED = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
)

# what gRPC may count beside the message itself
_SLACK_BYTES = 64 * 1024


class Link:
    """A tuned channel and its calls, as bytes; it connects on the first call.

    Args:
        endpoint: where to.
        max_bytes: the largest message in either direction.
        pings: ping the peer while calls run, so that a cut is noticed soon. Only for peers that
            allow it: others break the connection off.
        way: whom to trust, the key to bring, and the proxy.

    Attributes:
        metadata: to be sent with every call.
    """

    def __init__(self, endpoint: Endpoint, *, max_bytes: int, pings: bool, way: Way) -> None:
        options = _options(max_bytes, pings=pings, way=way)
        if endpoint.tls:
            credentials = grpc.ssl_channel_credentials(way.trust.roots_pem)
            self._channel = grpc.secure_channel(endpoint.name, credentials, options)
        else:
            self._channel = grpc.insecure_channel(endpoint.name, options)
        key = way.authorization
        self.metadata: Metadata | None = None if key is None else (("authorization", key),)
        self._calls: dict[str, Unary] = {}
        self._lock = threading.Lock()
        self._running = 0
        self._retired = False
        self._stream: CallStream | None = None

    def unary(self, method: str) -> Unary:
        """The unary call `method`, with bytes in and out."""
        call = self._calls.get(method)
        if call is None:
            call = self._calls[method] = self._channel.unary_unary(method)
        return call

    def stream(self) -> CallStream:
        """The stream of calls over this channel; opened anew when the one before takes no more."""
        stream = self._stream
        if stream is None or not stream.takes_calls:
            with self._lock:
                stream = self._stream
                if stream is None or not stream.takes_calls:
                    stream = self._stream = CallStream(self._open_stream)
        return stream

    def along(self, headers: Metadata) -> Metadata | None:
        """What is sent with a call that has headers of its own."""
        return (*(self.metadata or ()), *headers) if headers else self.metadata

    def enter(self) -> bool:
        """Note that a call begins; False when the link is retired and takes none."""
        with self._lock:
            if self._retired:
                return False
            self._running += 1
            return True

    def leave(self) -> None:
        """Note that a call has ended."""
        with self._lock:
            self._running -= 1
            last = self._retired and not self._running
        if last:
            self._close_beside()

    def retire(self) -> None:
        """Take no more calls, and close when those that run have ended."""
        with self._lock:
            self._retired = True
            idle = not self._running
        if idle:
            self._close_beside()

    def close(self) -> None:
        """Close at once; calls that run are cancelled."""
        with self._lock:
            self._retired = True
        self._channel.close()

    def connect(self, done: Callable[[bool], None]) -> None:
        """Connect now; `done` is called from another thread with whether that worked.

        By a call and not by `Channel.subscribe`, whose thread may be frozen at the interpreter's
        exit with a lock held that the channel's end waits for.
        """

        def ended(call: Any) -> None:
            done(call.code() not in _NOT_CONNECTED)

        self.unary(HEALTH_CHECK).future(b"", _CONNECT_S, self.metadata).add_done_callback(ended)

    def _close_beside(self) -> None:
        """Close in a thread of its own.

        Calls end in the channel's thread, and closing there would wait for itself while a stream
        is open.
        """
        with suppress(RuntimeError):  # no thread is to be had: it ends with the process
            threading.Thread(target=self._channel.close, name="wherever-close").start()

    def _open_stream(self, messages: Iterator[bytes]) -> Opened:
        method: Streaming = self._channel.stream_stream(STREAM_METHOD)
        return method(messages, metadata=self.metadata)


def _options(max_bytes: int, *, pings: bool, way: Way) -> Options:
    options: Options = [
        ("grpc.max_send_message_length", max_bytes + _SLACK_BYTES),
        ("grpc.max_receive_message_length", max_bytes + _SLACK_BYTES),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1000),
        # also the time for one attempt to connect, and TLS takes several round trips
        ("grpc.min_reconnect_backoff_ms", 3000),
        # a new channel makes a new connection, even while an old one to the same host hangs
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.enable_http_proxy", int(way.proxied)),
    ]
    if way.proxy is not None:
        options.append(("grpc.http_proxy", way.proxy))
    if way.trust.server_name is not None:
        options.append(("grpc.ssl_target_name_override", way.trust.server_name))
    if pings:
        options += [
            ("grpc.keepalive_time_ms", PING_EVERY_MS),
            # how long TCP waits for an acknowledgement of what it sent: a cut is noticed
            ("grpc.keepalive_timeout_ms", UNACKNOWLEDGED_MS),
            # how long the peer may take to answer a ping, which may stand behind megabytes that
            # go out over a thin uplink: 600 KB at 2 Mbit/s take 2.4 s
            ("grpc.http2.ping_timeout_ms", PING_TIMEOUT_MS),
            ("grpc.http2.max_pings_without_data", 0),
        ]
    return options
