"""Bodies, received within bounds for each and for all of them together."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from wherever_contracts.errors import OverloadedError
from wherever_gateway.rest.coding import Coding, coding_of, decoded

# bodies that are received or worked on take at most so many times the largest one
_BODIES = 8


class Intake:
    """Receives bodies by the event loop, so that slow senders keep no thread.

    Args:
        max_bytes: the largest body, also after it was decompressed.
        stall_s: how long a body may stand still before it is given up.
    """

    def __init__(self, max_bytes: int, stall_s: float) -> None:
        self.max_bytes = max_bytes
        self._stall_s = stall_s
        self._held = 0
        self._counting = threading.Lock()

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncGenerator[Body]:
        """The body, which counts among those that are held until the block ends.

        Raises:
            HTTPException: it is too large (413), stands still (408), or is compressed in a way
                that is not taken (415).
            OverloadedError: other bodies fill the memory meant for them.
        """
        body = Body(self, _coding(request))
        try:
            self.refuse_too_much(int(request.headers.get("content-length", 0)))
            chunks: list[bytes] = []
            async for chunk in self._chunks(request):
                body.take(len(chunk))
                chunks.append(chunk)
            body.received = b"".join(chunks)
            yield body
        finally:
            self.hold(-body.held)

    def hold(self, size: int) -> None:
        """Count bytes that are held, or are no more."""
        with self._counting:
            self._held += size

    def refuse_too_much(self, size: int) -> None:
        """Raise when a body is too large, or all are together."""
        if size > self.max_bytes:
            raise HTTPException(413, f"the body has more than {self.max_bytes} bytes")
        if self._held > _BODIES * self.max_bytes:
            raise OverloadedError("the bodies of other requests fill the memory meant for them")

    async def _chunks(self, request: Request) -> AsyncGenerator[bytes]:
        more = True
        while more:
            try:
                async with asyncio.timeout(self._stall_s):
                    message = await request.receive()
            except TimeoutError as error:
                words = f"nothing of the body came for {self._stall_s:g} s"
                raise HTTPException(408, words, {"connection": "close"}) from error
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            more = message.get("more_body", False)
            yield message.get("body", b"")


class Body:
    """A body, and how many bytes of memory count as its own.

    Attributes:
        received: what came.
        held: the bytes that count as its own.
    """

    def __init__(self, intake: Intake, coding: Coding | None) -> None:
        self._intake = intake
        self._coding: Coding | None = coding
        self._size = 0
        self.received = b""
        self.held = 0

    def take(self, size: int) -> None:
        """Count bytes of it; raises when they are too many."""
        self._size += size
        self.held += size
        self._intake.hold(size)
        self._intake.refuse_too_much(self._size)

    def contents(self) -> bytes:
        """The bytes that the client meant; takes time where they are compressed.

        Raises:
            HTTPException: they are too many (413).
            OverloadedError: other bodies fill the memory meant for them.
            WireError: they are damaged.
        """
        if self._coding is None:
            return self.received
        self._size = 0
        return decoded(self.received, self._coding, self.take)


def _coding(request: Request) -> Coding | None:
    try:
        return coding_of(request.headers.get("content-encoding", ""))
    except ValueError as error:
        words = f"bodies are not taken in content-encoding {error}"
        raise HTTPException(415, words, {"accept-encoding": "gzip, deflate"}) from error
