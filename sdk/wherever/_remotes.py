"""The boxes and gateways of a client: each with its breaker, probed beside the calls."""

from __future__ import annotations

import json
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

from wherever._routing.breaker import Breaker, State
from wherever_contracts.errors import AttemptError, BadAnswerError, WhereverError
from wherever_contracts.receipts import Answer, Ran
from wherever_contracts.tensors import Array, TensorSpec, describe
from wherever_contracts.wire.said import (
    CONFIDENCE_KEY,
    ENGINE_KEY,
    QUEUE_KEY,
    RAN_KEY,
    SUBSTITUTED_KEY,
)
from wherever_contracts.wire.tensors import InferRequest, InferResponse, to_array
from wherever_edge.oip.client import RemoteHost

if TYPE_CHECKING:
    from wherever._routing.flow import Outcome
    from wherever_contracts.places import Place

Outputs: TypeAlias = Sequence[TensorSpec]

UNKNOWN = "not said"


class Health(NamedTuple):
    """What is known of a remote host without asking it."""

    state: State
    why: str
    usual_s: float


class Remote:
    """One box or gateway.

    Args:
        host: the way to it.
        place: its distance.
        probe_timeout_s: how long a probe of its health may take.
        name: what receipts call it; by default its address.

    Attributes:
        asked_at: when it was last sent a call, as `time.monotonic` says; 0: never.
    """

    def __init__(
        self, host: RemoteHost, place: Place, probe_timeout_s: float, name: str = ""
    ) -> None:
        self.host = host
        self.name = name or host.name
        self.place: Place = place
        self.asked_at = 0.0
        self._breaker = Breaker()
        self._lock = threading.Lock()
        self._probe_timeout_s = probe_timeout_s
        self._prober: threading.Thread | None = None
        self._closing = threading.Event()

    @property
    def health(self) -> Health:
        """What the calls and probes so far have shown."""
        breaker = self._breaker
        return Health(
            breaker.state, breaker.why if breaker.state != "closed" else "", breaker.usual_s
        )

    def admit(self, *, last_hope: bool) -> str:
        """Why a call must not be sent now; "" is leave to send one, and it must be sent."""
        if self._closing.is_set():
            return "the client was closed"
        with self._lock:
            return self._breaker.admit(last_hope=last_hope)

    def release(self) -> None:
        """Hand the leave back: no call was sent."""
        with self._lock:
            self._breaker.released()

    def infer(self, request: InferRequest, outputs: Outputs, timeout_s: float) -> Outcome:
        """Send the call and wait for what comes of it."""
        started = self.asked_at = monotonic()
        try:
            answer = answer_of(self.host.infer(request, timeout_s), outputs)
        except BaseException as error:  # noqa: BLE001 (raised again when it is not ours)
            return self._failed(error, timeout_s, started)
        self._answered(monotonic() - started)
        return answer

    def start(
        self,
        request: InferRequest,
        outputs: Outputs,
        timeout_s: float,
        done: Callable[[Outcome], None],
    ) -> Callable[[], None]:
        """Send the call; `done` is called once, from another thread, with what comes of it.

        Returns:
            A function that gives the call up; `done` is called then too.
        """
        started = self.asked_at = monotonic()
        try:
            call = self.host.start(request, timeout_s)
        except BaseException as error:  # noqa: BLE001 (raised again when it is not ours)
            done(self._failed(error, timeout_s, started))
            return lambda: None

        def finish(_: Any) -> None:
            try:
                answer = answer_of(call.result(), outputs)
            except BaseException as error:  # noqa: BLE001 (passed on as the outcome)
                done(self._failed(error, timeout_s, started, keep=True))
                return
            self._answered(monotonic() - started)
            done(answer)

        call.add_done_callback(finish)
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
            return old

    def check(self) -> None:
        """Probe a host that is thought well; when it is not, calls need not find that out."""
        started = monotonic()
        try:
            self.host.probe(self._probe_timeout_s)
        except AttemptError as error:
            now = monotonic()
            with self._lock:
                if self._breaker.state == "closed":
                    self._breaker.failed(error, now, self._probe_timeout_s, now - started)
                    self._watch()

    def close(self) -> None:
        """Stop probing and close the connection."""
        self._closing.set()
        prober = self._prober
        if prober is not None and prober is not threading.current_thread():
            prober.join(self._probe_timeout_s + 1)
        self.host.close()

    def _answered(self, elapsed_s: float) -> None:
        with self._lock:
            self._breaker.answered(elapsed_s)

    def _failed(
        self, error: BaseException, timeout_s: float, started: float, *, keep: bool = False
    ) -> WhereverError:
        """Note the failure; what is not ours to handle is raised again unless `keep`."""
        now = monotonic()
        with self._lock:
            if isinstance(error, AttemptError):
                self._breaker.failed(error, now, timeout_s, now - started)
                self._watch()
            else:
                self._breaker.released()
        if isinstance(error, WhereverError):
            # it stays on the receipt; the frames behind it would keep the whole message alive
            error.__cause__ = error.__context__ = None
            return error.with_traceback(None)
        if keep:
            return AttemptError(f"{self.name}: the call ended with {type(error).__name__}: {error}")
        raise error

    def _watch(self) -> None:
        """Probe beside the calls for as long as the breaker is open. Called with the lock held."""
        if self._breaker.state == "open" and self._prober is None and not self._closing.is_set():
            self._prober = threading.Thread(
                target=_probe_until_back,
                args=(weakref.ref(self), self._closing),
                name=f"wherever-probe-{self.name}",
                daemon=True,
            )
            self._prober.start()

    def probe_in_s(self) -> float:
        """Seconds until the next probe is due."""
        return max(0.0, self._breaker.probe_at - monotonic())

    def probe(self) -> bool:
        """Ask the host whether it is well; True when no more probes are needed."""
        healthy = self._is_healthy()
        with self._lock:
            self._breaker.probed(healthy=healthy, now=monotonic())
            if self._breaker.state == "open":
                return False
            self._prober = None
            return True

    def _is_healthy(self) -> bool:
        try:
            self.host.probe(self._probe_timeout_s)
        except Exception:  # noqa: BLE001 (whatever is wrong, the host is not well)
            return False
        return True


