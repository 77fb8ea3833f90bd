"""Proving a package: its digests, certificates and golden samples, and perhaps its metric again."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from wherever_contracts.certificate import Certificate, parse_certificate
from wherever_contracts.errors import (
    EngineError,
    GoldenError,
    MissingExtraError,
    PackageError,
)
from wherever_convert.judges import judge_for, measuring_options
from wherever_convert.measuring import measure
from wherever_convert.proof.certify import machine_facts
from wherever_convert.proof.figures import figures
from wherever_convert.proof.rules import Again, metric_failures, same_machine
from wherever_convert.proof.verdicts import Outcome, Proof, Verdict
from wherever_convert.samples import SampleOptions, read_samples
from wherever_convert.samples.digests import data_digest
from wherever_convert.samples.split import split
from wherever_convert.speed import race
from wherever_edge.engines.installed import InstalledEngines
from wherever_edge.host import LocalHost
from wherever_edge.packages.golden import check_golden
from wherever_edge.packages.package import Package
from wherever_edge.packages.store import Store, open_package
from wherever_edge.tune.agreement import made_up

if TYPE_CHECKING:
    from wherever_contracts.manifest import Variant
    from wherever_convert.judges import Judge
    from wherever_convert.samples.sample import Sample
    from wherever_edge.host import LoadedVariant

_ROUNDS = 10


def prove(
    package: str | os.PathLike[str] | Package,
    samples: object = None,
    *,
    engines: Sequence[str] = (),
    metric: object = None,
    reading: SampleOptions | None = None,
    advance: Callable[[], None] | None = None,
    tell: Callable[[str], None] | None = None,
) -> Proof:
    """Say of a package whether it is what it was made as, on this machine.

    Every file has its digest; every certificate is about the variant that is there; and every
    variant that is there gives its golden answers in every engine here that may run it. Times and
    memory are told, and fail nothing.

    Args:
        package: a directory, an archive, or a package that is open.
        samples: measure the metric again on these (see `read_samples`); of the samples that it was
            converted with, those that decided then decide now.
        engines: only these.
        metric: the metric, when the package was not converted with the usual one.
        reading: how samples are read.
        advance: called after each sample that was answered.
        tell: told what is done.

    Raises:
        PackageError: it is no package.
        ConversionError: the samples cannot be used.
    """
    with TemporaryDirectory(prefix="wherever-prove-") as scratch:
        if not isinstance(package, Package):
            package = open_package(Path(package), unpack_into=Path(scratch))
        data = None if samples is None else read_samples(samples, reading or SampleOptions())
        parts = None if data is None else split(data.items)
        work = _Proving(
            package,
            () if parts is None else parts.test,
            metric,
            advance or _nothing,
            tell or _nobody,
        )
        with closing(work.host):
            return work.run(engines)


@dataclass
class _Proving:
    """A package that is being proven."""

    package: Package
    samples: Sequence[Sample]
    metric: object
    advance: Callable[[], None]
    tell: Callable[[str], None]

    def run(self, engines: Sequence[str]) -> Proof:
        package, problems = self.package, self._problems()
        ways = [
            (variant, engine)
            for variant in package.present()
            for engine in variant.needs.engines
            if not engines or engine in engines
        ]
        verdicts = [] if problems else [self._verdict(*way) for way in ways]
        if not problems:
            verdicts += self._unread(engines)
            problems += [] if engines else self._nowhere(verdicts)
        return Proof(
            package.name,
            package.version,
            package.digest,
            tuple(problems),
            tuple(verdicts),
            len(self.samples),
        )

    @cached_property
    def host(self) -> LocalHost:
        return LocalHost(Store(builtin=False), distance="device", proves=False)

    def _problems(self) -> list[str]:
        """What is wrong with the files."""
        self.tell("checking digests")
        try:
            self.package.verify()
            _ = self._certificates
        except PackageError as error:
            return [str(error)]
        return []

    @cached_property
    def _certificates(self) -> dict[tuple[str, str], Certificate]:
        found: dict[tuple[str, str], Certificate] = {}
        for entry in self.package.manifest.certificates:
            data = self.package.read(entry.file)
            found[entry.variant, entry.engine] = parse_certificate(data, entry.file.path)
        return found

    def _verdict(self, variant: Variant, engine: str) -> Verdict:
        """What comes of a variant in an engine."""
        self.tell(f"proving {variant.id} in {engine}")
        certificate = self._certificates.get((variant.id, engine))
        plain = Verdict(variant.id, engine, "passed", certified=certificate is not None)
        if certificate is not None:
            plain = replace(
                plain,
                reasons=self._about(variant.id, engine, certificate),
                certified_latency_s=certificate.latency.median_s,
                certified_memory_bytes=certificate.memory_peak_bytes,
            )
        if plain.reasons:
            return replace(plain, outcome="failed", certified=False)
        missing = self._missing(engine)
        if missing:
            return replace(plain, outcome="not run", reasons=(f"{engine} is {missing}",))
        try:
            return self._ran(self.host.load(self.package, variant, engine), plain, certificate)
        except MissingExtraError as error:
            return replace(plain, outcome="not run", reasons=(str(error),))
        except (GoldenError, PackageError) as error:
            return replace(plain, outcome="failed", reasons=(str(error),))
        except EngineError as error:
            # where it was measured it ran; another processor may lack what the engine needs
            refuted = certificate is not None and self._same_machine(certificate)
            outcome: Outcome = "failed" if refuted else "not run"
            return replace(plain, outcome=outcome, reasons=(str(error),))

    def _ran(
        self, loaded: LoadedVariant, plain: Verdict, certificate: Certificate | None
    ) -> Verdict:
        report = check_golden(loaded)
        reasons = _unproven(report.n, certificate)
        verdict = replace(plain, golden=report.n, worst=report.worst, latency_s=_latency_s(loaded))
        if self.samples:
            verdict, failures = self._measured(loaded, verdict, certificate)
            reasons += failures
        return replace(verdict, outcome="failed" if reasons else "passed", reasons=tuple(reasons))

    def _measured(
        self, loaded: LoadedVariant, verdict: Verdict, certificate: Certificate | None
    ) -> tuple[Verdict, list[str]]:
        """The metric again, and why it is not what was certified."""
        kept, best = self._kept(loaded), self._reference
        found = figures(self._judge, kept, best or kept).metric
        drop = None if best is None else self._judge.score(best, best) - found.value
        verdict = replace(verdict, metric=self._judge.metric, value=found.value, drop=drop)
        if certificate is None or certificate.metric.name != self._judge.metric:
            return verdict, []
        again = Again(
            found,
            drop,
            len(kept),
            self._data_digest == certificate.dataset.sha256,
            self._same_machine(certificate),
        )
        return verdict, metric_failures(certificate, again)

    def _kept(self, loaded: LoadedVariant) -> list[Any]:
        options = measuring_options(loaded.signature)
        return measure(loaded, self.samples, self._judge, options, self.advance).kept

    @cached_property
    def _judge(self) -> Judge:
        return judge_for(self.package.manifest.signature, self.samples, self.metric)

    @cached_property
    def _reference(self) -> list[Any] | None:
        """What the reference answers; None when it is not here, or cannot run."""
        reference = self.package.manifest.reference
        if reference not in {variant.id for variant in self.package.present()}:
            return None
        try:
            variant = self.package.manifest.variant(reference)
            return self._kept(self.host.load(self.package, variant))
        except EngineError:
            return None

    @cached_property
    def _data_digest(self) -> str:
        return data_digest(self.samples)

    def _same_machine(self, certificate: Certificate) -> bool:
        return same_machine(certificate.machine, self._here)

    @cached_property
    def _here(self) -> dict[str, Any]:
        return machine_facts(self.host.machine)

    def _about(self, variant_id: str, engine: str, certificate: Certificate) -> tuple[str, ...]:
        """Why a certificate proves nothing of what is here."""
        named = (certificate.model, certificate.variant, certificate.engine)
        if named != (self.package.name, variant_id, engine):
            return (f"the certificate is about {' '.join(named)}",)
        if certificate.about != self.package.answers_digest(variant_id):
            return ("the certificate is about other contents",)
        return ()

    def _missing(self, engine: str) -> str:
        state = InstalledEngines().states([engine]).get(engine)
        return "not known here" if state is None else state.missing

    def _unread(self, engines: Sequence[str]) -> list[Verdict]:
        """Certificates of engines that the manifest does not name are about something, too."""
        present = {variant.id: variant for variant in self.package.present()}
        verdicts: list[Verdict] = []
        for (variant_id, engine), certificate in self._certificates.items():
            variant = present.get(variant_id)
            if variant is None or engine in variant.needs.engines:
                continue
            reasons = self._about(variant_id, engine, certificate)
            if reasons and (not engines or engine in engines):
                verdicts.append(Verdict(variant_id, engine, "failed", reasons))
        return verdicts

    def _nowhere(self, verdicts: Sequence[Verdict]) -> list[str]:
        """Variants that no engine here runs, though one that should is here."""
        ran = {verdict.variant for verdict in verdicts if verdict.outcome != "not run"}
        return [
            f"{verdict.variant} runs in no engine here ({verdict.engine}: {verdict.reasons[0]})"
            for verdict in verdicts
            if verdict.variant not in ran and not self._missing(verdict.engine)
        ]


def _unproven(golden: int, certificate: Certificate | None) -> list[str]:
    """Why nothing speaks for a variant; empty when something does."""
    if golden or (certificate is not None and not certificate.golden):
        return []
    if certificate is None:
        return ["unproven: it has neither golden samples nor a certificate"]
    return [f"its certificate speaks of {certificate.golden} golden samples, and there are none"]


def _latency_s(loaded: LoadedVariant) -> float | None:
    """Of one run on made-up tensors; None where the model does not take them."""
    feed = made_up(loaded.session.inputs)
    try:
        return race({"it": (loaded.session, [feed])}, _ROUNDS)["it"].median_s
    except EngineError:
        return None


def _nothing() -> None:
    """Nobody counts."""


def _nobody(words: str) -> None:
    """Nobody is looking."""
