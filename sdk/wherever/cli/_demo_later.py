"""The gateway hangs: calls are answered in time, and better later, though who asked was killed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from wherever.cli._demo_asker import DEADLINE_S, Asked
from wherever.cli._demo_gateway import CAN_FREEZE, DemoGateway
from wherever.cli._demo_process import DemoServer
from wherever_contracts.errors import UpgradeError

if TYPE_CHECKING:
    from wherever._client import Client
    from wherever.cli._demo_modes import Digit
    from wherever.cli._demo_view import View

# Long enough for the slowest machine: what it took is shown, not judged.
_COME_WITHIN_S = 30.0


@dataclass(slots=True)
class LaterResult:
    """What came of it.

    Attributes:
        phases: the calls for an answer in time, and those for a better one later.
        came: how many of the calls that waited have their answer.
        corrected: how many of those answers are right where the device was wrong.
        came_s: seconds until the last one came, from when the gateway was thawed.
        error: why the first one that did not come did not.
    """

    phases: list[Asked]
    came: int = 0
    corrected: int = 0
    came_s: float = 0.0
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
    def waiting(self) -> int:
        """How many of them waited for a better one."""
        return sum(len(phase.waiting) for phase in self.phases)

    @property
    def lost(self) -> int:
        """How many of those never got it."""
        return self.waiting - self.came

    @property
    def wrong(self) -> int:
        """How many of the calls for a better answer later were answered wrongly at first."""
        return self.phases[-1].wrong

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain data; only what is `measured` differs from run to run."""
        return {
            "deadline_s": DEADLINE_S,
            "failed": self.failed,
            "phases": [phase.to_dict() for phase in self.phases],
            "waiting": self.waiting,
            "came": self.came,
            "lost": self.lost,
            "wrong": self.wrong,
            "corrected": self.corrected,
            "measured": {"came_s": self.came_s},
        }


def show_later(
    view: View,
    digits: Sequence[Digit],
    root: Path,
    settings: dict[str, Any],
    model: str,
    gateway: DemoGateway,
) -> LaterResult | None:
    """Freeze the gateway, ask in a process that is then killed, thaw it, and see what comes.

    Args:
        view: shows it as it happens.
        digits: what to ask.
        root: a directory for the state of the clients.
        settings: of both clients; their home is one of this act's own.
        model: what to ask for.
        gateway: one that serves the model.

    Returns:
        None where this system cannot freeze a process.

    Raises:
        WhereverError: the process that asks ended by itself.
    """
    deadline_ms = DEADLINE_S * 1000
    view.title(f"4  the gateway hangs: an answer in {deadline_ms:.0f} ms, and a better one later")
    if not CAN_FREEZE:
        view.line("left out: this system cannot freeze a process")
        return None
    settings = {**settings, "home": root / "later"}
    result = LaterResult(_asked(view, root / "later", settings, model, gateway))
    view.asked(result.phases)
    view.line(f"The process that asked is killed with {result.waiting} calls in its outbox.")
    gateway.thaw()
    with view.waiting("sending what waits ..."):
        _collect(result, digits, settings, gateway.address)
    view.came_later(result)
    return result


def _asked(
    view: View, home: Path, settings: dict[str, Any], model: str, gateway: DemoGateway
) -> list[Asked]:
    """What a process told that asked while the gateway hung, and that was killed then."""
    said = json.dumps({**settings, "home": str(home)})
    with DemoServer("process that asks", home) as asker:
        gateway.freeze()
        with view.waiting("asking, in a process of its own ..."):
            asker.start_module(
                "wherever.cli._demo_asker", gateway.address, model, said, tells="asked"
            )
            asker.wait_ready()
        asker.kill()
    return [Asked(**phase) for phase in asker.said["asked"]]


def _collect(
    result: LaterResult, digits: Sequence[Digit], settings: dict[str, Any], gateway: str
) -> None:
    """Wait for the later answers, as another process than the one that asked."""
    from wherever._client import Client  # noqa: PLC0415 (the client comes with the demo)

    began = perf_counter()
    ends = began + _COME_WITHIN_S
    with Client([gateway], **settings) as client:
        for phase in result.phases:
            for id_, position, value in phase.waiting:
                better = _upgrade(result, client, id_, max(0.0, ends - perf_counter()))
                result.came += better is not None
                result.corrected += value != digits[position].truth == better
    result.came_s = perf_counter() - began


def _upgrade(result: LaterResult, client: Client, id_: str, timeout_s: float) -> str | None:
    """The later answer; None when there is none, and then the result says why."""
    try:
        better = client.upgrade(id_, timeout_s=timeout_s)
        error = f"no later answer came within {_COME_WITHIN_S:g} s"
    except UpgradeError as caught:
        better, error = None, str(caught)
    if better is not None:
        return str(better.value)
    result.error = result.error or error
    return None
