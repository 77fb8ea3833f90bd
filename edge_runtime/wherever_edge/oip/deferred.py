"""A call that a thread of the client's carries out, or sends on its way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future, InvalidStateError
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from wherever_contracts.errors import ClosedError

if TYPE_CHECKING:
    from wherever_contracts.wire.tensors import InferResponse


class StartedCall(ABC):
    """A call that was begun; any event loop or thread may wait for it."""

    def __init__(self) -> None:
        self._outcome: Future[InferResponse] = Future()

    def add_done_callback(self, function: Callable[[Self], object]) -> None:
        """Call `function` with this call when it has ended, at once when it has."""
        self._outcome.add_done_callback(lambda _: function(self))

    def result(self) -> InferResponse:
        """Wait for the answer.

        Raises:
            AttemptError: the server could not be reached, refused, failed, or was too slow.
            ClosedError: the host was closed.
            CancelledError: `cancel` was called before the answer came.
        """
        return self._outcome.result()

    def done(self) -> bool:
        """True when the call has ended."""
        return self._outcome.done()

    @abstractmethod
    def cancel(self) -> None:
        """Give the call up; nothing happens when it has ended."""


class DeferredCall(StartedCall):
    """A started call whose beginning may block.

    Args:
        executor: where it begins.
        begin: gives the answer, or the started call that will have it.
    """

    def __init__(
        self, executor: Executor, begin: Callable[[], InferResponse | StartedCall]
    ) -> None:
        super().__init__()
        self._sent: StartedCall | None = None
        executor.submit(self._run, begin).add_done_callback(self._ended)

    def cancel(self) -> None:
        """Give the call up; what runs already for it may run to its end, and nobody hears of it."""
        self._fail(CancelledError())
        sent = self._sent
        if sent is not None:
            sent.cancel()

    def _run(self, begin: Callable[[], InferResponse | StartedCall]) -> None:
        if self._outcome.done():
            return
        try:
            begun = begin()
        except BaseException as error:  # noqa: BLE001 (raised by `result`, or it would wait forever)
            self._fail(error)
            return
        if isinstance(begun, tuple):
            self._answer(begun)
            return
        self._sent = begun
        if self._outcome.done():  # cancelled meanwhile
            begun.cancel()
        begun.add_done_callback(self._copy)

    def _ended(self, run: Future[None]) -> None:
        if run.cancelled():  # the executor was shut down before its turn came
            self._fail(ClosedError("the connection was closed before the call was sent"))

    def _copy(self, ended: StartedCall) -> None:
        try:
            self._answer(ended.result())
        except BaseException as error:  # noqa: BLE001 (raised by `result`, or it would wait forever)
            self._fail(error)

    def _answer(self, response: InferResponse) -> None:
        with suppress(InvalidStateError):
            self._outcome.set_result(response)

    def _fail(self, error: BaseException) -> None:
        with suppress(InvalidStateError):
            self._outcome.set_exception(error)
