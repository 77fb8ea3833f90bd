"""A device at one end of a shaped link: makes calls as each line of standard input says.

`python caller.py ADDRESS`; a line is {"seconds": 5, "pause_s": 0.02, "mode": "auto", "deadline_s":
0.1}. The answer has `calls`, [began, elapsed_s, place, asked, queued_s] of each, on the clock that
all processes of a machine share; the place is "" for a call that failed, `asked` says whether the
gateway was asked, and `queued_s` for how long threads were ready meanwhile and had to wait for a
processor. Its `held` are [due, woke] of a thread that only sleeps, whenever it woke late: then the
machine did not run this process, and nothing in it can be in time. All inputs are ones that the
device is unsure of.
"""

from __future__ import annotations

import json
import sys
import threading
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any, TypeAlias

import wherever
from wherever_contracts.tensors import Array
from wherever_edge.builtin import digits_test_split

MadeCall: TypeAlias = tuple[float, float, str, bool, float]

NAP_S = 0.005
# a machine with nothing else to do wakes a thread so late
USUALLY_LATE_S = 0.001


def main() -> None:
    """Serve the lines."""
    sleeper = Sleeper()
    sleeper.start()
    with wherever.Client(gateways=[sys.argv[1]]) as client:
        digits = client.model("digits")
        unsure = _unsure(digits)
        print(json.dumps({"ready": True, "unsure": len(unsure)}), flush=True)
        for line in sys.stdin:
            made = _calls(digits, unsure, **json.loads(line))
            print(json.dumps({"calls": made, "held": sleeper.take()}), flush=True)


class Sleeper(threading.Thread):
    """Sleeps and wakes, and notes when it woke late."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._late: list[tuple[float, float]] = []

    def take(self) -> list[tuple[float, float]]:
        """When it was to wake and when it did, each time that it was late since last asked."""
        late, self._late = self._late, []
        return late

    def run(self) -> None:
        """Sleep and wake."""
        while True:
            due = monotonic() + NAP_S
            sleep(NAP_S)
            woke = monotonic()
            if woke - due > USUALLY_LATE_S:
                self._late.append((due, woke))


def _unsure(digits: wherever.Model) -> list[Array]:
    """The images for which the device asks others."""
    images, _ = digits_test_split()
    answers = [digits(image, mode="only_on_device") for image in images]
    threshold = sorted(answer.confidence or 0.0 for answer in answers)[len(answers) // 10]
    return [
        image
        for image, answer in zip(images, answers, strict=True)
        if (answer.confidence or 0.0) <= threshold
    ]


def _calls(
    digits: wherever.Model, inputs: list[Array], *, seconds: float, pause_s: float, **options: Any
) -> list[MadeCall]:
    made: list[MadeCall] = []
    until = monotonic() + seconds
    while monotonic() < until:
        before_s = _queued_s()
        began = monotonic()
        place, asked = _call(digits, inputs[len(made) % len(inputs)], options)
        elapsed_s = monotonic() - began
        made.append((began, elapsed_s, place, asked, max(0.0, _queued_s() - before_s)))
        sleep(pause_s)
    return made


def _queued_s() -> float:
    """For how long the threads of this process have waited for a processor so far.

    All of them: one that waits for a processor may hold what the others need, first of all the
    interpreter.
    """
    waited_ns = 0
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # it has just ended
            waited_ns += int((task / "schedstat").read_text().split()[1])
    return waited_ns / 1e9


def _call(digits: wherever.Model, image: Array, options: dict[str, Any]) -> tuple[str, bool]:
    try:
        answer = digits(image, **options)
    except wherever.WhereverError as error:
        print(f"failed: {error}", file=sys.stderr, flush=True)
        return "", True
    return answer.place, any(record.place != "device" for record in answer.receipt.attempts)


if __name__ == "__main__":
    main()
