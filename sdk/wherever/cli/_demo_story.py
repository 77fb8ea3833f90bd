"""Everything that the demo measured, as plain data. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wherever.cli._demo_box import BoxResult
    from wherever.cli._demo_convert import Conversion
    from wherever.cli._demo_crashes import CrashResult
    from wherever.cli._demo_later import LaterResult
    from wherever.cli._demo_modes import Example, ModeResult
    from wherever.cli._demo_plans import PlansResult
    from wherever.cli._demo_promise import PromiseResult
    from wherever.cli._demo_stream import PhaseResult
    from wherever.cli._demo_update import UpdateResult


@dataclass(slots=True)
class Story:
    """What came of each act.

    Attributes:
        digits: how many digits there are.
        stream_error: what the first failed call of the stream said.
        later: None before that act, and where processes cannot be frozen.
        promise: None before that act; `box`, `updates` and `plans` too.
        conversion: None also when what conversion needs is not installed.
        crashes: None also where engines cannot have processes of their own.
    """

    model: str
    digits: int
    modes: Sequence[ModeResult]
    phases: Sequence[PhaseResult]
    stream_error: str
    example: Example | None
    gateway_pids: Sequence[int]
    later: LaterResult | None = None
    promise: PromiseResult | None = None
    box: BoxResult | None = None
    conversion: Conversion | None = None
    updates: UpdateResult | None = None
    plans: PlansResult | None = None
    crashes: CrashResult | None = None

    @property
    def failed(self) -> int:
        """How many calls got no answer, in all acts."""
        failed = sum(mode.failed for mode in self.modes)
        failed += sum(phase.failed for phase in self.phases)
        failed += self.later.failed if self.later else 0
        failed += self.promise.failed if self.promise else 0
        failed += sum(phase.failed for phase in self.box.phases) if self.box else 0
        failed += self.crashes.failed if self.crashes else 0
        return failed + (self.updates.failed if self.updates else 0)

    @property
    def calls(self) -> int:
        """How many calls there were, in all acts."""
        calls = sum(len(mode.answers) for mode in self.modes)
        calls += sum(phase.calls for phase in self.phases)
        calls += self.later.calls if self.later else 0
        calls += self.promise.calls if self.promise else 0
        calls += sum(phase.calls for phase in self.box.phases) if self.box else 0
        calls += self.conversion.calls if self.conversion else 0
        calls += self.plans.calls if self.plans else 0
        calls += self.crashes.calls if self.crashes else 0
        return calls + (self.updates.calls if self.updates else 0)

    @property
    def lost(self) -> int:
        """How many calls that waited for a better answer never got it."""
        return self.later.lost if self.later else 0

    @property
    def mixed(self) -> int:
        """How many answers were not of the version that their receipt names."""
        return self.updates.mixed if self.updates else 0

    @property
    def wrong(self) -> int:
        """How many answers were wrong ones while an engine's process was killed and frozen."""
        return self.crashes.wrong if self.crashes else 0

    @property
    def broken(self) -> list[str]:
        """What did not turn out as promised."""
        return self.promise.broken if self.promise else []

    @property
    def error(self) -> str:
        """What the first failed or lost call said; "" when there is none."""
        said = [mode.error for mode in self.modes] + [self.stream_error]
        said += [phase.error for phase in self.later.phases] if self.later else []
        said += [self.later.error] if self.later else []
        said += [self.promise.error] if self.promise else []
        said += [phase.error for phase in self.box.phases] if self.box else []
        said += [self.updates.error] if self.updates else []
        said += [self.crashes.error] if self.crashes else []
        return next(filter(None, said), "")

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data; only what is `measured` differs from run to run."""
        return {
            "model": self.model,
            "digits": self.digits,
            "failed_calls": self.failed,
            "lost_answers": self.lost,
            "mixed_answers": self.mixed,
            "wrong_answers": self.wrong,
            "broken_promises": len(self.broken),
            "modes": [result.to_dict() for result in self.modes],
            "phases": [result.to_dict() for result in self.phases],
            "example": None if self.example is None else self.example.to_dict(),
            "later": None if self.later is None else self.later.to_dict(),
            "promise": None if self.promise is None else self.promise.to_dict(),
            "box": None if self.box is None else self.box.to_dict(),
            "conversion": None if self.conversion is None else self.conversion.to_dict(),
            "updates": None if self.updates is None else self.updates.to_dict(),
            "plans": None if self.plans is None else self.plans.to_dict(),
            "crashes": None if self.crashes is None else self.crashes.to_dict(),
            "measured": {"calls": self.calls, "gateway_pids": [*self.gateway_pids]},
        }
