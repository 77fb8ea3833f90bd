"""From variants that are good enough to a package with proof of it, and the report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wherever_convert.findings import Findings, find
from wherever_convert.frameworks import versions
from wherever_convert.making import ROUNDING
from wherever_convert.proof.certify import Known, certificates, write_certificates
from wherever_convert.proof.golden_choice import choose_golden
from wherever_convert.racing import race_together
from wherever_convert.report import ConversionReport, EngineRow, Row, doubts, unjudged

if TYPE_CHECKING:
    from wherever_contracts.certificate import Certificate
    from wherever_convert.draft import DraftVariant
    from wherever_convert.making import Making
    from wherever_convert.samples.sample import Samples


@dataclass(frozen=True)
class Finished:
    """A package that is done, in the directory where it was made.

    Attributes:
        making: how its variants came about.
        data: the samples.
        rows: each variant, measured.
        certificates: each variant in each engine, measured.
        provenance: what the package says of where it came from.
    """

    making: Making
    data: Samples
    rows: tuple[Row, ...]
    certificates: tuple[Certificate, ...]
    provenance: dict[str, Any]

    def findings(self) -> Findings:
        """What the variants answer otherwise than the reference."""
        bench = self.making.bench
        measured = {kept.variant: kept.measured for kept in self.making.kept.values()}
        return find(bench.judge("test"), bench.samples("test"), measured, bench.reference)

    def report(self, place: Path, source: Mapping[str, Any]) -> ConversionReport:
        """What was made, for people.

        Args:
            place: where the package is now.
            source: where the model came from.
        """
        making, data = self.making, self.data
        parts, draft, made = making.bench.parts, making.bench.draft, making.made
        return ConversionReport(
            package=place,
            name=draft.header["name"],
            version=draft.header["version"],
            rows=self.rows,
            left_out=making.left_out,
            dataset=data.name,
            calibration=len(parts.calibration),
            test=len(parts.test),
            shared=parts.shared,
            damaged=data.damaged,
            skipped=data.left_out,
            pipeline=draft.design.pipeline,
            source=dict(source),
            warnings=(
                *doubts(self.rows, len(draft.design.signature["value"].get("labels", ()))),
                *unjudged(self.rows, known=any(each.truth is not None for each in data.items)),
            ),
            layers={target: each.layers for target, each in made.items() if each.layers},
            traces={target: each.trace for target, each in made.items() if each.trace},
            max_drop=making.order.max_drop,
            provenance=self.provenance,
            engines=tuple(EngineRow.of(each) for each in self.certificates),
        )


def finish(making: Making, data: Samples, source: Mapping[str, Any]) -> Finished:
    """Prove every variant of a draft in every engine, and build the package.

    Args:
        making: the variants.
        data: the samples.
        source: where the model came from.

    Raises:
        ConversionError: a variant cannot answer for a sample.
        PackageError: the package does not hold together.
    """
    draft = making.bench.draft
    golden = _golden(making)
    proven = _proven(making, data, len(golden))
    rows = tuple(_with_interval(row, proven) for row in making.rows())
    for variant in draft.variants:
        own = [each for each in proven if each.variant == variant.id]
        variant.engines = _engines(variant.engines, own)
        variant.memory_bytes = max((each.memory_peak_bytes for each in own), default=0)
        variant.quality = [_quality(data.name, row) for row in rows if row.variant == variant.id]
    draft.variants.sort(key=partial(_rank, proven))
    order = [variant.id for variant in draft.variants]
    rows = tuple(sorted(rows, key=lambda row: order.index(row.variant)))
    provenance = _provenance(making, data, source)
    entries = write_certificates(draft.root, proven)
    draft.finish(golden, provenance, entries)
    return Finished(making, data, rows, tuple(proven), provenance)


def _proven(making: Making, data: Samples, golden: int) -> list[Certificate]:
    """The certificates of the engines in which a variant keeps what was promised."""
    kept = making.kept
    making.tell("timing the variants beside each other")
    known: dict[tuple[str, str], Known] = {}
    for (variant_id, engine), (timing, share) in race_together(making.bench).items():
        own = kept[variant_id]
        measured = own.measured if engine == own.measured.engine else None
        known[variant_id, engine] = Known(timing, share or own.race.engines.get(engine), measured)
    made = certificates(
        making.bench,
        data.name,
        known=known,
        golden=golden,
        seed=making.order.seed,
        tell=making.tell,
    )
    return [each for each in made if each.metric.drop <= making.order.max_drop + ROUNDING]


def _engines(known: Sequence[str], proven: Sequence[Certificate]) -> tuple[str, ...]:
    """The engines that a variant is offered to: the proven ones, in the order of the race."""
    names = [each.engine for each in proven]
    raced = [each for each in known if each in names]
    rest = sorted(
        (each for each in proven if each.engine not in raced), key=lambda c: c.latency.median_s
    )
    return (*raced, *(each.engine for each in rest))


def _rank(proven: Sequence[Certificate], variant: DraftVariant) -> tuple[bool, float]:
    """Devices prefer what is meant for them, and of that the fastest."""
    own = [each.latency.median_s for each in proven if each.variant == variant.id]
    return "device" not in variant.places, min(own, default=math.inf)


def _with_interval(row: Row, proven: Sequence[Certificate]) -> Row:
    for each in proven:
        if (each.variant, each.engine) == (row.variant, row.engine):
            low, high = each.metric.low, each.metric.high
            latency = each.latency
            return replace(
                row,
                low=low,
                high=high,
                latency_s=latency.median_s,
                of_float=latency.of_float or row.of_float,
            )
    return row


def _quality(dataset: str, row: Row) -> dict[str, Any]:
    figures = {"value": row.value, "low": row.low, "high": row.high}
    rounded = {name: round(each, 6) for name, each in figures.items() if each is not None}
    return {"dataset": dataset, "metric": row.metric, "n": row.n, **rounded}


def _golden(making: Making) -> list[Any]:
    """Inputs that all variants are at one about, and that tell a wrong package from a right one."""
    bench = making.bench
    kept = [each.measured.kept for each in making.kept.values()]
    samples = bench.samples("test")
    return [samples[n].value for n in choose_golden(bench.judge("test"), kept)]


def _provenance(making: Making, data: Samples, source: Mapping[str, Any]) -> dict[str, Any]:
    parts = making.bench.parts
    return {
        "source": dict(source),
        "tools": versions("wherever", "onnx", "onnxruntime", "numpy"),
        "seed": making.order.seed,
        "samples": {
            "dataset": data.name,
            "calibration": len(parts.calibration),
            "test": len(parts.test),
            "split": parts.rule,
            "damaged": len(data.damaged),
            "sha256": data.digest(),
        },
        "made": {
            kept.variant: dict(making.made[kept.target].facts)
            for kept in making.kept.values()
            if kept.target in making.made and making.made[kept.target].facts
        },
    }
