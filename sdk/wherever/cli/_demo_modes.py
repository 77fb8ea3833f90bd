"""The held-out digits through one mode after the other: how right, how fast, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from wherever.cli._recording import quantile
from wherever_contracts.errors import WhereverError
from wherever_edge.builtin import digits_test_split

if TYPE_CHECKING:
    from wherever._handle import Model
    from wherever._prediction import Prediction
    from wherever_contracts.places import Mode
    from wherever_contracts.tensors import Array

MODES: tuple[Mode, ...] = ("only_on_device", "only_in_cloud", "auto")


class Digit(NamedTuple):
    """A digit that no model here was trained on: uint8 amounts of ink [8, 8], and what it is."""

    ink: Array
    truth: str


def held_out_digits() -> list[Digit]:
    """The digits of the test split, in their order."""
    images, labels = digits_test_split()
    return [Digit(ink, str(label)) for ink, label in zip(images, labels.tolist(), strict=True)]


@dataclass(slots=True)
class ModeResult:
    """What one mode did with all digits.

    Attributes:
        answers: the answer to each digit, "" where there was none.
        cloud: how many answers the gateway gave.
        took_s: seconds of each call that was answered.
        error: what the first failed call said.
    """

    mode: Mode
    answers: list[str]
    right: int
    cloud: int
    took_s: list[float]
    error: str = ""

    @property
    def failed(self) -> int:
        """How many calls got no answer."""
        return len(self.answers) - len(self.took_s)

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain data; only what is `measured` differs from run to run."""
        n = len(self.answers)
        return {
            "mode": self.mode,
            "calls": n,
            "failed": self.failed,
            "right": self.right,
            "accuracy": self.right / n,
            "cloud": self.cloud,
            "cloud_share": self.cloud / n,
            "measured": {
                "median_ms": quantile(self.took_s, 0.5) * 1000,
                "p95_ms": quantile(self.took_s, 0.95) * 1000,
            },
        }


class Example(NamedTuple):
    """A digit that was escalated.

    Attributes:
        position: its place among the digits.
        truth: what it is.
        device_said: what the device alone makes of it.
        prediction: the escalated call.
    """

    position: int
    truth: str
    device_said: str
    prediction: Prediction

    def to_dict(self) -> dict[str, Any]:
        """The example as plain data; only what is `measured` differs from run to run."""
        return {
            "position": self.position,
            "truth": self.truth,
            "device_said": self.device_said,
            "answer": str(self.prediction.value),
            "place": self.prediction.place,
            "confidence": self.prediction.confidence,
            "measured": {"explain": self.prediction.explain()},
        }


class Escalations:
    """Keeps the most telling escalated call: one that the device alone would have got wrong."""

    def __init__(self) -> None:
        self._device_said: dict[int, str] = {}
        self._telling = False
        self.example: Example | None = None

    def saw(self, index: int, truth: str, prediction: Prediction) -> None:
        """Look at one call; those of the device alone come before the others."""
        if prediction.place == "device":
            self._device_said[index] = str(prediction.value)
        elif len(prediction.receipt.attempts) > 1 and not self._telling:
            said = self._device_said.get(index, "")
            self._telling = said != truth == prediction.value
            if self.example is None or self._telling:
                self.example = Example(index, truth, said, prediction)


def measure(
    model: Model,
    digits: Sequence[Digit],
    mode: Mode,
    escalations: Escalations,
) -> ModeResult:
    """Answer for every digit in one mode, one call after the other."""
    result = ModeResult(mode, [], 0, 0, [])
    for index, (ink, truth) in enumerate(digits):
        started = perf_counter()
        try:
            prediction = model(ink, mode=mode)
        except WhereverError as error:
            result.error = result.error or str(error)
            result.answers.append("")
            continue
        result.took_s.append(perf_counter() - started)
        answer = str(prediction.value)
        result.answers.append(answer)
        result.right += answer == truth
        result.cloud += prediction.place == "cloud"
        escalations.saw(index, truth, prediction)
    return result
