"""The ways to run a model on this machine are measured; the best one answers from then on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wherever.cli._demo_process import ask
from wherever_contracts.errors import WhereverError

if TYPE_CHECKING:
    from wherever.cli._demo_modes import Digit
    from wherever.cli._demo_view import View
    from wherever_contracts.receipts import Ran

# It ends sooner where nobody else needs the cores: after one second, or two.
BUDGET_S = 5.0


@dataclass(frozen=True, slots=True)
class Measured:
    """A plan that was measured; `median_s` is that of a run of the engine."""

    variant: str
    engine: str
    precision: str
    threads: int
    median_s: float
    chosen: bool


@dataclass(slots=True)
class PlansResult:
    """What came of measuring.

    Attributes:
        plans: those that ran, and right; the chosen one first, then the fastest.
        left: how many there was no time for.
        took_s: how long measuring took.
        ran: what answered afterwards.
        calls: how many digits it was asked about.
        right: how many of them it told.
    """

    plans: list[Measured]
    left: int
    took_s: float
    ran: Ran
    calls: int
    right: int

    @property
    def followed(self) -> bool:
        """Whether what answers is the plan that was chosen."""
        best, ran = self.plans[0], self.ran
        return (best.variant, best.engine, best.threads) == (ran.variant, ran.engine, ran.threads)

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain data; only what is `measured` differs from run to run."""
        return {
            "followed": self.followed,
            "calls": self.calls,
            "measured": {
                "plans": [asdict(plan) for plan in self.plans],
                "left": self.left,
                "took_s": self.took_s,
                "accuracy": self.right / self.calls,
            },
        }


def show_plans(
    view: View, digits: Sequence[Digit], root: Path, settings: dict[str, Any], model: str
) -> PlansResult:
    """Measure a model's plans, and ask for every digit.

    Args:
        view: shows it as it happens.
        digits: what to ask.
        root: a directory for the figures.
        settings: of the client that asks; its home is one of this act's own.
        model: what is measured.

    Raises:
        WhereverError: no plan could be measured, or none can answer.
    """
    view.title("10  which plan is best on this machine is measured")
    home = root / "measured"
    home.mkdir()
    with view.waiting("measuring ..."):
        said = ask(home, "profile", model, "--budget", BUDGET_S)
    plans = _measured(said["models"][0]["plans"])
    if not plans or not plans[0].chosen:
        raise WhereverError(f"`wherever profile` measured no plan of {model} that can be chosen")
    ran, right = _asked(digits, {**settings, "home": home}, model)
    done = said["measured"]
    result = PlansResult(plans, done["left"], done["elapsed_s"], ran, len(digits), right)
    view.plans(result)
    return result


def _measured(rows: Sequence[Mapping[str, Any]]) -> list[Measured]:
    """The plans that ran, and right."""
    plans = [_plan(row) for row in rows if _usable(row["measured"])]
    return sorted(plans, key=lambda plan: (not plan.chosen, plan.median_s))


def _usable(found: Mapping[str, Any] | None) -> bool:
    return bool(found and found["runs"] and not found["wrong"] and not found["failed"])


def _plan(row: Mapping[str, Any]) -> Measured:
    plan, median_s = row["plan"], row["measured"]["latency_s"]
    named = (row["variant"], plan["engine"], plan["precision"], plan["threads"])
    return Measured(*named, median_s, row["chosen"])


def _asked(digits: Sequence[Digit], settings: dict[str, Any], model: str) -> tuple[Ran, int]:
    """What answers on this device now, and how many digits it tells."""
    from wherever._client import Client  # noqa: PLC0415 (the client comes with the demo)

    with Client([], **settings) as client:
        handle = client.model(model)
        answers = [handle(digit.ink) for digit in digits]
    told = [str(answer.value) for answer in answers]
    right = sum(value == digit.truth for value, digit in zip(told, digits, strict=True))
    return answers[0].receipt.ran, right
