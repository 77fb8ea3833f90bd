"""One box or gateway of a client: calls go out, what they show is kept, and it is probed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING

from wherever._answers import Outputs, answer_of, load_of
from wherever._routing.hints import WAS_OFFLINE
from wherever._watch import Watch
from wherever_contracts.errors import AttemptError, WhereverError
from wherever_edge.host_health.forecast import Work
from wherever_edge.oip.endpoints import is_loopback
from wherever_edge.tending.host import Sent, Shown, TendedHost

if TYPE_CHECKING:
    from wherever._routing.steps import Outcome
    from wherever_contracts.places import Place
    from wherever_contracts.receipts import Answer
    from wherever_contracts.wire.tensors import InferRequest, InferResponse
    from wherever_edge.oip.client import RemoteHost


# While this device is offline, it is looked so often whether it still is.
LOOK_S = 0.2


class Remote(TendedHost):
    """One box or gateway.

    Args:
        host: the way to it.
        place: its distance.
        probe_timeout_s: how long a probe of its health may take.
        name: what receipts call it; by default its address.
        watch: what it shares with the other hosts of its client.

    Attributes:
        here: it is on this machine.
        asked_at: when it was last sent a call, as `time.monotonic` says; 0: never.
    """

    def __init__(
        self,
        host: RemoteHost,
        place: Place,
        probe_timeout_s: float,
        name: str = "",
        watch: Watch | None = None,
    ) -> None:
        self._watch = watch or Watch()
        super().__init__(host, place, probe_timeout_s, name, self._watch)
        self.here = is_loopback(host.endpoint.host)
        self._was_cut_off = False

    def cut_off(self) -> str:
        """Why nothing leads to it from this device; "" when something may.

        When something does again, the way is another one: its connection is made anew, and it is
        probed at once.
        """
        why = self._watch.surroundings.network().why_not(here=self.here)
        if not why and not self._was_cut_off:
            return ""
        with self._lock:
            is_back = self._was_cut_off and not why
            if why or is_back:
                self._health.doubt(WAS_OFFLINE)
            self._was_cut_off = bool(why)
        if is_back:
            self.host.renew()
        return why

    @property
    def costs(self) -> bool:
        """Whether each byte to and from it costs."""
        return self._watch.surroundings.network().costs(self.place, here=self.here)

    def infer(
        self, request: InferRequest, outputs: Outputs, timeout_s: float, work: Work
    ) -> Outcome:
        """Send the call and wait for what comes of it."""
        sent = self._send(work, timeout_s)
        try:
            response = self.host.infer(request, timeout_s)
            answer = answer_of(response, outputs)
        except BaseException as error:  # noqa: BLE001 (raised again when it is not ours)
            return self._ended(error, sent)
        self._answered(sent, _shown(response, answer))
        return answer

    def start(
        self,
        request: InferRequest,
        outputs: Outputs,
        timeout_s: float,
        work: Work,
        done: Callable[[Outcome], None],
    ) -> Callable[[], None]:
        """Send the call; `done` is called once, from another thread, with what comes of it.

        Returns:
            A function that gives the call up, and tells the host so where gRPC is spoken; `done`
            is called then too. It counts as no failure of the host's.
        """
        sent = self._send(work, timeout_s)
        try:
            call = self.host.start(request, timeout_s)
        except BaseException as error:  # noqa: BLE001 (raised again when it is not ours)
            done(self._ended(error, sent))
            return lambda: None

        def outcome() -> Outcome:
            try:
                response = call.result()
                answer = answer_of(response, outputs)
                self._answered(sent, _shown(response, answer))
            except BaseException as error:  # noqa: BLE001 (passed on as the outcome)
                return self._ended(error, sent, keep=True)
            return answer

        call.add_done_callback(lambda _: done(outcome()))
        return call.cancel

    def move(self, host: RemoteHost) -> RemoteHost:
        """Reach the same peer another way from now on.

        Returns:
            The way that is no longer used, to be closed when the calls on it have ended.
        """
        with self._lock:
            if self._closing.is_set():
                return host
            old, self.host = self.host, host
            self.here = is_loopback(host.endpoint.host)
            return old

    def probe_in_s(self) -> float | None:
        """Seconds until the next probe is due; None ends the thread that asks."""
        return LOOK_S if self.cut_off() else super().probe_in_s()

    def _ended(self, error: BaseException, sent: Sent, *, keep: bool = False) -> WhereverError:
        """Note how the call ended; what is not ours to handle is raised again unless `keep`."""
        if isinstance(error, WhereverError):
            self._failed(sent, error)
            # it stays on the receipt; the frames behind it would keep the whole message alive
            error.__cause__ = error.__context__ = None
            return error.with_traceback(None)
        self._given_up(sent)
        if isinstance(error, CancelledError):
            return AttemptError(f"{self.name}: the call was given up")
        if keep:
            return AttemptError(f"{self.name}: the call ended with {type(error).__name__}: {error}")
        raise error


def _shown(response: InferResponse, answer: Answer) -> Shown:
    return Shown(answer.down_bytes, answer.queue_s, answer.engine_s, load_of(response))
