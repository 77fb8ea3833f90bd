"""An engine in a worker process is killed and frozen, while calls keep coming from threads."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from wherever.cli._demo_process import quiet
from wherever_contracts.errors import SettingsError, WhereverError

if TYPE_CHECKING:
    from wherever._client import Client
    from wherever._prediction import Prediction
    from wherever.cli._demo_modes import Digit
    from wherever.cli._demo_view import View
    from wherever_contracts.receipts import Ran
    from wherever_contracts.tensors import Array
    from wherever_edge.packages.store import Package

THREADS = 4
ACTS = ("killed", "frozen", "killed", "frozen")

_SIGNALS = {"killed": "SIGKILL", "frozen": "SIGSTOP"}
_CALLS_PER_S = 350.0
# Long enough for the slowest machine: what it took is shown, not judged.
_DEADLINE_S = 30.0
_BACK_WITHIN_S = 30.0
_LOOK_EVERY_S = 0.01
# How many calls come between two acts, from all threads.
_BETWEEN = 60
_TOLERANCE = 1e-3


class Heard(NamedTuple):
    """One call.

    Attributes:
        digit: the position of what was asked.
        answer: None when the call failed.
        at_s: when it ended, as `perf_counter` counts.
        took_s: how long it took.
    """

    digit: int
    answer: Prediction | None
    at_s: float
    took_s: float


@dataclass(slots=True)
class CrashPhase:
    """What came of the calls that ended after one act, and before the next one.

    Attributes:
        wrong: answers that the same plan does not give where nobody disturbs it.
        instead: answers of the next best plan.
        back_s: seconds until there was another worker.
    """

    name: str
    calls: int
    failed: int
    wrong: int
    instead: int
    slowest_s: float
    back_s: float

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain data; only what is `measured` differs from run to run."""
        return {
            "name": self.name,
            "failed": self.failed,
            "wrong": self.wrong,
            "measured": {
                "calls": self.calls,
                "instead": self.instead,
                "slowest_ms": self.slowest_s * 1000,
                "back_s": self.back_s,
            },
        }


