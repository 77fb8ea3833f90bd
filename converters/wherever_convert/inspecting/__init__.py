"""Looking into model files, packages and Hugging Face folders, without running anything of them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from wherever_contracts.errors import ConversionError
from wherever_contracts.manifest import MANIFEST_NAME
from wherever_convert.sources.refusals import advice, folder_advice
from wherever_edge.packages.package import ARCHIVE_SUFFIX

if TYPE_CHECKING:
    from rich.console import RenderableType

_CONFIG = "config.json"
_MODELS = (".onnx", ".tflite", ".xml")
LOOKED_INTO = (
    "an .onnx or .tflite file, an OpenVINO .xml, a package (its directory or .wherever archive), "
    "or a Hugging Face folder"
)


@dataclass(frozen=True)
class Inspection:
    """What was found.

    Attributes:
        kind: of the thing.
        data: all that was found, as plain data.
    """

    kind: Literal["model", "package", "hugging-face"]
    data: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """All that was found, as plain data."""
        return {"kind": self.kind, **self.data}

    def view(self) -> RenderableType:
        """The same for people, as wide as where it is printed."""
        from wherever_convert.inspecting.view import view_of  # noqa: PLC0415 (rich: 60 ms)

        return view_of(self)

    def text(self, width: int = 100) -> str:
        """The same as text, in lines of at most `width` characters where words allow."""
        from wherever_convert.inspecting.view import as_text  # noqa: PLC0415 (rich: 60 ms)

        return as_text(self.view(), width)


def inspect(path: str | os.PathLike[str]) -> Inspection:
    """Look into a model file, a package or a Hugging Face folder.

    Code is neither in them nor named by them that would be run; model files are opened by each
    engine in a process of its own.

    Args:
        path: of the file or folder.

    Raises:
        ConversionError: it is none of these, or cannot be read; the message says what it is.
        PackageError: a package is refused.
        MissingExtraError: onnx is not installed, which reads .onnx files.
    """
    place = Path(path)
    if place.is_dir():
        return _folder(place)
    if not place.is_file():
        raise ConversionError(f"{place}: there is no such file or folder")
    if place.suffix.lower() == ARCHIVE_SUFFIX:
        return _archive(place)
    if place.suffix.lower() in _MODELS:
        from wherever_convert.inspecting.models import model_data  # noqa: PLC0415 (engines)

        return Inspection("model", model_data(place))
    raise _unknown(place, advice(place))


def _folder(place: Path) -> Inspection:
    if (place / MANIFEST_NAME).is_file():
        from wherever_convert.inspecting.packages import package_data  # noqa: PLC0415 (pydantic)
        from wherever_edge.packages.package import open_directory  # noqa: PLC0415 (pydantic)

        return Inspection("package", package_data(open_directory(place), place))
    if (place / _CONFIG).is_file():
        from wherever_convert.inspecting.folders import folder_data  # noqa: PLC0415 (engines)

        return Inspection("hugging-face", folder_data(place))
    raise _unknown(place, folder_advice(frozenset(each.name for each in place.iterdir())))


def _archive(place: Path) -> Inspection:
    import tempfile  # noqa: PLC0415 (here alone)

    from wherever_convert.inspecting.packages import package_data  # noqa: PLC0415 (pydantic)
    from wherever_edge.packages.store import open_package  # noqa: PLC0415 (pydantic)

    with tempfile.TemporaryDirectory(prefix="inspect-") as scratch:
        package = open_package(place, unpack_into=Path(scratch))
        return Inspection("package", package_data(package, place))


def _unknown(place: Path, hint: str) -> ConversionError:
    what = f" ({hint})" if hint else ""
    return ConversionError(f"{place}{what} is nothing to look into: it takes {LOOKED_INTO}")
