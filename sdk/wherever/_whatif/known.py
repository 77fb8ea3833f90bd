"""What this machine knows of recorded models: their packages, and what calls have shown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from wherever._access import open_store
from wherever._ledger import Key, Ledger
from wherever._records.store import FOLDER
from wherever._settings import Settings
from wherever._whatif.aims import Known
from wherever._whatif.facts import DEVICE, Facts, Model, way_of
from wherever_contracts.errors import ModelNotFoundError
from wherever_edge.certification.calibrated import Evidence
from wherever_edge.packages.pairs import pairs_with_reference

if TYPE_CHECKING:
    from wherever_edge.packages.package import Package
    from wherever_edge.packages.store import Store


def all_known(receipts: Path, facts: Facts) -> dict[str, Known]:
    """What is known of the variant of each model that answered on the device.

    Args:
        receipts: where the records are; what calls have shown is kept in the same home.
        facts: the records.
    """
    store = open_store(Settings())
    ledger = Ledger(_home_of(receipts))
    return {name: _known(store, ledger, facts, model) for name, model in facts.models.items()}


def _home_of(receipts: Path) -> Path:
    folder = receipts if receipts.is_dir() else receipts.parent
    return folder.parent if folder.name == FOLDER else folder


def _known(store: Store, ledger: Ledger, facts: Facts, model: Model) -> Known:
    digest = _digest(facts, model.name)
    events = ledger.events(Key(model.name, digest, model.variant))
    package = _package(store, model.name, digest)
    if package is None or not model.variant:
        return Known(package=False, events=events)
    variant = package.manifest.variant(model.variant)
    whole = package.manifest.signature.value.kind == "label"
    pairs = pairs_with_reference(package, model.variant)
    evidence = None if pairs is None else Evidence.of(pairs)
    return Known(True, variant.escalate_below, evidence, whole, events)  # noqa: FBT003 (a tuple)


def _digest(facts: Facts, name: str) -> str:
    """Of the package that answered last, on the device if it ever did."""
    calls = [each for each in facts.receipts if each.ran.model == name]
    here = [each for each in calls if way_of(each) == (DEVICE,)]
    return (here or calls)[-1].ran.package_digest


def _package(store: Store, name: str, digest: str) -> Package | None:
    """The package that answered, if it is here."""
    try:
        package = store.get(name)
    except ModelNotFoundError:
        return None
    return package if package.digest == digest else None
