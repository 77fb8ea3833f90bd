"""What a conversion made, as data and as text."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from wherever_contracts.certificate import Certificate
from wherever_contracts.durations import duration
from wherever_contracts.places import PLACES
from wherever_convert.samples.sample import Damaged
from wherever_convert.targets import Layer
from wherever_edge.cli import human_size

# Few samples say little, and of two classes a weak model has not much more than half right.
_FEWEST_FOR_DOUBT = 12
_LEAST_OVER_CHANCE = 0.15


@dataclass(frozen=True, slots=True)
class Row:
    """One variant, measured.

    Attributes:
        variant: its id.
        target: the form that it is in, such as "int8" (see `wherever_convert.targets`).
        precision: of its weights.
        bytes: of its files.
        metric: what was measured; more is better.
        value: the metric's.
        n: how many samples it was measured on.
        drop: how much less than the reference's, in points of the metric (0.01 is one percent
            point); negative when it is more.
        agreement: how far its answers are the reference's, 0 to 1.
        engine: in which it was measured.
        latency_s: median time in that engine on this machine.
        of_float: that time as a share of the float variant's in the same engine; None where there
            is none to compare with.
        low: where the metric's 95 % interval begins; None when it was not looked at.
        high: where it ends.
        places: where it is offered.
    """

    variant: str
    target: str
    precision: str
    bytes: int
    metric: str
    value: float
    n: int
    drop: float
    agreement: float
    engine: str
    latency_s: float
    of_float: float | None = None
    low: float | None = None
    high: float | None = None
    places: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EngineRow:
    """One variant in one engine, as its certificate says.

    Attributes:
        variant: its id.
        engine: where it ran.
        value: the metric's.
        drop: how much less than the reference's.
        agreement: how far its answers are the reference's, 0 to 1.
        latency_s: median time of a run.
        p95_s: what nineteen of twenty runs took at most.
        of_float: the median as a share of the float variant's; None where it is not known.
        memory_bytes: what opening and running it added to a process.
    """

    variant: str
    engine: str
    value: float
    drop: float
    agreement: float
    latency_s: float
    p95_s: float
    of_float: float | None
    memory_bytes: int

    @classmethod
    def of(cls, certificate: Certificate) -> EngineRow:
        """What a certificate says, in short."""
        return cls(
            variant=certificate.variant,
            engine=certificate.engine,
            value=certificate.metric.value,
            drop=certificate.metric.drop,
            agreement=certificate.agreement.value,
            latency_s=certificate.latency.median_s,
            p95_s=certificate.latency.p95_s,
            of_float=certificate.latency.of_float,
            memory_bytes=certificate.memory_peak_bytes,
        )


@dataclass(frozen=True, slots=True)
class ConversionReport:
    """What was made, of what, and how good it is.

    Attributes:
        package: the directory or archive that was written.
        name: the model's.
        version: the package's.
        rows: one for each variant, in the package's order.
        left_out: target -> why there is no such variant.
        dataset: the name of the samples.
        calibration: how many samples the ranges were found on.
        test: how many were measured on.
        shared: the same samples did both, as there are too few.
        damaged: samples that could not be used.
        skipped: how many were not looked at, as there are so many.
        pipeline: the steps before and after the engine.
        source: where the model came from.
        warnings: what is odd about the figures, and what to look at.
        layers: target -> its layers, the most sensitive first, where int8 was tried.
        traces: target -> what was tried on the way to it, in words.
        max_drop: the most that a variant was allowed to lose, in points of the metric.
        provenance: what the package says of where it came from: tools, digests, how it was made.
        engines: each variant in each engine that it was certified in.
    """

    package: Path
    name: str
    version: str
    rows: tuple[Row, ...]
    left_out: dict[str, str]
    dataset: str
    calibration: int
    test: int
    shared: bool
    damaged: tuple[Damaged, ...]
    skipped: int
    pipeline: dict[str, Any]
    source: dict[str, Any] = field(default_factory=dict[str, Any])
    warnings: tuple[str, ...] = ()
    layers: dict[str, tuple[Layer, ...]] = field(default_factory=dict[str, "tuple[Layer, ...]"])
    traces: dict[str, tuple[str, ...]] = field(default_factory=dict[str, "tuple[str, ...]"])
    max_drop: float | None = None
    provenance: dict[str, Any] = field(default_factory=dict[str, Any])
    engines: tuple[EngineRow, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data."""
        data = asdict(self)
        data["package"] = str(self.package)
        data["damaged"] = [each._asdict() for each in self.damaged]
        return data

    def text(self) -> str:
        """The same for a person."""
        lines = [f"{self.name} {self.version}: {self.package}", ""]
        lines += _table(self.rows, self.engines)
        lines += ["" for _ in self.left_out][:1]
        for each, why in self.left_out.items():
            lines += _wrapped(f"no {each} variant: {why}")
        for each in self.warnings:
            lines += ["", *_wrapped(f"warning: {each}")]
        lines += ["", *_wrapped(self._samples_line())]
        for sample in self.damaged[:_MOST_DAMAGED]:
            lines += _wrapped(f"left out {sample.name}: {sample.reason}")
        for side in ("pre", "post"):
            lines += [line for step in self._steps(side) for line in _step_lines(side, step)]
        return "\n".join([*lines, "", *self._next()])

    def _next(self) -> list[str]:
        """The commands that one would use now."""
        package = shlex.quote(str(self.package))
        predict = f"wherever predict {self.name} INPUT"
        if self.package.suffix == ".wherever":
            predict = f"wherever add {package} && {predict}"
        else:
            predict += f" --packages {package}"
        return [f"try it:          {predict}", f"prove it again:  wherever prove {package}"]

    def _steps(self, side: str) -> list[dict[str, Any]]:
        steps: list[dict[str, Any]] = self.pipeline.get(side, [])
        return steps

    def _samples_line(self) -> str:
        parts = [f"measured on {self.test} samples of {self.dataset}"]
        if any(row.precision == "int8" for row in self.rows):
            parts.append(f"int8 ranges found on {self.calibration}")
        if self.shared:
            parts.append("the same ones, as there are too few to divide")
        if self.skipped:
            parts.append(f"{self.skipped} not looked at")
        if self.damaged:
            parts.append(f"{len(self.damaged)} damaged")
        return "; ".join(parts)


