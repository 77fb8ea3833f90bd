"""The rules that every engine keeps, as a kit that its author can run.

    from wherever_edge.engines.conformance import check_engine

    print(check_engine(MyEngine()))

or, one test for each rule:

    @pytest.mark.parametrize(("rule", "check"), checks())
    def test_my_engine(rule, check):
        check(MyEngine())

The models are those of the built-in package `digits`; an engine that reads none of their formats is
asked only what can be asked without a model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from wherever_edge.engines.conformance_rules import RULES
from wherever_edge.engines.trial import Broken, NotApplicable, Trial

if TYPE_CHECKING:
    from wherever_edge.engines.engine import Engine

State: TypeAlias = Literal["passed", "failed", "not applicable"]
# Takes an engine and a device ("cpu"); returns why it does not apply, or ""; raises `Broken`.
Check: TypeAlias = Callable[..., str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one check on one device.

    Attributes:
        why: what was broken, or why the check does not apply; "" when it passed.
    """

    check: str
    device: str
    state: State
    why: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What came of all checks of one engine."""

    engine: str
    outcomes: tuple[Outcome, ...]

    @property
    def passed(self) -> bool:
        """True when nothing failed."""
        return not self.failures

    @property
    def failures(self) -> tuple[Outcome, ...]:
        """The checks that failed."""
        return tuple(each for each in self.outcomes if each.state == "failed")

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data."""
        outcomes = [asdict(outcome) for outcome in self.outcomes]
        return {"engine": self.engine, "passed": self.passed, "outcomes": outcomes}

    def __str__(self) -> str:
        lines = [f"{self.engine}: {_counted(self.outcomes)}"]
        for each in self.outcomes:
            why = f": {each.why}" if each.why else ""
            lines.append(f"  {_MARKS[each.state]} {each.check} ({each.device}){why}")
        return "\n".join(lines)


_MARKS: dict[State, str] = {"passed": "ok  ", "failed": "FAIL", "not applicable": "-   "}


def checks() -> list[tuple[str, Check]]:
    """Every rule as (its words, a check of it), for tests that name them one by one.

    A check is called with an engine, and a device if it is not "cpu". It returns "", or why the
    rule does not apply to this engine, and raises `Broken`, an AssertionError, when the rule is
    not kept.
    """
    return [(words, _check(rule)) for words, rule in RULES.items()]


def check_engine(engine: Engine, *, devices: Sequence[str] | None = None) -> Report:
    """Check an engine against every rule, on each of its devices.

    It takes some seconds. An engine that crashes takes this process with it, so it is best run in
    one of its own, as `wherever engines --check` does.

    Args:
        engine: the engine.
        devices: where to run it; by default everywhere it says that it can.
    """
    where = _devices(engine) if devices is None else devices
    trials = [Trial(engine, device) for device in where]
    outcomes = [_outcome(words, rule, trial) for trial in trials for words, rule in RULES.items()]
    return Report(str(getattr(engine, "name", type(engine).__name__)), tuple(outcomes))


def _check(rule: Callable[[Trial], None]) -> Check:
    def check(engine: Engine, device: str = "cpu") -> str:
        try:
            rule(Trial(engine, device))
        except NotApplicable as reason:
            return str(reason)
        return ""

    return check


def _outcome(words: str, rule: Callable[[Trial], None], trial: Trial) -> Outcome:
    try:
        rule(trial)
    except NotApplicable as reason:
        return Outcome(words, trial.device, "not applicable", str(reason))
    except Broken as broken:
        return Outcome(words, trial.device, "failed", str(broken))
    except Exception as error:  # noqa: BLE001 (the named boundary: engines raise anything)
        return Outcome(words, trial.device, "failed", f"{type(error).__name__}: {error}")
    return Outcome(words, trial.device, "passed")


def _devices(engine: Engine) -> Sequence[str]:
    """The engine's devices; an engine that cannot tell them fails its checks on the processor."""
    try:
        return engine.devices() or ("cpu",)
    except Exception:  # noqa: BLE001 (the named boundary: engines raise anything)
        return ("cpu",)


def _counted(outcomes: Sequence[Outcome]) -> str:
    counts = Counter(outcome.state for outcome in outcomes)
    return ", ".join(f"{counts[state]} {state}" for state in _MARKS if counts[state])
