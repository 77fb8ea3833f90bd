"""Parity certificates: each variant measured in each engine that can run it here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from wherever_contracts.certificate import Certificate, Dataset, Latency, Metric, Quantiles
from wherever_contracts.errors import ConversionError, EngineError
from wherever_convert.children import run_child
from wherever_convert.environments import Tell, quiet
from wherever_convert.frameworks import versions
from wherever_convert.judges import measuring_options
from wherever_convert.measuring import engine_inputs
from wherever_convert.proof.errors_of import quantiles_of
from wherever_convert.proof.figures import figures
from wherever_convert.samples.digests import data_digest
from wherever_convert.speed import Timing, race
from wherever_devices.machine import Machine, probe
from wherever_edge import plugins
from wherever_edge.bare.manifest import ENGINES_OF
from wherever_edge.engines.installed import InstalledEngines
from wherever_edge.inputs import InputChecker

if TYPE_CHECKING:
    from wherever_contracts.certificate import Computed
    from wherever_contracts.tensors import Array
    from wherever_convert.draft import DraftVariant
    from wherever_convert.measuring import Measured
    from wherever_convert.samples.sample import Sample
    from wherever_convert.workbench import Workbench
    from wherever_edge.host import LoadedVariant

FOLDER = "certificates"
_COMPARED = 32
_RUNTIMES = {"onnxruntime": "onnxruntime", "openvino": "openvino", "litert": "ai-edge-litert"}


class Known(NamedTuple):
    """What was measured already of a variant in an engine, and need not be again.

    `timing` is the variant's in that engine and `of_float` its median as a share of the float
    variant's there; `measured` are its answers to the test part.
    """

    timing: Timing | None = None
    of_float: float | None = None
    measured: Measured | None = None


def certificates(
    bench: Workbench,
    dataset: str,
    *,
    known: Mapping[tuple[str, str], Known] | None = None,
    golden: int = 0,
    seed: int = 0,
    tell: Tell = quiet,
) -> list[Certificate]:
    """Measure every variant of a draft in every engine that can run it here.

    Args:
        bench: where variants are tried; the test part decides.
        dataset: the samples' name.
        known: (variant id, engine) -> what was measured already.
        golden: how many golden samples the package will have.
        seed: of the draws behind intervals.
        tell: told what is measured.

    Raises:
        ConversionError: a variant cannot answer for a sample.
    """
    data = Dataset(name=dataset, sha256=data_digest(bench.samples("test")), n=_count(bench))
    wanted = _answers(bench, bench.reference, "", bench.samples("test")[:_COMPARED])
    made: list[Certificate] = []
    for variant in bench.draft.variants:
        for engine in engines_here(variant):
            tell(f"proving {variant.id} in {engine}")
            already = (known or {}).get((variant.id, engine), Known())
            one = _certified(bench, variant.id, engine, data, wanted, already, seed)
            if one is not None:
                made.append(one.model_copy(update={"golden": golden}))
    return made


def _certified(
    bench: Workbench,
    variant_id: str,
    engine: str,
    data: Dataset,
    wanted: Sequence[_Stages],
    known: Known,
    seed: int,
) -> Certificate | None:
    """Measure one variant in one engine; None when that engine cannot open it here."""
    reference = bench.reference_measured().kept
    judge, samples = bench.judge("test"), bench.samples("test")
    try:
        with bench.draft.opened(variant_id, engine) as loaded:
            measured = known.measured or bench.measure(loaded)
            given = [_answer(loaded, sample) for sample in samples[:_COMPARED]]
            latency = _latency(loaded, known, [each.fed for each in given[:8]])
            facts, about = loaded.session.facts, loaded.package.answers_digest(variant_id)
    except EngineError:
        return None
    metric, agreement = figures(judge, measured.kept, reference, seed)
    best = judge.score(reference, reference)
    variant = bench.draft.variant(variant_id)
    return Certificate(
        model=bench.draft.header["name"],
        variant=variant_id,
        engine=engine,
        device=facts.device,
        precision=cast("Computed", facts.precision),
        about=about,
        reference=bench.reference,
        dataset=data,
        metric=Metric(
            **metric.model_dump(), name=judge.metric, reference=best, drop=best - metric.value
        ),
        agreement=agreement,
        error=_error(wanted, given),
        latency=latency,
        memory_peak_bytes=weighed(variant, engine, facts.threads or 1, given[0].fed),
        file_bytes=variant.file.size_bytes,
        machine=machine_facts(probe()),
        tools={**versions("wherever", "numpy", "onnx"), **_runtime(engine, facts.version)},
        golden=0,
    )


def write_certificates(root: Path, made: Sequence[Certificate]) -> list[dict[str, Any]]:
    """Write certificates into a package's directory; returns their entries in `model.json`."""
    (root / FOLDER).mkdir(exist_ok=True)
    entries: list[dict[str, Any]] = []
    for each in made:
        path = f"{FOLDER}/{each.variant}.{each.engine}.json"
        (root / path).write_bytes(each.to_bytes())
        entries.append({"variant": each.variant, "engine": each.engine, "file": {"path": path}})
    return entries


