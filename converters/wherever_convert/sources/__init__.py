"""Sources: what can be converted, each a plug-in of the group `wherever.sources`."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from wherever_contracts.errors import ConversionError
from wherever_edge import plugins

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array

GROUP = "wherever.sources"

# What Python's pickle reads, and what torch.save and joblib write.
_PICKLES = frozenset({".pkl", ".pickle", ".joblib", ".pt", ".pth", ".ckpt", ".dill", ".bin"})


@dataclass(frozen=True)
class OnnxModel:
    """What a source gives.

    Attributes:
        data: the model as one ONNX file, without external data.
        facts: where it came from, for the package's provenance.
        labels: the names of the classes, where the source knows them.
        batch: the source made the first axis of every tensor a batch of independent rows.
        agreement: share of the example rows on which the ONNX file answers as the source does;
            None when that was not compared.
    """

    data: bytes
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    labels: tuple[str, ...] | None = None
    batch: bool = False
    agreement: float | None = None


class Source(ABC):
    """A kind of model that can become ONNX.

    Attributes:
        title: what it is, for people.
    """

    title: str

    @abstractmethod
    def recognises(self, source: object) -> bool:
        """True when `source` is of this kind; imports no framework to find out."""

    @abstractmethod
    def to_onnx(self, source: object, example: Array | None) -> OnnxModel:
        """Convert.

        Args:
            source: a model that `recognises` took.
            example: rows as the model takes them, the first axis counting rows; None when that
                is not known (only sources that describe their inputs themselves do without).

        Raises:
            ConversionError: it cannot be converted; the message says why.
            MissingExtraError: something that this kind needs is not installed.
        """


def find_source(source: object) -> Source:
    """The plug-in that can convert `source`.

    Raises:
        ConversionError: none can, or it is a file that can run code when it is read.
    """
    _refuse_pickles(source)
    known: list[Source] = [
        plugins.load(GROUP, name)() for name in sorted(plugins.entry_points(GROUP))
    ]
    for each in known:
        if each.recognises(source):
            return each
    supported = "; ".join(each.title for each in known)
    raise ConversionError(f"cannot convert {described(source)}; supported are: {supported}")


def described(source: object) -> str:
    """What the caller gave, in a few words."""
    path = as_path(source)
    if path is not None:
        return repr(str(path))
    kind = type(source)
    return f"an object of type {kind.__module__}.{kind.__qualname__}"


def as_path(source: object) -> Path | None:
    """The path that `source` names, or None when it names none."""
    if isinstance(source, str | os.PathLike):
        return Path(cast("str | os.PathLike[str]", source))
    return None


def _refuse_pickles(source: object) -> None:
    path = as_path(source)
    if path is not None and path.suffix.lower() in _PICKLES:
        raise ConversionError(
            f"{path.name!r} is not read: pickles can run code. Write a FILE.py that makes the "
            f"model and loads its weights, and convert FILE.py:NAME, or give the object in Python"
        )
