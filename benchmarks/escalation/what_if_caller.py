"""A device at one end of a shaped link: makes calls at an even pace, and records them.

`python what_if_caller.py ADDRESS` says `{"ready": true}` once it has reached the gateway. A line of
standard input is {"calls": 600, "period_s": 0.2, "after_s": 0.1, "explore": 0.1, ...options of a
call}; it is answered when the calls have ended. `explore` is the share of the calls that are
made in mode "auto" whatever the options say, so that the device is heard now and then.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from itertools import count
from time import monotonic, sleep
from typing import Any

import wherever
from wherever_contracts.tensors import Array
from wherever_edge.builtin import digits_test_split

GIVE_UP_S = 20.0


def main() -> None:
    """Serve the lines."""
    images, _ = digits_test_split()
    with wherever.Client(gateways=[sys.argv[1]]) as client:
        digits = client.model("digits")
        _until_reached(digits, images[0])
        print(json.dumps({"ready": True}), flush=True)
        for line in sys.stdin:
            _make(digits, images, **json.loads(line))
            print(json.dumps({"done": True}), flush=True)


def _until_reached(digits: wherever.Model, image: Array) -> None:
    digits(image, mode="only_on_device")
    give_up = monotonic() + GIVE_UP_S
    while monotonic() < give_up:
        with suppress(wherever.WhereverError):
            if digits(image, mode="prefer_in_cloud").place == "cloud":
                return
    raise SystemExit("the gateway was not reached")


def _make(
    digits: wherever.Model,
    images: Array,
    *,
    calls: int,
    period_s: float,
    after_s: float,
    explore: float = 0.0,
    **options: Any,
) -> None:
    began = monotonic() + after_s
    every = round(1 / explore) if explore else 0
    for number in count():
        if number == calls:
            return
        sleep(max(0.0, began + number * period_s - monotonic()))
        wished = {**options, "mode": "auto"} if every and number % every == 0 else options
        with suppress(wherever.WhereverError):
            digits(images[number % len(images)], record=True, **wished)


if __name__ == "__main__":
    main()
