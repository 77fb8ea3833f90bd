"""What `wherever predict` says about a bare model file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

if TYPE_CHECKING:
    from wherever._client import Client
    from wherever._handle import Model

Task: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="TASK",
        help="For a model file: classify, detect, embed, or tensors (the file's own).",
    ),
]
Labels: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="FILE", help="For a model file: names of the classes, one in a line; or coco80."
    ),
]
Pixels: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=VALUE",
        help="For a model file, how images are prepared: size=224x224, scale=0.0039, "
        "mean=0.485,0.456,0.406, std=..., colour=bgr, fit=letterbox, resize=antialias, "
        "keep=0.875; may be repeated.",
    ),
]


@dataclass(frozen=True)
class FileOptions:
    """The options of a model file, as they were given."""

    task: str | None
    labels: str | None
    pixels: list[str]

    def open(self, client: Client, path: str) -> Model:
        """The handle of the file.

        Raises:
            BadParameter: an option is missing or cannot be read.
        """
        if self.task is None:
            message = f"{path} is a model file: say what its answer is, for example --task classify"
            raise typer.BadParameter(message, param_hint="--task")
        task: Any = self.task  # what it may be is checked where the words are known
        return client.open(path, task=task, labels=self.labels, **parse_pixels(self.pixels))

    def refuse(self, model: str) -> None:
        """Refuse options of a file for a model that is none.

        Raises:
            BadParameter: there are some.
        """
        if self.task or self.labels or self.pixels:
            message = f"--task, --labels and --pixels are for model files; {model!r} is a model"
            raise typer.BadParameter(message, param_hint="MODEL")


def parse_pixels(given: list[str]) -> dict[str, Any]:
    """`name=value` words as the arguments that `wherever.open` takes.

    Raises:
        BadParameter: one cannot be read.
    """
    said: dict[str, Any] = {}
    for text in given:
        name, _, value = text.partition("=")
        try:
            said[name] = _READERS.get(name, str)(value)
        except ValueError:
            message = f"{text!r} cannot be read; size=224x224, mean=0.485,0.456,0.406, scale=0.0039"
            raise typer.BadParameter(message, param_hint="--pixels") from None
    return said


def is_file(model: str) -> bool:
    """Whether the argument means a model file."""
    from wherever_edge.bare.opening import is_model_file  # noqa: PLC0415 (pydantic: 40 ms)

    return is_model_file(model)


def _numbers(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    return int(height), int(width)


_READERS: dict[str, Any] = {
    "size": _size,
    "scale": float,
    "mean": _numbers,
    "std": _numbers,
    "keep": float,
}
