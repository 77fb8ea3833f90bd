"""A device with a gateway: makes calls for as long as each line of standard input says.

python gateway_calls.py GATEWAY

A line is {"seconds": S, "until": PLACE}: calls follow each other for S seconds, or until one is
answered at PLACE. The report has the times of the machine's monotonic clock.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from time import monotonic, sleep
from typing import Any

import wherever
from wherever_edge.builtin import digits_test_split

# what the device takes at worst, and 50 ms; it takes 1 ms even on a machine at work
SLOW_S = 0.06
PAUSE_S = 0.005


def make_calls(digits: Any, image: Any, seconds: float, until: str) -> dict[str, object]:
    places: Counter[str] = Counter()
    slow: list[float] = []
    failed: list[str] = []
    last = ""
    ends = monotonic() + seconds
    while monotonic() < ends and (not until or last != until):
        started = monotonic()
        try:
            last = digits(image, mode="prefer_in_cloud").place
        except wherever.WhereverError as error:
            failed.append(str(error))
        else:
            places[last] += 1
        took = monotonic() - started
        slow += [round(took, 4)] if took > SLOW_S else []
        sleep(PAUSE_S)
    return {"places": places, "slow": slow, "failed": failed, "last": last, "at": monotonic()}


def main() -> None:
    images, _ = digits_test_split()
    with wherever.Client(gateways=[sys.argv[1]]) as client:
        digits = client.model("digits")
        for line in sys.stdin:
            print(json.dumps(make_calls(digits, images[0], **json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
