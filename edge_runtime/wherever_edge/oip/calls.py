"""A call to a remote host that is under way."""

from __future__ import annotations

from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any, TypeAlias

from wherever_edge.oip.deferred import StartedCall
from wherever_edge.oip.link import INFER

if TYPE_CHECKING:
    from wherever_edge.oip.allotted import Allotted
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
        self._send()

    def cancel(self) -> None:
        """Give the call up, and tell the server so; nothing happens when it has ended."""
        self._cancelled = True
        self._sent.cancel()

    def _send(self) -> None:
        left = self._time.left_s(self._connection.name)
        link = self._connection.links.enter()
        self._tries += 1
        try:
            self._sent: _Sent = link.unary(INFER).future(
                self._data, left, link.along(self._headers)
            )
        except ValueError as error:
            link.leave()
            raise self._connection.links.closed_error() from error

        def arrived(sent: _Sent) -> None:
            link.leave()
            self._arrived(sent, link)

        self._sent.add_done_callback(arrived)

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
