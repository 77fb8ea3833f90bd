"""Sources: what can be converted, each a plug-in of the group `wherever.sources`."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from wherever_contracts.errors import ConversionError
from wherever_contracts.manifest import Format
from wherever_convert.environments import Tell, quiet
from wherever_convert.model_file import ModelFile
from wherever_convert.sources.refusals import PICKLES, REFERENCE, advice, folder_advice, misspelt
from wherever_edge import plugins

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array
    from wherever_convert.design import Design
    from wherever_edge.bare.manifest import Pixels, Task

GROUP = "wherever.sources"


@dataclass(frozen=True)
class Witness:
    """What the source itself answers to some rows, to compare its files with.

    Attributes:
        inputs: the rows, one array for each input in the source's order.
        outputs: what it answered, one array for each output in the order of its first file; None
            in the place of one that is not to be compared.
    """

    inputs: tuple[Array, ...]
    outputs: tuple[Array | None, ...]


@dataclass(frozen=True)
class SourceModel:
    """What a source gives.

    Attributes:
        files: format -> the model in it, as near to the source as can be; the first one is what
            every variant is compared with.
        facts: where it came from, for the package's provenance.
        labels: the names of the classes, where the source knows them.
        batch: the source made the first axis of every tensor a batch of independent rows.
        witness: what the source answered; None where it cannot be asked (a file is the model).
        design: signature and pipeline of its first file, where the source knows them.
        assets: path -> bytes of the files that `design` names, such as a vocabulary.
        pixels: how images become its tensor, where the source knows that and `design` is None.
        also: format -> why the source's model is not to be had in it.
    """

    files: Mapping[Format, ModelFile]
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    labels: tuple[str, ...] | None = None
    batch: bool = False
    witness: Witness | None = None
    design: Design | None = None
    assets: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    pixels: Pixels | None = None
    also: Mapping[Format, str] = field(default_factory=dict[Format, str])


@dataclass(frozen=True)
class Request:
    """What a source is asked for.

    Attributes:
        example: rows as the model takes them, the first axis counting rows; None when that is not
            known (only sources that describe their inputs themselves do without).
        task: what the model does.
        formats: what is wanted beside the source's own format, if it can be had.
        scratch: a directory for what is made on the way.
        python: what runs FILE.py:NAME; by default an interpreter that has what it imports.
        tell: told what takes long.
        allow_code: files that can run code when they are read may be.
    """

    example: Array | None
    task: Task
    formats: frozenset[Format]
    scratch: Path
    python: Path | None = None
    tell: Tell = quiet
    allow_code: bool = False


class Source(ABC):
    """A kind of model that can be converted.

    Attributes:
        title: what it is, for people.
        formats: what its model can be had in, the nearest first.
        limit: why nothing can be made of what it gives; "" when something can.
    """

    title: str
    formats: tuple[Format, ...] = ("onnx",)
    limit: str = ""

    @abstractmethod
    def recognises(self, source: object) -> bool:
        """True when `source` is of this kind; imports no framework to find out."""

    @abstractmethod
    def load(self, source: object, request: Request) -> SourceModel:
        """Read or export it.

        Args:
            source: a model that `recognises` took.
            request: what is wanted of it.

        Raises:
            ConversionError: it cannot be converted; the message says why.
            MissingExtraError: something that this kind needs is not installed.
        """


def find_source(source: object) -> Source:
    """The plug-in that can convert `source`.

    Raises:
        ConversionError: none can, it is not there, or it is a file that can run code when it is
            read.
    """
    path = as_path(source)
    if path is not None and path.suffix.lower() in PICKLES:
        raise ConversionError(f"{path.name!r} is not read: {advice(path)}")
    known = all_sources()
    for each in known:
        if each.recognises(source):
            _refuse_missing(path)
            return each
    supported = "; ".join(each.title for each in known)
    hint = "" if path is None else _hint(path)
    why = f": {hint}" if hint else f"; supported are: {supported}"
    raise ConversionError(f"cannot convert {described(source)}{why}")


def all_sources() -> list[Source]:
    """One of each plug-in that is installed, by name."""
    return [plugins.load(GROUP, name)() for name in sorted(plugins.entry_points(GROUP))]


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


def existing_file(source: object) -> Path:
    """The file that `source` names.

    Raises:
        ConversionError: there is none.
    """
    path = as_path(source)
    if path is None or not path.is_file():
        found = "is a folder" if path is not None and path.is_dir() else "there is no such file"
        raise ConversionError(f"{source}: {found}")
    return path


def _refuse_missing(path: Path | None) -> None:
    if path is None:
        return
    reference = REFERENCE.fullmatch(str(path))
    file = path if reference is None else Path(reference["file"])
    if not file.exists():
        raise ConversionError(f"{path}: there is no such file")


def _hint(path: Path) -> str:
    """What is known of something that no plug-in takes."""
    wrong = misspelt(str(path))
    if wrong:
        return wrong
    if path.is_dir():
        names = frozenset(each.name for each in path.iterdir())
        return folder_advice(names) or advice(path) or "a folder of no known kind"
    return advice(path) or ("" if path.exists() else "there is no such file")