def doubts(rows: Sequence[Row], classes: int) -> tuple[str, ...]:
    """What is odd about the float variant's accuracy, so that a person looks at the samples.

    Args:
        rows: of every variant that was measured.
        classes: how many labels the model has; 0 when it has none.
    """
    return tuple(
        f"{row.variant} is right on {row.value:.1%} of {row.n} samples, which is near chance for "
        f"{classes} classes: are the samples prepared as the model was trained (see --scale, "
        f"--mean, --std), and the labels in its order (--labels)?"
        for row in rows
        if row.precision == "float32" and _is_near_chance(row, classes)
    )


def unjudged(rows: Sequence[Row], *, known: bool) -> tuple[str, ...]:
    """What figures do not show where nobody said what is right.

    Args:
        rows: of every variant that was measured.
        known: some samples have a truth.
    """
    if known or all(row.metric != "agreement" for row in rows):
        return ()
    words = (
        "the samples do not say what is right, so answers are only compared with those of the "
        "float variant, and images that are prepared wrongly (--scale, --mean) would not show; "
        "the truth is a table's column (--label-column) or the name of a class's folder"
    )
    return (words,)


def _is_near_chance(row: Row, classes: int) -> bool:
    if row.metric != "top-1" or row.n < _FEWEST_FOR_DOUBT or classes < 2:
        return False
    chance = 1 / classes
    return row.value < min(2 * chance, chance + _LEAST_OVER_CHANCE)


_WIDTH = 80
_MOST_DAMAGED = 10
_FIGURES = ("drop", "agrees", "median", "of float")


def _table(rows: Sequence[Row], engines: Sequence[EngineRow]) -> list[str]:
    """A title for each variant, and under it the figures of each engine, in columns."""
    head = ("", rows[0].metric, *_FIGURES)
    found: dict[str, Sequence[Row | EngineRow]] = {
        row.variant: [e for e in engines if e.variant == row.variant] or [row] for row in rows
    }
    lines = [head, *(_figures(each) for own in found.values() for each in own)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    table = [_aligned(head, widths)]
    for row in rows:
        table.append(_title(row))
        table += [_aligned(_figures(each), widths) for each in found[row.variant]]
    return table


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    """The first on the left, figures under each other at their last digit."""
    name = line[0].ljust(widths[0])
    return "  ".join([name, *map(str.rjust, line[1:], widths[1:])])


def _title(row: Row) -> str:
    only = "" if set(row.places) in (set(), set(PLACES)) else f", for {', '.join(row.places)}"
    return f"{row.variant}: {human_size(row.bytes)}{only}"


def _wrapped(text: str) -> list[str]:
    """Lines that no terminal need break; a name is never cut in two."""
    return textwrap.wrap(
        text, _WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def _step_lines(side: str, step: dict[str, Any]) -> list[str]:
    parameters = ", ".join(f"{key}={value}" for key, value in step.items() if key != "op")
    when = "before" if side == "pre" else "after"
    return _wrapped(f"{when} the engine: {step['op']}({parameters})")


def _figures(each: Row | EngineRow) -> tuple[str, ...]:
    return (
        f"  {each.engine}",
        f"{each.value:.4f}",
        f"{each.drop:+.4f}",
        f"{each.agreement:.4f}",
        duration(each.latency_s),
        "-" if each.of_float is None else f"{each.of_float:.2f}",
    )
