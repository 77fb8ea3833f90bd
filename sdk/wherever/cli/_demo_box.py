"""A box appears: it is found, paired, asked, and killed."""

from __future__ import annotations

import queue
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, perf_counter, sleep
from typing import TYPE_CHECKING, Any

from wherever.cli._demo_process import DemoServer, ask
from wherever_contracts.errors import NoRouteError, WhereverError

if TYPE_CHECKING:
    from wherever._client import Client
    from wherever._handle import Model
    from wherever.cli._demo_modes import Digit
    from wherever.cli._demo_view import View
    from wherever_edge.box.adverts import Advert

NAME = "demo-box"
LOOPBACK = "127.0.0.1"
SLOW_S = 0.1

_FOUND_WITHIN_S = 8.0
_CALLS_PER_S = 350.0


@dataclass(slots=True)
class BoxPhase:
    """What came of one call for every digit.

    Attributes:
        box: how many answers the box gave.
        slow: how many calls took `SLOW_S` or longer.
        error: what the first failed call said.
    """

    name: str
    calls: int = 0
    failed: int = 0
    right: int = 0
    box: int = 0
    device: int = 0
    slow: int = 0
    slowest_s: float = 0.0
    error: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain data; only what is `measured` differs from run to run."""
        return {
            "name": self.name,
            "calls": self.calls,
            "failed": self.failed,
            "right": self.right,
            "accuracy": self.right / self.calls,
            "box": self.box,
            "device": self.device,
            "measured": {"slow": self.slow, "slowest_ms": self.slowest_s * 1000},
        }


@dataclass(slots=True)
class BoxResult:
    """What came of the box.

    Attributes:
        found_s: seconds until mDNS told of it; None when this machine's loopback has no mDNS.
    """

    found_s: float | None
    phases: list[BoxPhase]

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain data; only what is `measured` differs from run to run."""
        return {
            "found": self.found_s is not None,
            "phases": [phase.to_dict() for phase in self.phases],
            "measured": {"found_s": self.found_s},
        }


def show_box(
    view: View, digits: Sequence[Digit], root: Path, settings: dict[str, Any], model: str
) -> BoxResult:
    """Start a box, find it, pair with it, ask it about every digit, kill it, and go on.

    Args:
        view: shows it as it happens.
        digits: what to ask.
        root: a directory for the state of the box and of the device.
        settings: of the device's clients, its home among them.
        model: what to ask for.

    Raises:
        WhereverError: the box cannot be started or paired with, or answers before that, or never.
    """
    settings = {
        **settings,
        "nearby": True,
        "interface": LOOPBACK,
        "boundary": "site",
        "mode": "prefer_in_cloud",
    }
    view.title("6  a box appears on the network, is paired, and is lost")
    with DemoServer("box", root / "box") as server:
        with view.waiting("starting a box on this machine ..."):
            server.launch("serve", "--port", "0", "--name", NAME, "--interface", LOOPBACK)
            server.wait_ready()
        view.did("serve", f"{NAME} is process {server.pids[-1]}, and shows a pairing code")
        found_s = _discover(view, server.said)
        _check_unpaired(digits[0], settings, model)
        view.did("", "before it is paired, a call for boxes alone is refused")
        with view.waiting("pairing ..."):
            _pair(root, server.said, by_name=found_s is not None, home=Path(settings["home"]))
        view.did("pair", "its certificate is the one that the code stands for")
        phases = _ask_and_kill(view, digits, settings, model, server)
    return BoxResult(found_s, phases)


def _discover(view: View, said: dict[str, Any]) -> float | None:
    with view.waiting("looking for boxes ..."):
        found_s = _find(str(said["id"])) if said["advertised"] else None
    if found_s is None:
        view.did("discover", f"no mDNS on this machine's loopback; it is at {said['grpc']}")
    else:
        view.did("discover", f"found at {said['grpc']} after {found_s:.1f} s; it is told nothing")
    return found_s


def _find(box_id: str) -> float | None:
    """Seconds until the box is heard of; None when this machine's loopback has no mDNS."""
    from wherever_edge.box.browsing import Browser  # noqa: PLC0415 (zeroconf, 77 ms)

    heard: queue.Queue[Advert] = queue.Queue()
    started = monotonic()
    browser = Browser(heard.put, lambda _: None, interface=LOOPBACK, wanted=[box_id])
    try:
        browser.start()
        heard.get(timeout=_FOUND_WITHIN_S)
    except (queue.Empty, OSError):
        return None
    finally:
        browser.close()
    return monotonic() - started


def _check_unpaired(digit: Digit, settings: dict[str, Any], model: str) -> None:
    """Make sure that a box that this device is not paired with answers nothing."""
    from wherever._client import Client  # noqa: PLC0415 (the client comes with the demo)

    with Client([], **settings) as client, suppress(NoRouteError):
        answer = client.model(model)(digit.ink, places=["nearby"])
        raise WhereverError(f"{answer.receipt.host} answered, and no box is paired")


def _pair(root: Path, said: dict[str, Any], *, by_name: bool, home: Path) -> None:
    name = NAME if by_name else said["grpc"]
    options = ("--code", said["code"], "--interface", LOOPBACK, "--home", home)
    ask(root, "pair", name, *options)


def _ask_and_kill(
    view: View, digits: Sequence[Digit], settings: dict[str, Any], model: str, server: DemoServer
) -> list[BoxPhase]:
    from wherever._client import Client  # noqa: PLC0415 (the client comes with the demo)

    with Client([], **settings) as client:
        handle = _warm(client, model, digits[0])
        phases = [_phase("box up", handle, digits)]
        if not phases[0].box:
            raise WhereverError(f"the box answered nothing; {model} said: {phases[0].error}")
        view.box_phase(phases[-1], head=True)
        server.kill()
        phases.append(_phase("kill -9", handle, digits))
        view.box_phase(phases[-1])
    return phases


def _warm(client: Client, model: str, digit: Digit) -> Model:
    """The handle, connected: the first call of a connection is not what is shown."""
    handle = client.model(model)
    handle(digit.ink)
    return handle


def _phase(name: str, model: Model, digits: Sequence[Digit]) -> BoxPhase:
    """One call for every digit, at a steady pace."""
    phase = BoxPhase(name)
    began = perf_counter()
    for number, digit in enumerate(digits):
        sleep(max(0.0, began + number / _CALLS_PER_S - perf_counter()))
        started = perf_counter()
        _call(phase, model, digit)
        took_s = perf_counter() - started
        phase.slow += took_s >= SLOW_S
        phase.slowest_s = max(phase.slowest_s, took_s)
    return phase


def _call(phase: BoxPhase, model: Model, digit: Digit) -> None:
    phase.calls += 1
    try:
        prediction = model(digit.ink)
    except WhereverError as error:
        phase.failed += 1
        phase.error = phase.error or str(error)
        return
    phase.right += prediction.value == digit.truth
    phase.box += prediction.place == "nearby"
    phase.device += prediction.place == "device"
