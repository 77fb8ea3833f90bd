"""At most 2 % may differ: a promise that is kept, alarms, a lost gateway, and receipts replayed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from wherever.cli._demo_process import ask, attempt, quiet
from wherever_contracts.errors import WhereverError

if TYPE_CHECKING:
    from wherever._client import Client
    from wherever._prediction import Prediction
    from wherever.cli._demo_gateway import DemoGateway
    from wherever.cli._demo_modes import Digit
    from wherever.cli._demo_view import View
    from wherever_contracts.tensors import Array

MODEL = "digits"
MAX_DISAGREEMENT = 0.02
# Within how many blurred digits the alarm must be raised, and how many are asked about.
ALARM_WITHIN = 100
_BLURRED = 120
# A threshold as people guess one; the receipts tell what it would have cost.
GUESSED = 0.5


@dataclass(slots=True)
class Usual:
    """Calls like those of the calibration.

    Attributes:
        calls: how many there were.
        escalated: how many of them the gateway was asked about.
        differ: how many of the answers are not the reference's.
        alone: how many would not be, had the gateway been asked about none.
    """

    calls: int = 0
    escalated: int = 0
    differ: int = 0
    alone: int = 0


@dataclass(slots=True)
class Shifted:
    """Calls that are unlike those of the calibration.

    Attributes:
        alarm: what was found; "": nothing.
        after: how many calls had been made by then.
        given: how many answers after it were given without asking the gateway.
    """

    calls: int = 0
    alarm: str = ""
    after: int = 0
    given: int = 0

    @property
    def escalated(self) -> int:
        """How many calls the gateway was asked about since the alarm."""
        return self.calls - self.after - self.given


@dataclass(slots=True)
class Lost:
    """Calls while there is no gateway.

    Attributes:
        unsure: answers that the promise would not have given by themselves.
        degraded: answers that said that they are less than was asked for.
        counted: calls that `wherever.status()` says the promise was not kept for.
    """

    calls: int = 0
    unsure: int = 0
    degraded: int = 0
    counted: int = 0


@dataclass(slots=True)
class PromiseResult:
    """What came of it.

    Attributes:
        calibrated: how many digits the promise was made from.
        failed: how many calls got no answer.
        error: what the first of them said.
        receipts: how many calls were written down and run again.
        identical: how many of those gave the same bits.
        asked: how many recorded calls went to the gateway.
        asked_if: how many would have, with a guessed threshold instead of the promise.
    """

    calibrated: int
    usual: Usual = field(default_factory=Usual)
    shifted: Shifted = field(default_factory=Shifted)
    lost: Lost = field(default_factory=Lost)
    failed: int = 0
    error: str = ""
    receipts: int = 0
    identical: int = 0
    asked: int = 0
    asked_if: int = 0

    @property
    def calls(self) -> int:
        """How many calls there were."""
        return self.usual.calls + self.shifted.calls + self.lost.calls

    @property
    def broken(self) -> list[str]:
        """What did not turn out as promised, in words."""
        usual, shifted, lost = self.usual, self.shifted, self.lost
        recorded = usual.calls + shifted.calls
        found = {
            f"{usual.differ} of {usual.calls} answers differ from the reference's": usual.differ
            > MAX_DISAGREEMENT * usual.calls,
            f"no alarm was raised within {ALARM_WITHIN} blurred digits": not shifted.alarm
            or shifted.after > ALARM_WITHIN,
            f"{shifted.given} answers were given unasked after the alarm": shifted.given > 0,
            f"of {lost.unsure} unsure answers {lost.degraded} were said to be degraded, and "
            f"{lost.counted} were counted": not lost.unsure == lost.degraded == lost.counted > 0,
            f"{self.identical} of {recorded} calls were replayed bit by bit": self.identical
            != recorded,
        }
        return [words for words, bad in found.items() if bad]

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain data; only what is `measured` differs from run to run."""
        usual, shifted, lost = self.usual, self.shifted, self.lost
        return {
            "max_disagreement": MAX_DISAGREEMENT,
            "calibrated": self.calibrated,
            "failed": self.failed,
            "broken": self.broken,
            "usual": {
                "calls": usual.calls,
                "escalated": usual.escalated,
                "differ": usual.differ,
                "alone": usual.alone,
            },
            "shifted": {
                "calls": shifted.calls,
                "given": shifted.given,
                "measured": {"alarm": shifted.alarm, "after": shifted.after},
            },
            "lost": {"calls": lost.calls, "degraded": lost.degraded, "counted": lost.counted},
            "receipts": self.receipts,
            "identical": self.identical,
            "measured": {"asked": self.asked, "asked_if": self.asked_if},
        }