def _probe_until_back(remote: weakref.ref[Remote], closing: threading.Event) -> None:
    """Probe until the host is back, the client is closed, or nobody has it any more."""
    while (target := remote()) is not None:
        pause_s = target.probe_in_s()
        del target
        if closing.wait(pause_s):
            return
        target = remote()
        if target is None or target.probe():
            return


def answer_of(response: InferResponse, outputs: Outputs) -> Answer:
    """The answer that a response carries, checked against the signature's outputs.

    Raises:
        BadAnswerError: an output is missing, or of another dtype or shape than the signature's.
    """
    given = {tensor.name: tensor for tensor in response.outputs}
    arrays: dict[str, Array] = {}
    for spec in outputs:
        tensor = given.get(spec.name)
        if tensor is None:
            has = ", ".join(given) or "none"
            raise BadAnswerError(f"the answer has no output {spec.name!r} (it has: {has})")
        try:
            array = to_array(tensor)
        except ValueError as error:
            raise BadAnswerError(f"output {spec.name!r}: expected {error}") from error
        if not spec.admits(array):
            raise BadAnswerError(f"output {spec.name!r}: expected {spec}, found {describe(array)}")
        arrays[spec.name] = array
    parameters = response.parameters
    confidence = parameters.get(CONFIDENCE_KEY)
    return Answer(
        arrays,
        float(confidence) if isinstance(confidence, int | float) else None,
        _ran(str(parameters.get(RAN_KEY, "")), response.model, response.version),
        _seconds(parameters, ENGINE_KEY),
        protocol=response.protocol,
        queue_s=_seconds(parameters, QUEUE_KEY),
        substituted=_events(parameters.get(SUBSTITUTED_KEY)),
    )


def _seconds(parameters: Mapping[str, object], name: str) -> float:
    seconds = parameters.get(name)
    return float(seconds) if isinstance(seconds, int | float) else 0.0


def _events(text: object) -> tuple[str, ...]:
    """What did not go as planned, as a peer of our kind says it."""
    if not isinstance(text, str):
        return ()
    try:
        said: object = json.loads(text)
    except (ValueError, RecursionError):
        return ()
    events = cast("list[object]", said) if isinstance(said, list) else []
    return tuple(str(event) for event in events)


@lru_cache(maxsize=256)
def _ran(text: str, model: str, version: str) -> Ran:
    """What ran, as a peer of our kind says it; peers of other kinds do not say."""
    try:
        said: dict[str, Any] = json.loads(text) if text else {}
        threads = int(said.get("threads", 0))
    except (ValueError, TypeError, AttributeError):
        said, threads = {}, 0
    words = {name: str(said.get(name, UNKNOWN)) for name in Ran._fields if name != "threads"}
    return Ran(**{**words, "model": model, "version": version}, threads=threads)
