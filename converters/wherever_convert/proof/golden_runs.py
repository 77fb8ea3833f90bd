"""Making golden samples: what every engine here makes of a sample decides what others may."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING, Any

from wherever_contracts.errors import EngineError
from wherever_contracts.wire.tensors import to_array
from wherever_convert.proof.golden_choice import Run, allowed_for, golden_options, is_lossy
from wherever_edge.host import LocalHost
from wherever_edge.inputs import InputChecker, check_options
from wherever_edge.packages.golden import Allowed, make_golden
from wherever_edge.packages.store import Store

if TYPE_CHECKING:
    from wherever_contracts.manifest import Variant
    from wherever_edge.host import LoadedVariant
    from wherever_edge.packages.package import Package

_THREADS = (1, 2)


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
        return [
            allowed_for(
                signature,
                variant.precision,
                [_run(way, sample, options) for way in ways],
                lossy=_lossy(ways[0], sample),
            )
            for sample in samples
        ]


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
