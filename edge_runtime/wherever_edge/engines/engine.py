"""The two hooks that an engine implements, and the guarantees around them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, final

import numpy as np

from wherever_contracts.errors import EngineError
from wherever_contracts.tensors import DTYPES, describe
from wherever_devices.plans import RunPlan

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array, TensorSpec

# Element types of tensors that a session takes and gives; no engine runs on strings.
NUMBERS = frozenset(DTYPES) - {"bytes"}
_MOST_RUNS = 8
_LONGEST = 600  # characters of a runtime's complaint that go into a message


def importable(module: str) -> bool:
    """True when a top-level module is installed; nothing is imported."""
    return find_spec(module) is not None


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What the runtime itself says it is and does.

    Attributes:
        provider: the part of the runtime that computes, in the runtime's own word.
        precision: what it computes in; another one than the plan's where it says so.
        threads: threads of one run; 0 when the runtime chooses them run by run.
        device: the hardware that `provider` stands for, in the words of `RunPlan`.
    """

    engine: str
    version: str
    provider: str
    precision: str
    threads: int
    device: str = "cpu"

    @property
    def ran(self) -> RunPlan:
        """The same in the words of a plan."""
        return RunPlan(self.engine, self.device, self.precision, self.threads)


@dataclass(frozen=True, slots=True)
class Resources:
    """What a session may use, apart from what its plan says.

    Attributes:
        runs: runs that are expected at once.
        cache_dir: where the engine may keep what it compiled; None for nowhere.
        frugal: memory matters more than the last microseconds.
    """

    runs: int = 1
    cache_dir: Path | None = None
    frugal: bool = False