def show_promise(
    view: View,
    digits: Sequence[Digit],
    said: Mapping[str, Sequence[str]],
    root: Path,
    settings: dict[str, Any],
    gateway: DemoGateway,
) -> PromiseResult:
    """Promise something of answers, and see it kept, endangered, and checked again.

    Args:
        view: shows it as it happens.
        digits: half of them make the promise, the others are asked about.
        said: mode -> what was answered to each digit in it.
        root: a directory for the package with the promise, and for the state of the clients.
        settings: of the clients; their homes are of this act's own.
        gateway: serves the digits; it is dead afterwards.

    Raises:
        WhereverError: a command of ours failed.
    """
    view.title(
        f"5  a promise: at most {MAX_DISAGREEMENT:.0%} of answers differ from the gateway's network"
    )
    home = root / "promise"
    with view.waiting("calibrating ..."):
        package = _calibrated(digits[::2], root)
    result = PromiseResult(len(digits[::2]))
    # nothing is drawn at random, so that the figures repeat
    made = {**settings, "packages": (package,), "audit_share": 0.0}
    asked = digits[1::2]
    said = {mode: answers[1::2] for mode, answers in said.items()}
    with quiet("wherever"), view.waiting("asking ..."):
        kept = {"home": home, "record": 1.0, "record_inputs": True}
        _ask_with_gateway(result, asked, said, {**made, **kept}, gateway)
        gateway.kill()
        _ask_without(result, asked, {**made, "home": root / "alone"}, gateway)
    view.promised(result)
    with view.waiting("replaying ..."):
        _look_back(result, home, package)
    view.replayed(result)
    return result


def blurred(ink: Array) -> Array:
    """A digit out of focus: float32 [8, 8], blurred by about a pixel."""
    import numpy as np  # noqa: PLC0415 (the module is imported before the demo needs arrays)

    soft: Array = np.pad(ink.astype(np.float32), 2, mode="edge")
    for _ in range(2):
        soft = (soft[:-2] + 2 * soft[1:-1] + soft[2:]) / 4
        soft = (soft[:, :-2] + 2 * soft[:, 1:-1] + soft[:, 2:]) / 4
    return soft


def _calibrated(digits: Sequence[Digit], root: Path) -> Path:
    """The model's package, with what was measured on these digits, and on no others."""
    import numpy as np  # noqa: PLC0415 (likewise)

    samples, package = root / "calibration.npz", root / "calibrated"
    np.savez(samples, x=np.stack([digit.ink for digit in digits]).astype(np.float32))
    ask(root, "calibrate", MODEL, "--samples", samples, "--output", package)
    return package


def _ask_with_gateway(
    result: PromiseResult,
    digits: Sequence[Digit],
    said: Mapping[str, Sequence[str]],
    settings: dict[str, Any],
    gateway: DemoGateway,
) -> None:
    from wherever._client import Client  # noqa: PLC0415 (the client comes with the demo)

    reference, device = said["only_in_cloud"], said["only_on_device"]
    usual, shifted = result.usual, result.shifted
    with Client([gateway.address], **settings) as client:
        for digit, right, alone in zip(digits, reference, device, strict=True):
            prediction = _predict(client, digit.ink, result)
            usual.calls += 1
            usual.escalated += prediction is not None and prediction.place == "cloud"
            usual.differ += prediction is None or prediction.value != right
            usual.alone += alone != right
        for digit in digits[:_BLURRED]:
            prediction = _predict(client, blurred(digit.ink), result)
            shifted.calls += 1
            if shifted.alarm:
                shifted.given += prediction is None or prediction.place != "cloud"
            else:
                shifted.alarm = _alarm(client)
                shifted.after += 1


def _alarm(client: Client) -> str:
    """The last alarm of the one promise that was made; "": there was none."""
    alarms = client.status().promises[0].alarms
    return alarms[-1] if alarms else ""


def _ask_without(
    result: PromiseResult,
    digits: Sequence[Digit],
    settings: dict[str, Any],
    gateway: DemoGateway,
) -> None:
    """Ask as a device that has seen nothing but the calibration, and whose gateway is dead."""
    from wherever._client import Client  # noqa: PLC0415 (the client comes with the demo)

    lost = result.lost
    with Client([gateway.address], **settings) as client:
        predictions = [_predict(client, digit.ink, result) for digit in digits]
        promise = client.status().promises[0]
    lost.calls = len(predictions)
    given = [prediction for prediction in predictions if prediction is not None]
    least = cast("float", promise.threshold)
    lost.unsure = sum((prediction.confidence or 0.0) < least for prediction in given)
    lost.degraded = sum(prediction.degraded for prediction in given)
    lost.counted = promise.unkept


def _predict(client: Client, ink: Array, result: PromiseResult) -> Prediction | None:
    try:
        return client.predict(MODEL, ink, max_disagreement=MAX_DISAGREEMENT)
    except WhereverError as error:
        result.failed += 1
        result.error = result.error or str(error)
        return None


def _look_back(result: PromiseResult, home: Path, package: Path) -> None:
    with ThreadPoolExecutor() as pool:
        looks = [pool.submit(_replay, result, home, package), pool.submit(_suppose, result, home)]
    for look in looks:
        look.result()


def _replay(result: PromiseResult, home: Path, package: Path) -> None:
    """Run every call that was written down again, in another process."""
    reply = attempt(home, "replay", home, "--packages", package)
    if "receipts" not in reply.data:
        raise WhereverError(f"`wherever replay` failed: {reply.error.get('message', reply.data)}")
    result.receipts, result.identical = reply.data["receipts"], reply.data["identical"]


def _suppose(result: PromiseResult, home: Path) -> None:
    """What the same calls would have cost under another policy."""
    policy = home / "policy.toml"
    policy.write_text(f"min_confidence = {GUESSED}\n")
    reply = ask(home, "replay", "--policy", policy, "--receipts", home)
    result.asked = round(reply["recorded"]["remote_calls"])
    result.asked_if = round(reply["policy"]["remote_calls"])
