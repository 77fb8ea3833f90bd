"""Making golden samples: what every engine here makes of a sample decides what others may."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from wherever_contracts.errors import ConversionError, EngineError
from wherever_contracts.wire.tensors import to_array
from wherever_convert.children import run_child
from wherever_convert.proof.golden_choice import Run, allowed_for, golden_options, is_lossy
from wherever_devices.machine import probe
from wherever_edge.host import LocalHost
from wherever_edge.inputs import InputChecker, check_options
from wherever_edge.packages.golden import Allowed, make_golden
from wherever_edge.packages.store import Store

if TYPE_CHECKING:
    from wherever_contracts.manifest import Variant
    from wherever_edge.host import LoadedVariant
    from wherever_edge.packages.package import Package

_THREADS = (1, 2)
# Processors without instructions for 8 bits round otherwise: OpenVINO can be told to do as they do.
_LESSER = ("AVX2", "SSE41")
_EIGHT_BITS = frozenset({"avx512_vnni", "avx_vnni"})


def golden_frames(
    package: Package,
    samples: Sequence[Any],
    *,
    allowed: Mapping[str, Allowed] | None = None,
) -> list[bytes]:
    """Golden samples of a package that has none yet: what its variants answer on this machine.

    A sample about which the engines here are not at one is left out, unless all are.

    Args:
        package: with every variant that shall be in them.
        samples: inputs, as `predict` takes them.
        allowed: variant id -> how far other machines may be off; by default a few times what the
            engines here are apart.

    Raises:
        InputError: a sample does not fit the signature.
        EngineError: a variant cannot run here.
    """
    options = golden_options(package.manifest.signature)
    measured = [dict(allowed or {}) for _ in samples]
    if allowed is None:
        for variant in package.present():
            for position, each in enumerate(_measured(package, variant, samples, options)):
                if each is not None:
                    measured[position][variant.id] = each
    sure = [n for n, each in enumerate(measured) if len(each) == len(package.present())]
    with loaded_variants(package) as variants:
        return [
            make_golden(variants, samples[n], options=options, allowed=measured[n])
            for n in (range(len(samples)) if allowed is not None else sure or range(len(samples)))
        ]


@contextmanager
def loaded_variants(package: Package) -> Generator[list[LoadedVariant]]:
    """Every variant that is here, in the engine that it prefers."""
    with closing(_host()) as host:
        yield [host.load(package, variant) for variant in package.present()]


def _measured(
    package: Package, variant: Variant, samples: Sequence[Any], options: Mapping[str, float]
) -> list[Allowed | None]:
    signature = package.manifest.signature
    with _every_way(package, variant) as ways:
        lesser = _on_lesser_processors(package, variant, ways, samples, options)
        return [
            allowed_for(
                signature,
                variant.precision,
                [_run(way, sample, options) for way in ways],
                lossy=_lossy(ways[0], sample),
                lesser=other,
            )
            for sample, other in zip(samples, lesser, strict=True)
        ]


def _on_lesser_processors(
    package: Package,
    variant: Variant,
    ways: Sequence[LoadedVariant],
    samples: Sequence[Any],
    options: Mapping[str, float],
) -> list[list[Run]]:
    """What OpenVINO makes of each sample without instructions for 8 bits, as far as can be seen."""
    runs: list[list[Run]] = [[] for _ in samples]
    eight_bits = variant.precision == "int8" and any(w.ran.engine == "openvino" for w in ways)
    if not eight_bits or not _EIGHT_BITS & (probe().cpu_features or frozenset()):
        return runs
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        paths = [folder / f"{number}.frame" for number in range(len(samples))]
        for path, sample in zip(paths, samples, strict=True):
            path.write_bytes(make_golden(ways[:1], sample, options=options))
        for instructions in _LESSER:
            if _imitated(package, variant, instructions, paths):
                for own, path in zip(runs, paths, strict=True):
                    own.append(_read_run(path.with_suffix(".npz")))
    return runs


def _imitated(
    package: Package, variant: Variant, instructions: str, samples: Sequence[Path]
) -> bool:
    """Whether a processor with these instructions runs samples; what came of them lies beside."""
    job = {
        "instructions": instructions,
        "package": str(package.root),
        "variant": variant.id,
        "samples": [str(path) for path in samples],
    }
    try:
        run_child("imitate", job, samples[0].parent, "running golden samples as another processor")
    except ConversionError:
        return False
    return True


def _read_run(path: Path) -> Run:
    with np.load(path, allow_pickle=False) as arrays:
        found = dict(arrays)
    outputs, given = (
        {n.removeprefix(side): array for n, array in found.items() if n.startswith(side)}
        for side in ("outputs/", "given/")
    )
    return Run(outputs, given or None)


@contextmanager
def _every_way(package: Package, variant: Variant) -> Generator[list[LoadedVariant]]:
    """A variant as it is preferred, and in every engine and number of threads here."""
    with ExitStack() as stack:
        hosts = [stack.enter_context(closing(_host(threads))) for threads in (None, *_THREADS)]
        ways = [hosts[0].load(package, variant)]
        for host in hosts[1:]:
            for engine in variant.needs.engines:
                try:
                    ways.append(host.load(package, variant, engine))
                except EngineError:
                    continue  # not here, or not this file
        yield ways


def _run(way: LoadedVariant, sample: Any, options: Mapping[str, float]) -> Run:
    inputs = InputChecker(way.signature).check(sample)
    traced = way.trace(inputs, check_options(way.signature, options))
    return Run(traced.outputs, traced.given)


def _lossy(way: LoadedVariant, sample: Any) -> bool:
    tensors = way.wire_inputs.write(InputChecker(way.signature).check(sample))
    arrays = [to_array(tensor) for tensor in tensors]
    return is_lossy(
        item for array in arrays if array.dtype == object for item in array.ravel().tolist()
    )


def _host(threads: int | None = None) -> LocalHost:
    return LocalHost(Store(builtin=False), distance="cloud", threads=threads, proves=False)
