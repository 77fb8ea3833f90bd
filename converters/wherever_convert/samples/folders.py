"""Class folders: DIR/CLASS/FILE."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from wherever_contracts.errors import ConversionError
from wherever_convert.samples.sample import (
    IMAGE_SUFFIXES,
    Damaged,
    Form,
    Sample,
    Samples,
    Value,
    thinned,
)

_TEXT_SUFFIX = ".txt"
_SUFFIXES: Mapping[Form, frozenset[str]] = {
    "images": IMAGE_SUFFIXES,
    "texts": frozenset({_TEXT_SUFFIX}),
}
_MAX_TEXT_BYTES = 8 * 1024 * 1024


def read_folders(root: Path, form: Form | None, most: int) -> Samples:
    """Files by class; without folders, the files of `root` itself, of no class.

    Args:
        root: the directory; hidden files and folders in it are left alone.
        form: what the files are; by default images or texts where most of them are called so,
            else files of any kind.
        most: no more are taken, evenly.

    Raises:
        ConversionError: there are no such files.
    """
    classes = [child for child in _listed(root) if child.is_dir()]
    by_class = {folder.name: _files(folder) for folder in classes}
    labels: tuple[str, ...] | None = tuple(by_class)
    if not any(by_class.values()):
        by_class, labels = {"": _files(root)}, None
    found = form or _form_of(path for paths in by_class.values() for path in paths)
    pairs = _pairs(by_class, found)
    if not pairs:
        raise ConversionError(_nothing(root, classes, found))
    items = [Sample(_name(path, label), path, label or None) for path, label in pairs]
    samples = thinned(Samples(root.name or "samples", found, tuple(items), labels), most)
    return with_texts(samples) if found == "texts" else samples


def with_texts(samples: Samples) -> Samples:
    """The same with the contents of text files in place of their paths."""
    items: list[Sample] = []
    damaged: list[Damaged] = []
    for item in samples.items:
        try:
            items.append(item._replace(value=_text(item.value)))
        except OSError as error:
            damaged.append(Damaged(item.name, error.strerror or str(error)))
        except ValueError as error:
            damaged.append(Damaged(item.name, str(error)))
    return Samples(
        samples.name,
        samples.form,
        tuple(items),
        samples.labels,
        (*samples.damaged, *damaged),
        samples.left_out,
    )


def _text(value: Value) -> Value:
    if not isinstance(value, Path):
        return value
    size = value.stat().st_size
    if size > _MAX_TEXT_BYTES:
        raise ValueError(f"{size} bytes of text, at most {_MAX_TEXT_BYTES}")
    try:
        return value.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"no text in UTF-8: {error.reason}") from error


def _pairs(by_class: Mapping[str, Sequence[Path]], form: Form) -> list[tuple[Path, str]]:
    return [
        (path, label)
        for label, paths in by_class.items()
        for path in paths
        if form not in _SUFFIXES or path.suffix.lower() in _SUFFIXES[form]
    ]


def _form_of(paths: Iterable[Path]) -> Form:
    """What most files are called: images, or texts; else they are files of any kind."""
    suffixes = [path.suffix.lower() for path in paths]
    images = sum(suffix in IMAGE_SUFFIXES for suffix in suffixes)
    texts = suffixes.count(_TEXT_SUFFIX)
    if 2 * texts > len(suffixes):
        return "texts"
    return "images" if 2 * images > len(suffixes) or not suffixes else "files"


def _listed(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if not child.name.startswith("."))


def _files(folder: Path) -> list[Path]:
    # a link that leads nowhere is a file that cannot be read, and is named as one
    return [path for path in _listed(folder) if not path.is_dir()]


def _name(path: Path, label: str) -> str:
    return f"{label}/{path.name}" if label else path.name


def _nothing(root: Path, classes: Sequence[Path], form: Form) -> str:
    deeper = [folder for folder in classes if any(child.is_dir() for child in _listed(folder))]
    if deeper:
        inner = root / deeper[0].name
        return (
            f"samples: {root} holds folders of folders; give the one whose folders are classes, "
            f"such as {inner}"
        )
    suffixes = ", ".join(sorted(_SUFFIXES.get(form, ())))
    wanted = f"{form} ({suffixes})" if suffixes else "files"
    return f"samples: {root} holds no folders of {wanted}, and none itself"
