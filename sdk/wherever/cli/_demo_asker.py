"""`python -m wherever.cli._demo_asker`: the process of the demo that asks while the gateway hangs.

It asks for every digit twice, once for an answer in time and once for a better one later, says in
a line of JSON what came of it, and waits to be killed.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any

from wherever_contracts.errors import WhereverError

if TYPE_CHECKING:
    from wherever._handle import Model
    from wherever.cli._demo_modes import Digit

DEADLINE_S = 0.1
IN_TIME: dict[str, Any] = {"mode": "prefer_in_cloud"}
LATER: dict[str, Any] = {"later": True}

_CALLS_PER_S = 1000.0
_WAITS = "waits in the outbox"


@dataclass(slots=True)
class Asked:
    """What came of one call for every digit.

    Attributes:
        device: how many answers this device gave.
        late: how many calls took longer than their deadline.
        wrong: how many answers were wrong.
        waiting: the calls that wait for a better answer: id, position of the digit, answer.
        error: what the first failed call said.
    """

    name: str
    calls: int = 0
    failed: int = 0
    device: int = 0
    late: int = 0
    wrong: int = 0
    slowest_s: float = 0.0
    waiting: list[tuple[str, int, str]] = field(default_factory=list[tuple[str, int, str]])
    error: str = ""

    @property
    def right(self) -> int:
        """How many answers were right."""
        return self.calls - self.failed - self.wrong

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain data; only what is `measured` differs from run to run."""
        return {
            "name": self.name,
            "calls": self.calls,
            "failed": self.failed,
            "right": self.right,
            "accuracy": self.right / self.calls,
            "device": self.device,
            "waiting": len(self.waiting),
            "measured": {"late": self.late, "slowest_ms": self.slowest_s * 1000},
        }


def ask_all(model: Model, digits: Sequence[Digit], name: str, options: dict[str, Any]) -> Asked:
    """One call for every digit within `DEADLINE_S`, at a steady pace."""
    asked = Asked(name)
    began = perf_counter()
    for position, digit in enumerate(digits):
        sleep(max(0.0, began + position / _CALLS_PER_S - perf_counter()))
        started = perf_counter()
        _call(asked, model, digit, position, options)
        took_s = perf_counter() - started
        asked.late += took_s > DEADLINE_S
        asked.slowest_s = max(asked.slowest_s, took_s)
    return asked


def _call(asked: Asked, model: Model, digit: Digit, position: int, options: dict[str, Any]) -> None:
    asked.calls += 1
    try:
        prediction = model(digit.ink, deadline_s=DEADLINE_S, **options)
    except WhereverError as error:
        asked.failed += 1
        asked.error = asked.error or str(error)
        return
    asked.device += prediction.place == "device"
    asked.wrong += prediction.value != digit.truth
    if prediction.receipt.later == _WAITS:
        asked.waiting.append((prediction.id, position, str(prediction.value)))


def _main(gateway: str, name: str, settings: dict[str, Any]) -> None:
    from wherever._client import Client  # noqa: PLC0415 (they take a while; the leash is first)
    from wherever.cli._demo_modes import held_out_digits  # noqa: PLC0415

    digits = held_out_digits()
    client = Client([gateway], **settings)
    model = client.model(name)
    model(digits[0].ink, mode="only_on_device")
    phases = [
        ask_all(model, digits, "prefer_in_cloud", IN_TIME),
        ask_all(model, digits, "later=True", LATER),
    ]
    print(json.dumps({"asked": [asdict(phase) for phase in phases]}), flush=True)  # noqa: T201
    threading.Event().wait()


if __name__ == "__main__":
    from wherever.cli._leash import end_with_standard_input

    threading.Thread(target=end_with_standard_input, daemon=True).start()
    _main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
