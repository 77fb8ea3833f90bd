"""A device at one end of a shaped link: makes calls as each line of standard input says.

`python caller.py ADDRESS`; a line is {"seconds": 5, "pause_s": 0.02, "mode": "auto", "deadline_s":
0.1}, and is answered by [began, elapsed_s, place, asked] of each call, on the clock that all
processes of a machine share; the place is "" for a call that failed, and `asked` says whether the
gateway was asked. All inputs are ones that the device is unsure of.
"""

from __future__ import annotations

import json
import sys
from time import monotonic, sleep
from typing import Any

import wherever
from wherever_contracts.tensors import Array
from wherever_edge.builtin import digits_test_split


def main() -> None:
    """Serve the lines."""
    with wherever.Client(gateways=[sys.argv[1]]) as client:
        digits = client.model("digits")
        unsure = _unsure(digits)
        print(json.dumps({"ready": True, "unsure": len(unsure)}), flush=True)
        for line in sys.stdin:
            print(json.dumps(_calls(digits, unsure, **json.loads(line))), flush=True)


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
) -> list[tuple[float, float, str, bool]]:
    made: list[tuple[float, float, str, bool]] = []
    until = monotonic() + seconds
    while (began := monotonic()) < until:
        place, asked = _call(digits, inputs[len(made) % len(inputs)], options)
        made.append((began, monotonic() - began, place, asked))
        sleep(pause_s)
    return made


def _call(digits: wherever.Model, image: Array, options: dict[str, Any]) -> tuple[str, bool]:
    try:
        answer = digits(image, **options)
    except wherever.WhereverError as error:
        print(f"failed: {error}", file=sys.stderr, flush=True)
        return "", True
    return answer.place, any(record.place != "device" for record in answer.receipt.attempts)


if __name__ == "__main__":
    main()
