"""Connections of HTTP/1.1 whose heads come within bounds of time and size."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from wherever_contracts.wire.rest_bodies import encode_json
from wherever_gateway.rest.caller import GONE
from wherever_gateway.rest.joined import JoinedWrites

# the request line and the headers together
MAX_HEAD_BYTES = 64 * 1024

_WRONG = 400, "the request is not HTTP/1.1"
_SLOW = 408, "the head of the request did not come in time"
_LONG = 431, f"the head of the request has more than {MAX_HEAD_BYTES} bytes"


class PatientConnection(HttpToolsProtocol):
    """A connection as uvicorn has it, which gives up heads that are too slow or too large.

    A wish for another protocol (`Upgrade`) is not granted, as RFC 9110, section 7.8, has it: the
    request is answered, and the connection goes on. Java's client wishes for HTTP/2 with its first
    request; httptools would take its body for that.

    Attributes:
        head_s: how long a head may take, from the first byte or the connection's begin on.
    """

    head_s: float = 30.0

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._in_head = False
        self._head_bytes = 0
        self._read_before = False
        self._giving_up: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the first head."""
        super().connection_made(JoinedWrites(cast("asyncio.Transport", transport), self.loop))
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._head_came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read what came."""
        self._unset_keepalive_if_required()
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self._refuse(*_LONG if self._head_bytes > MAX_HEAD_BYTES else _WRONG)
            return
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(*_LONG)
        if self._idle():
            self._expect_head()

    def on_message_begin(self) -> None:
        """A head begins."""
        if not self._read_before:
            super().on_message_begin()
            self._in_head, self._head_bytes = True, 0

    def on_url(self, url: bytes) -> None:
        """A part of the request line."""
        if not self._read_before:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        if not self._read_before:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """A head has come."""
        if self._read_before:
            self._read_before = False
            return
        self._head_came()
        self._in_head = False
        self._head_bytes = len(self.url) + sum(len(name) + len(said) for name, said in self.headers)
        if self._head_bytes > MAX_HEAD_BYTES:
            raise ValueError("a head that is too large")
        super().on_headers_complete()
        cycle = self.cycle
        self.scope["extensions"] = {GONE: lambda: cycle.disconnected}  # type: ignore[dict-item]

    def on_message_complete(self) -> None:
        """A body has come; where another protocol was wished for, it is still to come."""
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """The next head may have begun already."""
        super().on_response_complete()
        if self._in_head:
            self._expect_head()

    def _feed(self, data: bytes) -> None:
        while data:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as wished:
                self._read_on()
                data = data[wished.args[0] :]
            else:
                return

    def _read_on(self) -> None:
        """Begin to read the body of the request whose head has come."""
        framing = (b"content-length", b"transfer-encoding")
        lines = [b"%s: %s" % header for header in self.headers if header[0] in framing]
        head = [b"%s / HTTP/1.1" % self.parser.get_method(), *lines, b"", b""]
        self.parser = httptools.HttpRequestParser(self)
        self._read_before = True
        self.parser.feed_data(b"\r\n".join(head))

    def _idle(self) -> bool:
        cycle: Any = self.cycle  # None before the first request, whatever its annotation says
        return cycle is None or cycle.response_complete

    def _expect_head(self) -> None:
        if self._giving_up is None and not self.transport.is_closing():
            self._giving_up = self.loop.call_later(self.head_s, self._give_up)

    def _head_came(self) -> None:
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None

    def _give_up(self) -> None:
        self._giving_up = None
        if self._in_head:
            self._refuse(*_SLOW)
        else:
            self.transport.close()

    def _refuse(self, status: int, words: str) -> None:
        """Answer what cannot become a request; not where a request before it still runs."""
        self._head_came()
        if self._idle() and not self.transport.is_closing():
            body = encode_json({"error": words})
            head = (
                b"content-type: application/json\r\n"
                b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body)
            )
            self.transport.write(STATUS_LINE[status] + head + body)
        self.transport.close()


def patient(head_s: float) -> type[PatientConnection]:
    """Connections whose heads may take so long."""
    return type("PatientConnection", (PatientConnection,), {"head_s": head_s})
