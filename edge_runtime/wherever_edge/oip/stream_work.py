"""Who works on the calls of streams: threads, and calls of one model that are answered together."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, TypeAlias

from wherever_edge.oip.yielding import let_others_run

if TYPE_CHECKING:
    from wherever_contracts.wire.tensors import InferRequest, InferResponse
    from wherever_edge.oip.admission import Caller
    from wherever_edge.oip.keys import KeyInfo

_LOG = logging.getLogger(__name__)

Outcome: TypeAlias = "InferResponse | Exception"

# Taken together: half of those that wait, so that a client who waits for all of them has answers
# to go on with while the others are worked on. So many always, if they are there; and no more
# calls, and no more bytes when one more comes.
_AT_LEAST, _MOST_CALLS, _MOST_BYTES = 16, 256, 8 * 1024 * 1024
# so often those who read may go first without bringing a call
_PATIENCE = 4
# lanes that are kept though nothing is in them; names of models come from clients
_KEPT = 256


class Asked(Protocol):
    """A call that waits for a worker."""

    @property
    def request(self) -> InferRequest:
        """What is asked."""
        ...

    @property
    def caller(self) -> Caller:
        """Who asks."""
        ...


class Workers:
    """Answers calls, those of each model and key apart from all others.

    Calls that gain by it are answered together, by one thread; others by as many as there are.
    Safe to use from many threads.

    Args:
        infer_many: answers calls of one model; see `wherever_edge.oip.service.InferenceService`.
        together: with how many of its model a call gains by that; likewise.
        done: told of calls with their outcomes.
        most: calls of one model and key that are worked on at a time.
    """

    def __init__(
        self,
        infer_many: Callable[[Sequence[InferRequest], Sequence[Caller]], Sequence[Outcome]],
        together: Callable[[InferRequest], int],
        done: Callable[[Sequence[Asked], Sequence[Outcome]], None],
        *,
        most: int,
    ) -> None:
        self._infer_many = infer_many
        self._together = together
        self._done = done
        self._most = most
        # models whose calls hang somewhere leave threads to the others
        self._pool = ThreadPoolExecutor(4 * most, thread_name_prefix="wherever-stream-work")
        self._lanes: dict[tuple[str, KeyInfo | None], Lane] = {}
        self._lock = threading.Lock()

    def put(self, calls: Iterable[Asked]) -> None:
        """Have calls answered; returns at once."""
        self.start(self.enter(calls))

    def enter(self, calls: Iterable[Asked], *, hurried: bool = False) -> list[Lane]:
        """Have calls wait; each lane that this gives counts on a worker: `work`, or `start` it.

        Args:
            calls: those that have come.
            hurried: whether no others are to be expected soon.
        """
        starting: list[Lane] = []
        with self._lock:
            for call in calls:
                lane = self._lane(call)
                lane.waiting.append(call)
                if lane.workers < (1 if lane.alone else self._most):
                    lane.workers += 1
                    lane.hurried = hurried
                    starting.append(lane)
        return starting

    def start(self, lanes: Iterable[Lane]) -> None:
        """Have other threads work on what waits in lanes."""
        with suppress(RuntimeError):  # closed meanwhile
            for lane in lanes:
                self._pool.submit(self.work, lane)

    def work(self, lane: Lane) -> None:
        """Answer what waits in a lane, until nothing does."""
        while calls := self._next(lane):
            self._work_on(calls)

    def answer_here(self, call: Asked) -> bool:
        """Have a call answered by this very thread, where that takes little and nobody else waits.

        Returns:
            False when it is to be `put`.
        """
        with self._lock:
            lane = self._lane(call)
            if lane.workers or self._company(call) == 1:
                return False
            lane.workers = 1
        self._work_on([call])
        with self._lock:
            more = bool(lane.waiting)
            lane.workers = int(more)
        if more:
            self.start([lane])
        return True

    def close(self) -> None:
        """Begin no more calls."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _lane(self, call: Asked) -> Lane:
        whose = call.request.model, call.caller.key
        lane = self._lanes.get(whose)
        if lane is None:
            if len(self._lanes) >= _KEPT:
                self._lanes = {each: lane for each, lane in self._lanes.items() if lane.workers}
            lane = self._lanes[whose] = Lane()
        return lane

    def _work_on(self, calls: Sequence[Asked]) -> None:
        """Answer calls; never raises, or their lane would count a worker that is gone."""
        try:
            self._done(calls, self._answer(calls))
        except BaseException:  # noqa: BLE001 (logged; the calls behind them go on)
            _LOG.exception("the answers to %d calls of streams were lost", len(calls))

    def _company(self, call: Asked) -> int:
        """With how many a call gains by being answered; never raises."""
        try:
            return self._together(call.request)
        except Exception:  # noqa: BLE001 (answered by itself, the call says why)
            return 1

    def _next(self, lane: Lane) -> list[Asked]:
        """What a worker does now; nothing when it is not needed any more."""
        if lane.alone and lane.waiting and not lane.hurried:
            _gather(lane.waiting)
        lane.hurried = False
        starting = 0
        with self._lock:
            calls: list[Asked] = []
            if lane.waiting:
                together = self._company(lane.waiting[0])
                lane.alone = together != 1
                calls = lane.take(together)
            if not calls:
                lane.workers -= 1
            elif not lane.alone:
                starting = min(len(lane.waiting), self._most - lane.workers)
                lane.workers += starting
        self.start([lane] * starting)
        return calls

    def _answer(self, calls: Sequence[Asked]) -> Sequence[Outcome]:
        try:
            requests = [call.request for call in calls]
            return self._infer_many(requests, [call.caller for call in calls])
        except BaseException as error:  # noqa: BLE001 (told to each; a model may end a thread, too)
            told = error if isinstance(error, Exception) else RuntimeError(repr(error))
            return [told] * len(calls)


class Lane:
    """The calls of one model that come with one key.

    Attributes:
        waiting: those that nobody works on yet.
        workers: how many work on others of them.
        alone: whether one worker does best for all.
        hurried: whether the next worker is not to wait for more of them.
    """

    __slots__ = ("alone", "hurried", "waiting", "workers")

    def __init__(self) -> None:
        self.waiting: deque[Asked] = deque()
        self.workers: int = 0
        self.alone: bool = False
        self.hurried: bool = False

    def take(self, together: int) -> list[Asked]:
        """What is answered next, where so many gain by being answered together."""
        if together == 1:
            return [self.waiting.popleft()]
        if self.workers > 1:
            return []
        most = max(_AT_LEAST, (len(self.waiting) + 1) // 2)
        most = min(most, together or _MOST_CALLS)
        calls: list[Asked] = []
        n_bytes = 0
        while self.waiting and len(calls) < most and n_bytes < _MOST_BYTES:
            calls.append(self.waiting.popleft())
            n_bytes += calls[-1].caller.n_bytes
        return calls


def _gather(waiting: deque[Asked]) -> None:
    """Let those who read go on while they bring more calls: one by one they cost much more."""
    patience = _PATIENCE
    while patience and len(waiting) < _AT_LEAST:
        before = len(waiting)
        let_others_run()
        patience = _PATIENCE if len(waiting) > before else patience - 1
