"""Compiling the declared steps of a variant into functions.

A step works on one dict, the *state*. It begins with the call's inputs by their signature names
(an `Image`, a `str`, `bytes`, or an array) and `"options"`; the steps before the engine must leave
every tensor of the variant in it, the engine's outputs are put into it, and the steps after the
engine must leave every output of the signature in it. A step may leave `"confidence"` (0 to 1).
A plug-in module registers `{op: factory}` in the entry-point group `wherever.steps`.

The docstring of a factory is the step's page in `docs/steps.md`. Its first line says what the step
does; two sections, beside `Args:` and `Raises:`, are required of ours and wanted of others':

    Formula:
        What comes out, element by element, precise enough to write it a second time: how it
        rounds, what happens at the edges, whose library's meaning a word has.

    Cost:
        About how long it takes for which input, as `benchmarks/steps.py` measured it ("about 0.4 ms
        for 1280x720 to 416x416"), and what it grows with.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, TypeAlias

from wherever_contracts.errors import ManifestError, SettingsError, WhereverError
from wherever_contracts.manifest import MANIFEST_NAME, Signature, StepEntry, Variant
from wherever_edge import plugins

State: TypeAlias = dict[str, Any]
Step: TypeAlias = Callable[[State], None]


@dataclass(frozen=True, slots=True)
class StepContext:
    """What a step may know about the variant that it is compiled for.

    Attributes:
        read: gives the bytes of a file that `model.json` lists, such as a vocabulary; raises
            `PackageError` when it is not listed, or not what it should be.
    """

    signature: Signature
    variant: Variant
    read: Callable[[str], bytes]


StepFactory: TypeAlias = Callable[..., Step]


class Steps(NamedTuple):
    """Every operation that is installed, and the plug-ins that could not be imported."""

    by_name: Mapping[str, StepFactory]
    broken: tuple[str, ...]


@cache
def known_steps() -> Steps:
    """The installed operations; a broken plug-in takes only its own operations away."""
    steps: dict[str, StepFactory] = {}
    broken: list[str] = []
    for name in plugins.entry_points("wherever.steps"):
        try:
            found: Mapping[str, StepFactory] = plugins.load("wherever.steps", name)
        except SettingsError as error:
            broken.append(str(error))
            continue
        twins = sorted(steps.keys() & found.keys())
        if twins:
            broken.append(f"plug-in {name!r} has operations that exist already: {', '.join(twins)}")
        steps.update({op: factory for op, factory in found.items() if op not in steps})
    return Steps(steps, tuple(broken))


def compile_steps(
    entries: Sequence[StepEntry], context: StepContext, where: str
) -> tuple[Step, ...]:
    """Turn declared steps into functions, in order.

    A factory is called as `factory(context, **parameters)`.

    Args:
        entries: the declared steps.
        context: what they may know.
        where: the manifest field they stand in, for errors.

    Raises:
        ManifestError: an operation is not known, or its parameters are wrong.
    """
    return tuple(
        _compile_one(entry, context, f"{where}.{position}")
        for position, entry in enumerate(entries)
    )


def _compile_one(entry: StepEntry, context: StepContext, where: str) -> Step:
    steps = known_steps()
    factory = steps.by_name.get(entry.op)
    if factory is None:
        found = "; ".join([repr(entry.op), *steps.broken])
        expected = f"one of {', '.join(sorted(steps.by_name))}"
        raise ManifestError(MANIFEST_NAME, f"{where}.op", expected, found)
    try:
        bound = inspect.signature(factory).bind(context, **entry.parameters)
        return factory(*bound.args, **bound.kwargs)
    except WhereverError:
        raise
    except (TypeError, ValueError) as error:
        raise ManifestError(
            MANIFEST_NAME, where, f"parameters that {entry.op!r} takes", f"{error}"
        ) from error
