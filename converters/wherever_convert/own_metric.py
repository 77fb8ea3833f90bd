"""A metric of the user's own: a function of answers and truths."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.util import module_from_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

from wherever_contracts.errors import ConversionError
from wherever_contracts.value_making import value_of
from wherever_convert.env.user_file import spec_of
from wherever_convert.judge import Judge

if TYPE_CHECKING:
    from wherever_contracts.manifest import Signature
    from wherever_contracts.tensors import Array

OwnMetric: TypeAlias = Callable[[list[Any], list[Any]], float]


class Kept(NamedTuple):
    """An answer as the function takes it, and what is compared with the float model's."""

    value: Any
    compared: Any

    def __str__(self) -> str:
        return str(self.value)


class Own(Judge):
    """Whatever a function says of the answers.

    Args:
        function: takes the answers as `predict(...).value` gives them and the samples' truths, in
            one order, and gives a number of which more is better.
        signature: of the model.
        truths: of the samples; the names of classes, numbers, boxes, or None.
        usual: the judge who says how far answers are the float model's.
    """

    def __init__(
        self, function: OwnMetric, signature: Signature, truths: Sequence[Any], usual: Judge
    ) -> None:
        self._function = function
        self._signature = signature
        self._usual = usual
        self.truth = list(truths)
        self.labels = usual.labels
        self.metric = name_of(function)

    def keep(self, outputs: Mapping[str, Array]) -> Kept:
        """The value, and what the usual judge keeps."""
        return Kept(value_of(self._signature, outputs), self._usual.keep(outputs))

    def score(self, kept: Sequence[Any], reference: Sequence[Any]) -> float:
        """What the function says.

        Raises:
            ConversionError: it fails, or gives no finite number.
        """
        try:
            found: Any = self._function([each.value for each in kept], list(self.truth))
            value = float(found)
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            raise ConversionError(f"the metric {self.metric} failed: {what}") from error
        if not math.isfinite(value):
            raise ConversionError(f"the metric {self.metric} gave {value}, no finite number")
        return value

    def agreement(self, kept: Sequence[Any], reference: Sequence[Any]) -> float:
        """What the usual judge says."""
        return self._usual.agreement(
            [each.compared for each in kept], [each.compared for each in reference]
        )


def own_metric(named: str) -> OwnMetric:
    """The function that "FILE.py:NAME" names; the file is run, in this process.

    Raises:
        ConversionError: there is no such function, or running the file fails.
    """
    path, _, name = named.rpartition(":")
    file = Path(path)
    if not file.is_file():
        raise ConversionError(
            f"metric: there is no file {path}; a metric of your own is FILE.py:NAME"
        )
    function = getattr(_run(file), name, None)
    if not callable(function):
        raise ConversionError(f"metric: {file.name} has no function {name!r}")
    return cast("OwnMetric", function)


def name_of(function: Callable[..., Any]) -> str:
    """What a function is called where its figures are shown."""
    return str(getattr(function, "__name__", type(function).__name__)).strip("<>")


def _run(file: Path) -> Any:
    spec = spec_of(f"wherever_metric_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise ConversionError(f"metric: {file.name} is no Python file")
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise ConversionError(f"metric: running {file.name} failed: {what}") from error
    return module
