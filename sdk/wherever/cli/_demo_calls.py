"""Calls on a thread of their own, at a steady pace, while versions change under them."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from wherever_contracts.errors import WhereverError

if TYPE_CHECKING:
    from wherever.cli._demo_modes import Digit
    from wherever_contracts.receipts import Ran
    from wherever_edge.packages.store import Package

CALLS_PER_S = 350.0

_MORE = 100
_MORE_WITHIN_S = 10.0
_LOOK_EVERY_S = 0.02


class Heard(NamedTuple):
    """One answer: about which digit, what, by what, and when."""

    digit: int
    value: str
    ran: Ran
    at_s: float


@dataclass(slots=True)
class VersionResult:
    """What one version answered.

    Attributes:
        mixed: answers that this version does not give, or that came after a later version's.
        digits: how many different digits it was asked about.
        right: how many of them it told.
    """

    version: str
    trust: str
    variant: str
    calls: int
    mixed: int
    digits: int
    right: int

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain data; only what is `measured` differs from run to run."""
        return {
            "version": self.version,
            "trust": self.trust,
            "variant": self.variant,
            "mixed": self.mixed,
            "digits": self.digits,
            "right": self.right,
            "accuracy": self.right / self.digits,
            "measured": {"calls": self.calls},
        }


def version_result(
    version: str, heard: Sequence[Heard], alone: Sequence[str], truths: Sequence[str]
) -> VersionResult:
    """What one version answered among others.

    Args:
        version: one that answered.
        heard: all answers, in their order.
        alone: what the version answers for each digit when it is asked alone; empty when there is
            no such version, so that all its answers are wrong ones.
        truths: what each digit is.
    """
    own = [each for each in heard if each.ran.version == version]
    first = heard.index(own[0])
    late = sum(each.ran.version == version for each in heard[first + len(own) :])
    wrong = sum(not alone or each.value != alone[each.digit] for each in own)
    other = sum(each.ran != own[0].ran for each in own)
    told = {each.digit: each.value == truths[each.digit] for each in own}
    return VersionResult(
        version,
        own[0].ran.trust,
        own[0].ran.variant,
        calls=len(own),
        mixed=late + wrong + other,
        digits=len(told),
        right=sum(told.values()),
    )


class Caller:
    """Asks about every digit, over and over, until its block ends.

    Args:
        digits: what to ask about.
        settings: of the client that is made for it.
        package: what is asked for by its name, and what serves at first.

    Attributes:
        failed: how many calls got no answer.
        error: what the first of them said.
    """

    def __init__(self, digits: Sequence[Digit], settings: dict[str, Any], package: Package) -> None:
        from wherever._client import Client  # noqa: PLC0415 (the client comes with the demo)

        self.failed = 0
        self.error = ""
        self._digits = digits
        self._settings = settings
        self._package = package
        self._client = Client([], **settings)
        self._heard: list[Heard] = []
        self._started_s = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._call_on, daemon=True)

    def __enter__(self) -> Self:
        self._client.model(self._package.name)(self._digits[0].ink)
        self._started_s = perf_counter()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._client.close()

    @property
    def version(self) -> str:
        """The version that gave the last answer."""
        heard = self._heard
        return heard[-1].ran.version if heard else self._package.version

    def wait_for(self, version: str, within_s: float) -> float:
        """Wait until a version has answered once for every digit.

        Returns:
            When it answered first, as `perf_counter` counts.

        Raises:
            WhereverError: it has not in time.
        """
        ends_s = perf_counter() + within_s
        while True:
            answers = [heard for heard in self._heard if heard.ran.version == version]
            if len(answers) >= len(self._digits):
                return answers[0].at_s
            self._pause(ends_s, f"version {version} did not answer within {within_s:g} s")

    def wait_for_more(self) -> None:
        """Wait for a few more answers.

        Raises:
            WhereverError: they have not come in time.
        """
        enough = len(self._heard) + _MORE
        ends_s = perf_counter() + _MORE_WITHIN_S
        while len(self._heard) < enough:
            self._pause(ends_s, f"no more answers came within {_MORE_WITHIN_S:g} s")

    def results(self, later: Iterable[Path]) -> list[VersionResult]:
        """What each version answered, compared with what it answers when it is asked alone.

        Args:
            later: the packages that came after the first one.
        """
        heard = list(self._heard)
        order = list(dict.fromkeys(each.ran.version for each in heard))
        alone: dict[str, list[str]] = {}
        for root in (self._package.root, *later):
            alone |= self._alone(root)
        truths = [digit.truth for digit in self._digits]
        return [version_result(each, heard, alone.get(each, ()), truths) for each in order]

    def _alone(self, root: Path) -> dict[str, list[str]]:
        """Version of a package -> what it answers for every digit."""
        from wherever._client import Client  # noqa: PLC0415 (the client comes with the demo)

        settings: dict[str, Any] = {**self._settings, "packages": (root,)}
        with Client([], **settings) as client:
            model = client.model(self._package.name)
            return {model.version: [str(model(digit.ink).value) for digit in self._digits]}

    def _call_on(self) -> None:
        model = self._client.model(self._package.name)
        for number in itertools.count():
            due_s = self._started_s + number / CALLS_PER_S
            if self._ended.wait(max(0.0, due_s - perf_counter())):
                return
            index = number % len(self._digits)
            try:
                prediction = model(self._digits[index].ink)
            except WhereverError as error:
                self.failed += 1
                self.error = self.error or str(error)
                continue
            ran = prediction.receipt.ran
            self._heard.append(Heard(index, str(prediction.value), ran, perf_counter()))

    def _pause(self, ends_s: float, late: str) -> None:
        if perf_counter() > ends_s:
            raise WhereverError(f"{late}{self.error and f'; a call failed: {self.error}'}")
        self._ended.wait(_LOOK_EVERY_S)
