"""What came of proving a package."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from wherever_contracts.durations import duration
from wherever_edge.cli import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

Outcome: TypeAlias = Literal["passed", "failed", "not run"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one variant in one engine.

    Attributes:
        variant: its id.
        engine: the engine's name.
        outcome: "not run" when the engine is not here, or does not read the file.
        reasons: why it failed or was not run.
        golden: golden samples that it answered as it should.
        worst: the largest share of its tolerance that any number used.
        certified: there is a certificate, and it is about this.
        metric: its name; "" when no samples were given.
        value: the metric, measured now.
        drop: how much less than the reference's it is.
        latency_s: of one run of the engine, for information.
        certified_latency_s: the same where the certificate was made.
        certified_memory_bytes: what opening and running it took there.
    """

    variant: str
    engine: str
    outcome: Outcome
    reasons: tuple[str, ...] = ()
    golden: int = 0
    worst: float = 0.0
    certified: bool = False
    metric: str = ""
    value: float | None = None
    drop: float | None = None
    latency_s: float | None = None
    certified_latency_s: float | None = None
    certified_memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Proof:
    """What came of a package.

    Attributes:
        name: the model's.
        version: the package's.
        digest: of its `model.json`.
        problems: what is wrong with the package itself.
        verdicts: each variant in each engine.
        samples: how many samples the metric was measured on; 0 without any.
    """

    name: str
    version: str
    digest: str
    problems: tuple[str, ...]
    verdicts: tuple[Verdict, ...]
    samples: int = 0

    @property
    def passed(self) -> bool:
        """Nothing failed, and something was run."""
        outcomes = {verdict.outcome for verdict in self.verdicts}
        return not self.problems and "failed" not in outcomes and "passed" in outcomes

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"passed": self.passed, **asdict(self)}

    def view(self) -> RenderableType:
        """The same for a terminal."""
        from rich.console import Group  # noqa: PLC0415 (60 ms)
        from rich.table import Column, Table  # noqa: PLC0415

        heads = ("engine", "verdict", "golden", "tolerance", "metric", "latency")
        variant = Column("variant", overflow="fold")
        table = Table(variant, *heads, box=None, padding=(0, 2, 0, 0), pad_edge=False)
        for verdict in self.verdicts:
            table.add_row(*map(printable, _cells(verdict)))
        word = "passed" if self.passed else "FAILED"
        told = [f"{v.variant} in {v.engine}: {why}" for v in self.verdicts for why in v.reasons]
        return Group(
            table,
            *map(printable, [*self.problems, *told]),
            printable(f"{self.name} {self.version}: {word}"),
        )


def _cells(verdict: Verdict) -> tuple[str, ...]:
    ran = verdict.golden > 0
    metric = "" if verdict.value is None else f"{verdict.metric} {verdict.value:.4f}"
    latency = "" if verdict.latency_s is None else duration(verdict.latency_s)
    return (
        verdict.variant,
        verdict.engine,
        verdict.outcome,
        str(verdict.golden) if ran else "",
        f"{verdict.worst:.0%}" if ran else "",
        metric,
        latency,
    )
