"""Class folders: DIR/CLASS/IMAGE."""

from __future__ import annotations

from pathlib import Path

from wherever_contracts.errors import ConversionError
from wherever_convert.samples.sample import IMAGE_SUFFIXES, Sample, Samples


def read_folders(root: Path) -> Samples:
    """Images by class; without folders, the images of `root` itself, of no class.

    Raises:
        ConversionError: there are no images.
    """
    classes = sorted(
        child.name for child in root.iterdir() if child.is_dir() and child.name[0] != "."
    )
    by_class = {name: _images(root / name) for name in classes}
    items = [
        Sample(f"{name}/{path.name}", path, name)
        for name, paths in by_class.items()
        for path in paths
    ]
    labels = tuple(classes) or None
    if not items:
        items = [Sample(path.name, path, None) for path in _images(root)]
        labels = None
    if not items:
        kinds = ", ".join(sorted(IMAGE_SUFFIXES))
        raise ConversionError(f"samples: {root} holds no folders of images ({kinds})")
    return Samples(root.name, "images", tuple(items), labels)


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