@dataclass(slots=True)
class CrashResult:
    """What came of it.

    Attributes:
        phases: one for each time that the worker was killed or frozen.
        error: what the first failed call said.
    """

    phases: list[CrashPhase] = field(default_factory=list[CrashPhase])
    error: str = ""

    @property
    def calls(self) -> int:
        """How many calls there were."""
        return sum(phase.calls for phase in self.phases)

    @property
    def failed(self) -> int:
        """How many of them got no answer."""
        return sum(phase.failed for phase in self.phases)

    @property
    def wrong(self) -> int:
        """How many of them got a wrong one."""
        return sum(phase.wrong for phase in self.phases)

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain data; only what is `measured` differs from run to run."""
        return {
            "threads": THREADS,
            "failed": self.failed,
            "wrong": self.wrong,
            "phases": [phase.to_dict() for phase in self.phases],
            "measured": {"calls": self.calls},
        }


class Act(NamedTuple):
    """Something that was done to the worker: what, when, and how soon another one was there."""

    name: str
    at_s: float
    back_s: float


def show_crashes(
    view: View, digits: Sequence[Digit], root: Path, settings: dict[str, Any], package: Package
) -> CrashResult | None:
    """Kill and freeze the process of an engine while calls keep coming.

    Args:
        view: shows it as it happens.
        digits: what is asked, over and over.
        root: a directory for the client's state.
        settings: of the client; its home is one of this act's own.
        package: what is asked for.

    Returns:
        None where this system cannot run engines in processes of their own.

    Raises:
        WhereverError: there is no worker, or none comes back.
    """
    view.title(f"11  an engine in its own process is killed, and frozen; {THREADS} threads call on")
    why = _impossible()
    if why:
        view.line(f"left out: {why}")
        return None
    asking = {**settings, "home": root / "isolated", "deadline_s": _DEADLINE_S}
    with quiet("wherever_edge"), view.waiting("killing and freezing the engine ..."):
        with _Callers(digits, asking, package.name) as callers:
            acts = [_do(callers, name) for name in ACTS]
        result = CrashResult(_phases(callers.heard, acts, package, digits), callers.error)
    view.crashes(result)
    return result


def _impossible() -> str:
    """Why this system cannot have workers, or cannot freeze them; or ""."""
    from wherever_edge.isolation.process import refuse_where_impossible  # noqa: PLC0415 (one act)

    try:
        refuse_where_impossible()
    except SettingsError as error:
        return str(error)
    return "" if hasattr(signal, "SIGSTOP") else "this system cannot freeze a process"


class _Callers:
    """Threads that ask about every digit, over and over, until the block ends.

    Attributes:
        heard: every call so far.
        error: what the first failed call said.
    """

    def __init__(self, digits: Sequence[Digit], settings: dict[str, Any], model: str) -> None:
        from wherever._client import Client  # noqa: PLC0415 (the client comes with the demo)

        self.heard: list[Heard] = []
        self.error = ""
        self._digits = digits
        self._client: Client = Client([], isolation="process", **settings)
        self._model = self._client.model(model)
        self._planned = ""
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._call_on, args=(number,), daemon=True)
            for number in range(THREADS)
        ]

    def __enter__(self) -> Self:
        try:
            self._model(self._digits[0].ink)
        except BaseException:
            self._client.close()
            raise
        self._planned = self._client.status().loaded[0].plan
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(_DEADLINE_S)
        self._client.close()

    @property
    def worker(self) -> int:
        """The process that runs what was planned; 0 while there is none."""
        every = self._client.status().loaded
        return next((pid for each in every if each.plan == self._planned for pid in each.pids), 0)

    def wait_for_more(self) -> None:
        """Wait until some more calls have ended.

        Raises:
            WhereverError: they have not in time.
        """
        enough, ends_s = len(self.heard) + _BETWEEN, perf_counter() + _BACK_WITHIN_S
        while len(self.heard) < enough:
            if perf_counter() > ends_s:
                raise WhereverError(f"no more calls ended within {_BACK_WITHIN_S:g} s")
            sleep(_LOOK_EVERY_S)

    def wait_for_another(self, pid: int) -> None:
        """Wait until what was planned has another process than `pid`.

        Raises:
            WhereverError: it has not in time.
        """
        ends_s = perf_counter() + _BACK_WITHIN_S
        while self.worker in {0, pid}:
            if perf_counter() > ends_s:
                raise WhereverError(f"the engine was not back within {_BACK_WITHIN_S:g} s")
            sleep(_LOOK_EVERY_S)

    def _call_on(self, number: int) -> None:
        index = number * len(self._digits) // THREADS
        due_s = perf_counter()
        while not self._ended.wait(max(0.0, due_s - perf_counter())):
            due_s = perf_counter() + THREADS / _CALLS_PER_S
            self.heard.append(self._call(index % len(self._digits)))
            index += 1

    def _call(self, index: int) -> Heard:
        started_s = perf_counter()
        try:
            answer = self._model(self._digits[index].ink)
        except WhereverError as error:
            self.error = self.error or str(error)
            answer = None
        ended_s = perf_counter()
        return Heard(index, answer, ended_s, ended_s - started_s)


def _do(callers: _Callers, name: str) -> Act:
    """Kill or freeze the worker, and wait until there is another one and calls go on."""
    callers.wait_for_more()
    pid, at_s = callers.worker, perf_counter()
    if not pid:
        raise WhereverError("the engine has no process of its own to be killed")
    os.kill(pid, getattr(signal, _SIGNALS[name]))
    callers.wait_for_another(pid)
    back_s = perf_counter() - at_s
    callers.wait_for_more()
    return Act(name, at_s, back_s)


def _phases(
    heard: Sequence[Heard], acts: Sequence[Act], package: Package, digits: Sequence[Digit]
) -> list[CrashPhase]:
    """The calls by the act that they ended after; those before the first one count to it."""
    every = {each.answer.receipt.ran for each in heard if each.answer}
    expected = {ran: _undisturbed(package, ran, digits) for ran in every}
    starts = [0.0, *(act.at_s for act in acts[1:]), float("inf")]
    return [
        _phase(act, [each for each in heard if begins_s <= each.at_s < ends_s], expected)
        for act, begins_s, ends_s in zip(acts, starts[:-1], starts[1:], strict=True)
    ]


def _phase(
    act: Act, heard: Sequence[Heard], expected: Mapping[Ran, Sequence[Mapping[str, Array]]]
) -> CrashPhase:
    answers = [(each.digit, each.answer) for each in heard if each.answer]
    return CrashPhase(
        act.name,
        calls=len(heard),
        failed=len(heard) - len(answers),
        wrong=sum(_differs(a.outputs, expected[a.receipt.ran][digit]) for digit, a in answers),
        instead=sum(bool(answer.receipt.substituted) for _, answer in answers),
        slowest_s=max((each.took_s for each in heard), default=0.0),
        back_s=act.back_s,
    )


def _undisturbed(package: Package, ran: Ran, digits: Sequence[Digit]) -> list[Mapping[str, Array]]:
    """What an engine in this process answers for every digit, run in the same way."""
    from wherever_devices.plans import RunPlan  # noqa: PLC0415 (one act needs these)
    from wherever_edge.engines.engine import Resources  # noqa: PLC0415
    from wherever_edge.engines.installed import InstalledEngines  # noqa: PLC0415
    from wherever_edge.loaded import LoadedVariant  # noqa: PLC0415
    from wherever_edge.opening import open_variant  # noqa: PLC0415
    from wherever_edge.resident import Resident  # noqa: PLC0415

    variant = package.manifest.variant(ran.variant)
    plan = RunPlan(ran.engine, "cpu", ran.precision, ran.threads)
    session = open_variant(InstalledEngines(), package, variant, plan, Resources())
    loaded = LoadedVariant(package, variant, Resident.of(plan, session))
    (entry,) = package.manifest.signature.inputs
    rows = [{entry.name: digit.ink.astype("float32")} for digit in digits]
    return [loaded.answer(row, {}).outputs for row in rows]


def _differs(given: Mapping[str, Array], expected: Mapping[str, Array]) -> bool:
    """Whether an answer is another one, by more than the order of sums makes of it."""
    return any(abs(given[name] - expected[name]).max() > _TOLERANCE for name in expected)
