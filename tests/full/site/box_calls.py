"""A device of the site: makes as many calls as each line of standard input says, and reports.

python box_calls.py PACKAGE INTERFACE
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from time import monotonic, sleep

import numpy as np

import wherever

SLOW_S = 0.25
UNSURE = np.array([1, 1.2, 1], np.float32)


def resident_bytes() -> int:
    status = Path("/proc/self/status").read_text().split()
    return int(status[status.index("VmRSS:") + 1]) * 1024


def make_calls(client: wherever.Client, count: int, pause_s: float) -> dict[str, object]:
    places: Counter[str] = Counter()
    took: list[float] = []
    last = ""
    for _ in range(count):
        started = monotonic()
        last = client.predict("scales", UNSURE, mode="prefer_in_cloud").place
        took.append(monotonic() - started)
        places[last] += 1
        sleep(pause_s)
    return {
        "places": dict(places),
        "last": last,
        "slow": sum(each > SLOW_S for each in took),
        "slowest_s": round(max(took), 4),
        "resident_bytes": resident_bytes(),
    }


def main() -> None:
    package, interface = sys.argv[1:]
    with wherever.Client(packages=[package], interface=interface) as client:
        for line in sys.stdin:
            print(json.dumps(make_calls(client, **json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
