"""From the files of a variant to a session that is what the manifest says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from wherever_contracts.errors import ManifestError
from wherever_contracts.manifest import MANIFEST_NAME
from wherever_edge.engines.installed import InstalledEngines
from wherever_edge.packages.checks import tensor_mismatch
from wherever_edge.queueing.desk import URGENCY

if TYPE_CHECKING:
    from wherever_contracts.manifest import Signature, Variant
    from wherever_devices.plans import RunPlan
    from wherever_edge.engines.engine import Resources, Session
    from wherever_edge.isolation.engines import IsolatedEngines
    from wherever_edge.packages.store import Package

Isolation = Literal["none", "process"]
_RESERVED = ("options", "confidence", "placement", "in_turn", URGENCY)


def engines_for(isolation: Isolation) -> InstalledEngines | IsolatedEngines:
    """The engines, in this process or each in one of its own."""
    if isolation == "none":
        return InstalledEngines()
    from wherever_edge.isolation.engines import IsolatedEngines  # noqa: PLC0415 (few ask for it)

    return IsolatedEngines()


def open_variant(
    engines: InstalledEngines | IsolatedEngines,
    package: Package,
    variant: Variant,
    plan: RunPlan,
    resources: Resources,
) -> Session:
    """Open a variant of a package as a plan says.

    Raises:
        PackageError: its files, or the tensors in them, are not what the manifest promises.
        EngineError: the engine cannot.
    """
    _refuse_reserved_names(package.manifest.signature, variant)
    files = [package.read(entry) for entry in variant.files]
    session = engines.open(plan, variant.format, files, resources)
    mismatch = tensor_mismatch(variant, session.inputs, session.outputs)
    if mismatch is not None:
        session.close()
        raise mismatch
    return session


def _refuse_reserved_names(signature: Signature, variant: Variant) -> None:
    """Refuse tensors named like what a pipeline keeps beside them."""
    names = [entry.name for entry in signature.inputs]
    for entries in (signature.outputs, variant.tensors.inputs, variant.tensors.outputs):
        names += [entry.name for entry in entries]
    for name in names:
        if name in _RESERVED:
            expected = f"no tensor named {' or '.join(_RESERVED)}"
            raise ManifestError(MANIFEST_NAME, f"variants.{variant.id}", expected, name)
