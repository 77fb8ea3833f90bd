"""The catalogue: well-known models whose licences let everybody use them, and where they lie.

An entry is a data file of this folder's `catalogue/`: a complete manifest, and for each of its
files the addresses that have those very bytes. Nothing is fetched here.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wherever_contracts.errors import ModelNotFoundError
from wherever_contracts.manifest import Manifest, Variant, parse_manifest
from wherever_edge.packages import checks, versions
from wherever_edge.packages.package import Package
from wherever_edge.packages.shelf import Shelf

_DIRECTORY = Path(__file__).parent.parent / "catalogue"


@dataclass(frozen=True, slots=True)
class Entry:
    """A model of the catalogue.

    Attributes:
        page: where people read about it.
        urls: path in the package -> addresses of that file, by preference.
        manifest: what `model.json` will say.
        manifest_bytes: `model.json`; the same bytes with every version of wherever.
    """

    page: str
    urls: dict[str, tuple[str, ...]]
    manifest: Manifest
    manifest_bytes: bytes

    @property
    def name(self) -> str:
        """The model's name."""
        return self.manifest.name

    @property
    def version(self) -> str:
        """The version that the catalogue has."""
        return self.manifest.version

    def variants_for(self, place: str) -> tuple[Variant, ...]:
        """The variants that are meant for a place; all of them when none is."""
        meant = tuple(v for v in self.manifest.variants if place in v.places)
        return meant or self.manifest.variants

    def package(self, root: Path, present: tuple[Variant, ...] = ()) -> Package:
        """The package that will stand in `root`, of which `present` is there."""
        digest = hashlib.sha256(self.manifest_bytes).hexdigest()
        return Package(root, self.manifest, digest, "local", present)


def names() -> list[str]:
    """The names of the models, sorted."""
    return sorted(path.stem for path in _DIRECTORY.glob("*.json"))


def entries() -> list[Entry]:
    """Every model of the catalogue, by name."""
    return [_read(name) for name in names()]


def find(model: str) -> Entry | None:
    """The entry that "mobilenet", "mobilenet@1" or "mobilenet@1.0.0" means, or None."""
    name, _, wanted = model.partition("@")
    if name not in names():
        return None
    entry = _read(name)
    return entry if versions.choose(wanted, [entry.version]) else None


def handle_package(model: str, home: Path) -> Package | None:
    """A package of the catalogue before anything of it was fetched, or None when it has none.

    Its signature is complete and it has no variant here: `Installer.fetch` brings them, and until
    then `not_fetched` is what a call gets.
    """
    entry = find(model)
    if entry is None:
        return None
    return entry.package(Shelf(home / "models").place_of(entry.name, entry.version))


def not_fetched(package: Package) -> ModelNotFoundError:
    """The error of a call that needs files which nobody has fetched yet."""
    return ModelNotFoundError(
        f"{package.name} {package.version} is in the catalogue, and not on this machine yet: "
        f"fetch it with `wherever add {package.name}`, or with handle.prepare()"
    )


def _read(name: str) -> Entry:
    path = _DIRECTORY / f"{name}.json"
    data: dict[str, Any] = json.loads(path.read_bytes())
    text = json.dumps(data["manifest"], indent=2, ensure_ascii=False) + "\n"
    manifest = parse_manifest(text.encode(), path.name)
    checks.check_manifest(manifest)
    urls = {file: tuple(addresses) for file, addresses in data["urls"].items()}
    return Entry(data["page"], urls, manifest, text.encode())
