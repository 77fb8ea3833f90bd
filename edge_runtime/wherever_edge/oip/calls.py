"""A call to a remote host that is under way."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any, TypeAlias

from wherever_edge.oip.deferred import StartedCall
from wherever_edge.oip.link import INFER
from wherever_edge.oip.stream_client import failed, goes_again, late

if TYPE_CHECKING:
    from wherever_contracts.wire.streaming import Answer
    from wherever_contracts.wire.tensors import InferResponse
    from wherever_edge.oip.allotted import Allotted
    from wherever_edge.oip.call_stream import Broken, CallStream
    from wherever_edge.oip.connection import Connection
    from wherever_edge.oip.link import Link, Metadata

# grpc's future is a call too; its type has no public name
_Sent: TypeAlias = Any


class RemoteCall(StartedCall):
    """A call that was sent; any event loop or thread may wait for it.

    Args:
        connection: the way to the host.
        data: the request.
        time: the time that the call has.
        headers: go along as metadata.
    """

    def __init__(
        self, connection: Connection, data: bytes, time: Allotted, headers: Metadata = ()
    ) -> None:
        super().__init__()
        self._connection = connection
        self._data = data
        self._time = time
        self._headers = headers
        self._cancelled = False
        self._tries = 0
        self._sent: _Sent = None
        self._stream: CallStream | None = None
        self._number = 0
        if not (connection.streaming.offered and self._send_streamed()):
            self._send()

    def cancel(self) -> None:
        """Give the call up, and tell the server so; nothing happens when it has ended."""
        self._cancelled = True
        if self._stream is not None and self._stream.forget(self._number):
            self._link.leave()
            self._outcome.set_exception(CancelledError())
        elif self._sent is not None:
            self._sent.cancel()

    def answered(self, data: bytes, answer: Answer) -> None:
        """The stream has the answer."""
        self._link.leave()
        self._settle(lambda: self._read(data, answer))

    def broken(self, broken: Broken) -> None:
        """The stream ended; the call goes again by itself where that may help."""
        self._link.leave()
        connection = self._connection
        if self._stream is not None:
            connection.streaming.broke(self._stream)
        if connection.links.closed:
            self._outcome.set_exception(connection.links.closed_error())
        elif goes_again(broken):
            self._tries += 1
            try:
                self._send()
            except Exception as error:  # noqa: BLE001 (raised by `result`)
                self._outcome.set_exception(error)
        else:
            self._outcome.set_exception(connection.ended(self._time, *broken))

    def expired(self) -> None:
        """The call's time is over."""
        self._link.leave()
        self._outcome.set_exception(late(self._connection, self._time))

    def _send_streamed(self) -> bool:
        """Send it over the stream of calls; False when it has to go by itself."""
        connection = self._connection
        left_s = self._time.left_s(connection.name)
        self._link = connection.links.enter()
        try:
            self._stream = stream = connection.streaming.of(self._link, len(self._data))
            if stream is not None:
                self._number = stream.send(self, self._data, left_s, self._headers, watched=True)
                if not self._number:
                    connection.streaming.broke(stream)
        except ValueError as error:
            self._link.leave()
            raise connection.links.closed_error() from error
        if not self._number:
            self._stream = None
            self._link.leave()
        return self._stream is not None

    def _read(self, data: bytes, answer: Answer) -> InferResponse:
        if answer.status:
            raise failed(self._connection, answer, self._time)
        return self._connection.answer(data, answer.start, answer.end)

    def _settle(self, answer: Callable[[], InferResponse]) -> None:
        try:
            response = answer()
        except Exception as error:  # noqa: BLE001 (raised by `result`, or it would wait forever)
            self._outcome.set_exception(error)
        else:
            self._outcome.set_result(response)

    def _send(self) -> None:
        left = self._time.left_s(self._connection.name)
        link = self._connection.links.enter()
        self._tries += 1
        try:
            self._sent = link.unary(INFER).future(self._data, left, link.along(self._headers))
        except ValueError as error:
            link.leave()
            raise self._connection.links.closed_error() from error

        def arrived(sent: _Sent) -> None:
            link.leave()
            self._arrived(sent, link)

        self._sent.add_done_callback(arrived)
        if self._cancelled:  # meanwhile
            self._sent.cancel()

    def _arrived(self, sent: _Sent, link: Link) -> None:
        try:
            if sent.code().name == "OK":
                self._outcome.set_result(self._connection.answer(sent.result()))
            elif self._cancelled:
                self._outcome.set_exception(CancelledError())
            elif self._tries == 1 and self._connection.broken_off(sent):
                self._send()
            else:
                failure = self._connection.failure(sent, link, self._time)
                self._outcome.set_exception(failure)
        except Exception as error:  # noqa: BLE001 (raised by `result`, or it would wait forever)
            self._outcome.set_exception(error)