def runs_at_once(cores: int, threads: int) -> int:
    """Runs that may be under way at once: each costs memory for its intermediate results.

    Args:
        cores: cores that this process may use.
        threads: threads of one run; 0 when the runtime chooses them.
    """
    return max(1, min(_MOST_RUNS, cores // max(1, threads)))


class Session(ABC):
    """One variant, loaded in one engine.

    An engine implements `_run` alone. Callers use `run`, which checks the inputs, hands contiguous
    arrays on, and lets nothing but `EngineError` out, whatever the engine raises. `run` may be
    called from many threads at once, and an array that it returned is never written again.
    """

    __slots__ = ("_specs", "facts", "inputs", "outputs")

    def __init__(
        self, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...], facts: EngineFacts
    ) -> None:
        self.inputs: tuple[TensorSpec, ...] = inputs
        self.outputs: tuple[TensorSpec, ...] = outputs
        self.facts: EngineFacts = facts
        if not outputs:  # some runtimes read noise as a model without anything in it
            raise EngineError("the file holds no model: it has no outputs")
        for side in (inputs, outputs):
            _refuse_twins(side)
        self._specs = tuple((spec.name, spec.admits) for spec in inputs)

    @final
    def run(self, tensors: Mapping[str, Array]) -> dict[str, Array]:
        """Return the variant's outputs for `tensors`.

        Raises:
            EngineError: an input is missing or does not fit, or the engine failed.
        """
        feed: dict[str, Array] = {}
        for name, admits in self._specs:
            array = tensors.get(name)
            if array is None or not admits(array):
                raise self._misfit(name, array)
            if not array.flags.c_contiguous:
                array = array.copy(order="C")
            feed[name] = array
        try:
            return self._run(feed)
        except EngineError:
            raise
        except Exception as error:
            raise EngineError(f"{self.facts.engine} failed: {_brief(error)}") from error

    @final
    def warm(self) -> None:
        """Run once on zeros, where every length that is open is 1.

        Raises:
            EngineError: the engine failed at that.
        """
        self.run(
            {
                spec.name: np.zeros([max(n, 1) for n in spec.shape], spec.numpy_dtype)
                for spec in self.inputs
            }
        )

    def close(self) -> None:  # noqa: B027 (optional: most runtimes free with the object)
        """Release what the runtime holds; `run` is not called afterwards, `close` may be."""

    def recovers(self, timeout_s: float) -> bool:
        """Whether `run` may be tried again after `EngineCrashError`; waits until it may."""
        return False

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes that it lives in, other than this one."""
        return ()

    @property
    def ranges(self) -> Mapping[str, tuple[float, float]]:
        """Input -> the numbers that the least and the greatest quantized value stand for.

        Empty where the file quantizes no input.
        """
        return {}

    @abstractmethod
    def _run(self, feed: dict[str, Array]) -> dict[str, Array]:
        """Run the variant; any exception may be raised."""

    def _misfit(self, name: str, array: Array | None) -> EngineError:
        spec = next(spec for spec in self.inputs if spec.name == name)
        found = "nothing" if array is None else describe(array)
        return EngineError(f"tensor {name!r}: the variant takes {spec}, the pipeline made {found}")


def interrupt_in(error: BaseException | None) -> KeyboardInterrupt | None:
    """The Ctrl-C that an error was made of; None when it was made of something else.

    pybind11 makes an ImportError of whatever is raised while a module of its kind begins.
    """
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__
    return error


def _brief(error: Exception) -> str:
    """What a runtime says, in one line: some repeat a complaint for every tensor."""
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]} ..."


def _refuse_twins(specs: Sequence[TensorSpec]) -> None:
    names = [spec.name for spec in specs]
    twins = {name for name in names if names.count(name) > 1}
    if twins:
        raise EngineError(f"the file has several tensors named {', '.join(sorted(twins))}")


class Engine(ABC):
    """A runtime that can load variants.

    An engine implements `_open` alone; `open` lets nothing but `EngineError` out, and refuses a
    device that is not there. One whose runtime is an extra also says in `missing` when that is not
    there; one that uses more than the processor says so in `devices`.

    Attributes:
        name: what `needs.engines` and receipts call it.
        formats: the variant formats it reads.
    """

    name: str
    formats: tuple[str, ...]

    def devices(self) -> tuple[str, ...]:
        """The hardware that it can use here, in the words of `RunPlan`; may import the runtime."""
        return ("cpu",)

    def advice(self, device: str) -> str:
        """What to do to have a device that is not there, after "try: "; "" when nobody knows."""
        return ""

    def missing(self) -> str:
        """Why the runtime cannot be used, and what to do; "" when it can. Imports nothing.

        The words follow "the engine is": "not installed: pip install ...".
        """
        return ""

    @final
    def open(
        self,
        files: Sequence[bytes],
        *,
        file_format: str,
        plan: RunPlan,
        resources: Resources | None = None,
    ) -> Session:
        """Load a variant.

        Args:
            files: the verified bytes of the variant's files, in the manifest's order; the model
                comes first (of OpenVINO's IR the second is the weights).
            file_format: what the files are, one of `formats`.
            plan: how it is to run; what it does in fact is in the session's `facts`.
            resources: what it may use.

        Raises:
            EngineError: the runtime is not installed, the plan's device is not there, or the
                runtime cannot read or run the model.
        """
        if why := self.missing():
            raise EngineError(f"{self.name} is {why}")
        try:
            self._refuse_unknown(plan.device)
            return self._open(
                files, file_format=file_format, plan=plan, resources=resources or Resources()
            )
        except EngineError:
            raise
        except Exception as error:
            if (interrupt := interrupt_in(error)) is not None:
                raise interrupt from None
            raise EngineError(f"{self.name} cannot load the model: {_brief(error)}") from error

    def _refuse_unknown(self, device: str) -> None:
        """Refuse a device that is not there; every machine has a processor."""
        if device == "cpu" or device in (there := self.devices()):
            return
        advice = self.advice(device)
        raise EngineError(
            f"{self.name} has no device {device!r} here (it has: {', '.join(there)})"
            + (f"; try: {advice}" if advice else "")
        )

    @abstractmethod
    def _open(
        self, files: Sequence[bytes], *, file_format: str, plan: RunPlan, resources: Resources
    ) -> Session:
        """Load a variant; any exception may be raised."""
