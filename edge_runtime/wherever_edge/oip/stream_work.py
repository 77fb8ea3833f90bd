"""Who works on the calls of streams: threads, and calls of one model that are answered together."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from time import perf_counter
from typing import TYPE_CHECKING, Protocol, TypeAlias

from wherever_edge.oip.stream_pace import Pace

if TYPE_CHECKING:
    from wherever_contracts.wire.tensors import InferRequest, InferResponse
    from wherever_edge.oip.admission import Caller

Outcome: TypeAlias = "InferResponse | Exception"

# Taken together: half of those that wait, so that a client who waits for all of them has answers
# to go on with while the others are worked on. So many always, if they are there; and no more
# calls, and no more bytes when one more comes.
_AT_LEAST, _MOST_CALLS, _MOST_BYTES = 16, 256, 8 * 1024 * 1024
# models whose pace is known at least; names come from clients
_REMEMBERED = 256


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
    """Answers calls, those of each model apart from all others. Safe to use from many threads.

    Args:
        infer_many: answers calls of one model; see `wherever_edge.oip.service.InferenceService`.
        done: told of calls with their outcomes.
        most: calls of one model that are worked on at a time.
        at_once: how many can really go on at the same time, one to a core.
    """

    def __init__(
        self,
        infer_many: Callable[[Sequence[InferRequest], Sequence[Caller]], Sequence[Outcome]],
        done: Callable[[Sequence[Asked], Sequence[Outcome]], None],
        *,
        most: int,
        at_once: int,
    ) -> None:
        self._infer_many = infer_many
        self._done = done
        self._most = most
        self._at_once = at_once
        # models whose calls hang somewhere leave threads to the others
        self._pool = ThreadPoolExecutor(4 * most, thread_name_prefix="wherever-stream-work")
        self._lanes: dict[str, _Lane] = {}
        self._lock = threading.Lock()

    def put(self, calls: Iterable[Asked]) -> None:
        """Have calls answered; returns at once."""
        starting: list[_Lane] = []
        with self._lock:
            for call in calls:
                lane = self._lane(call.request.model)
                lane.waiting.append(call)
                if lane.takes_another(self._most):
                    lane.workers += 1
                    starting.append(lane)
        self._start(starting)

    def close(self) -> None:
        """Begin no more calls."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _lane(self, model: str) -> _Lane:
        lane = self._lanes.get(model)
        if lane is None:
            if len(self._lanes) >= _REMEMBERED:
                self._lanes = {name: lane for name, lane in self._lanes.items() if lane.workers}
            lane = self._lanes[model] = _Lane(Pace(self._at_once))
        return lane

    def _start(self, lanes: Iterable[_Lane]) -> None:
        with suppress(RuntimeError):  # closed meanwhile
            for lane in lanes:
                self._pool.submit(self._work, lane)

    def _work(self, lane: _Lane) -> None:
        while calls := self._next(lane):
            started = perf_counter()
            outcomes = self._answer(calls)
            elapsed_s = perf_counter() - started
            self._done(calls, outcomes)
            with self._lock:
                lane.pace.learn(len(calls), elapsed_s)

    def _next(self, lane: _Lane) -> list[Asked]:
        with self._lock:
            calls = lane.take()
            if not calls:
                lane.workers -= 1
            more = len(lane.waiting) if calls and lane.takes_another(self._most) else 0
            more = min(more, self._most - lane.workers)
            lane.workers += more
        self._start([lane] * more)
        return calls

    def _answer(self, calls: Sequence[Asked]) -> Sequence[Outcome]:
        try:
            requests = [call.request for call in calls]
            return self._infer_many(requests, [call.caller for call in calls])
        except Exception as error:  # noqa: BLE001 (told to each of them)
            return [error] * len(calls)


class _Lane:
    """The calls of one model."""

    __slots__ = ("pace", "waiting", "workers")

    def __init__(self, pace: Pace) -> None:
        self.pace: Pace = pace
        self.waiting: deque[Asked] = deque()
        self.workers: int = 0

    def takes_another(self, most: int) -> bool:
        """Whether one more worker has something to do."""
        alone = self.pace.together or not self.pace.known
        return self.workers < (1 if alone else most)

    def take(self) -> list[Asked]:
        """What the next free worker does; nothing when it is not needed."""
        if not self.waiting or (self.workers > 1 and self.pace.together):
            return []
        if not self.pace.together:
            return [self.waiting.popleft()]
        calls: list[Asked] = []
        n_bytes = 0
        most = min(_MOST_CALLS, max(_AT_LEAST, (len(self.waiting) + 1) // 2))
        while self.waiting and len(calls) < most and n_bytes < _MOST_BYTES:
            calls.append(self.waiting.popleft())
            n_bytes += calls[-1].caller.n_bytes
        return calls
