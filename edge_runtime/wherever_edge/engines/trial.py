"""An engine on trial: the models that it is given, and what it makes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from wherever_contracts.errors import EngineError
from wherever_devices.plans import RunPlan

if TYPE_CHECKING:
    from wherever_contracts.manifest import Variant
    from wherever_contracts.tensors import Array
    from wherever_edge.engines.engine import Engine, Session
    from wherever_edge.packages.store import Package

_INPUT, _OUTPUT = "numbers", "scores"


class Broken(AssertionError):  # noqa: N818 (it ends a test, and reads as what it says)
    """A rule is not kept."""


class NotApplicable(Exception):  # noqa: N818 (not an error)
    """A rule does not apply to this engine, for the reason that it holds."""


@dataclass(frozen=True, eq=False)
class Form:
    """One form of the digits network: a variant, and the bytes of its files."""

    package: Package
    variant: Variant

    @cached_property
    def files(self) -> list[bytes]:
        """The files, the model first."""
        return [self.package.read(entry) for entry in self.variant.files]

    @cached_property
    def images(self) -> Array:
        """All images of the test split, as this form takes them; they cannot be written."""
        from wherever_edge.builtin import digits_test_split  # noqa: PLC0415 (reads a file)

        images, _ = digits_test_split()
        shape = self.variant.tensors.inputs[0].shape
        numbers = images.astype(np.float32).reshape(-1, *shape[1:])
        numbers.flags.writeable = False
        return numbers

    def __str__(self) -> str:
        return f"{self.variant.id}, {self.variant.format}"


class Trial:
    """An engine on one of its devices.

    Attributes:
        engine: the engine.
        device: where it is to run.
    """

    def __init__(self, engine: Engine, device: str) -> None:
        self.engine = engine
        self.device = device

    @cached_property
    def offered(self) -> list[Form]:
        """The forms of digits in the formats that the engine reads.

        Raises:
            NotApplicable: there is none.
        """
        from wherever_edge.packages.store import Store  # noqa: PLC0415 (reads manifests)

        package = Store().get("digits")
        variants = [each for each in package.present() if each.format in self.engine.formats]
        if not variants:
            read = ", ".join(self.engine.formats)
            raise NotApplicable(f"it reads {read}, and digits has no form of these")
        return [Form(package, variant) for variant in variants]

    @cached_property
    def refused(self) -> dict[Form, str]:
        """Those that the engine refuses, such as for an operation that it lacks, and why."""
        reasons = {form: self._refusal(form) for form in self.offered}
        return {form: reason for form, reason in reasons.items() if reason}

    @cached_property
    def forms(self) -> list[Form]:
        """Those that it opens.

        Raises:
            NotApplicable: there is none.
        """
        forms = [form for form in self.offered if form not in self.refused]
        if not forms:
            raise NotApplicable("it opens no form of digits")
        return forms

    @cached_property
    def formats(self) -> list[Form]:
        """One form of each format, for what does not depend on the network.

        Raises:
            NotApplicable: there is none.
        """
        return [*{form.variant.format: form for form in self.forms}.values()]

    @cached_property
    def float_forms(self) -> list[Form]:
        """Those of float32.

        Raises:
            NotApplicable: there is none.
        """
        forms = [form for form in self.forms if form.variant.precision == "float32"]
        if not forms:
            raise NotApplicable("digits has no float32 form that it reads")
        return forms

    def open(self, form: Form, *, precision: str = "", threads: int = 1) -> Session:
        """A form, opened as planned; by default in its own precision."""
        return self.opened(
            form.files, form.variant.format, precision or form.variant.precision, threads
        )

    def opened(
        self, files: Sequence[bytes], file_format: str, precision: str = "float32", threads: int = 1
    ) -> Session:
        """Files, opened on the trial's device."""
        plan = RunPlan(self.engine.name, self.device, precision, threads)
        return self.engine.open(files, file_format=file_format, plan=plan)

    def _refusal(self, form: Form) -> str:
        try:
            self.open(form).close()
        except EngineError as error:
            return str(error)
        except Exception:  # noqa: BLE001 (a rule will meet it, and tell)
            return ""
        return ""


def scores(session: Session, images: Array) -> Array:
    """The scores of some images."""
    return session.run({_INPUT: images})[_OUTPUT]


def require(kept: object, words: str) -> None:
    """Raise `Broken` with `words` unless a rule is kept."""
    if not kept:
        raise Broken(words)


def require_close(found: Array, expected: Array, tolerance: float, words: str) -> None:
    """Raise `Broken` unless two arrays have one shape and their numbers differ by little."""
    require(found.shape == expected.shape, f"{words}: shape {found.shape}, not {expected.shape}")
    off = float(np.max(np.abs(found - expected), initial=0.0))
    require(off <= tolerance, f"{words}: off by {off:.2g}, {tolerance:g} is allowed")


def require_refusal(attempt: Callable[[], Any], words: str) -> None:
    """Raise `Broken` unless an attempt ends in `EngineError`."""
    try:
        attempt()
    except EngineError:
        return
    except Exception as error:
        raise Broken(f"{words}: {type(error).__name__} ({error}), not EngineError") from error
    raise Broken(f"{words}: it was accepted")


def feeds_that_misfit(form: Form) -> Mapping[str, Mapping[str, Array]]:
    """Inputs that no engine may accept, by what is wrong with them."""
    images = form.images[:1]
    return {
        "an input of another type": {_INPUT: images.astype(np.float64)},
        "an input of another shape": {_INPUT: images[..., :-1]},
        "an input of another rank": {_INPUT: images[0]},
        "no input": {},
        "an input of another name": {"other": images},
    }