def engines_here(variant: DraftVariant) -> list[str]:
    """The engines that are installed here and read the variant's format."""
    named = list(variant.engines) or ENGINES_OF[variant.file.format]
    known = plugins.entry_points("wherever.engines")
    states = InstalledEngines().states([name for name in named if name in known])
    return [name for name, state in states.items() if not state.missing]


def weighed(variant: DraftVariant, engine: str, threads: int, feed: Mapping[str, Array]) -> int:
    """What opening and running a variant adds to a process's memory, in bytes; 0: not known."""
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        arrays: dict[str, Any] = dict(feed)
        np.savez(folder / "feed.npz", **arrays)
        job = {
            "engine": engine,
            "threads": threads,
            "format": variant.file.format,
            "files": [str(path) for path in variant.file.write(folder, "model")],
            "feed": str(folder / "feed.npz"),
        }
        try:
            return int(run_child("weigh", job, folder, f"weighing {variant.id}")["bytes"])
        except ConversionError:
            return 0  # a figure for information: another way to measure runs alike is not worth it


def machine_facts(machine: Machine) -> dict[str, Any]:
    """What answers and figures depend on, of a machine."""
    features = machine.cpu_features
    return {
        "system": f"{machine.os} {machine.arch}",
        "processor": machine.cpu_model,
        "features": None if features is None else sorted(features),
        "cores": machine.usable_cores,
        "memory_bytes": machine.memory_bytes,
        "board": machine.board,
        "onednn_max_cpu_isa": machine.onednn_max_cpu_isa,
    }


class _Stages(NamedTuple):
    """What one sample became: the tensors that went in, those that came out, and the answer."""

    fed: dict[str, Array]
    given: dict[str, Array]
    outputs: Mapping[str, Array]


def _answers(
    bench: Workbench, variant_id: str, engine: str, samples: Sequence[Sample]
) -> list[_Stages]:
    with bench.draft.opened(variant_id, engine) as loaded:
        return [_answer(loaded, sample) for sample in samples]


def _answer(loaded: LoadedVariant, sample: Sample) -> _Stages:
    options = measuring_options(loaded.signature)
    fed = engine_inputs(loaded, sample, options)
    answer = loaded.answer(InputChecker(loaded.signature).check(sample.value), options)
    return _Stages(fed, loaded.session.run(fed), answer.outputs)


def _error(wanted: Sequence[_Stages], given: Sequence[_Stages]) -> Quantiles | None:
    """Of the file's own tensors; where they are others than the reference's, of the outputs."""
    tensors = quantiles_of([each.given for each in given], [each.given for each in wanted])
    if tensors is not None:
        return Quantiles(of="tensors", n=len(given), **tensors._asdict())
    outputs = quantiles_of([each.outputs for each in given], [each.outputs for each in wanted])
    return outputs and Quantiles(of="outputs", n=len(given), **outputs._asdict())


def _latency(loaded: LoadedVariant, known: Known, feeds: Sequence[Mapping[str, Array]]) -> Latency:
    timing = known.timing or race({"it": (loaded.session, feeds)})["it"]
    return Latency(
        median_s=timing.median_s,
        p95_s=timing.p95_s,
        runs=timing.runs,
        threads=loaded.session.facts.threads or 1,
        of_float=known.of_float,
    )


def _runtime(engine: str, version: str) -> dict[str, str]:
    return {_RUNTIMES.get(engine, engine): version}


def _count(bench: Workbench) -> int:
    return len(bench.samples("test"))
