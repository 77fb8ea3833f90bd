"""What is known of a variant once an engine has opened it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherever_contracts.receipts import Ran

if TYPE_CHECKING:
    from wherever_contracts.manifest import Variant
    from wherever_edge.engines.engine import Session
    from wherever_edge.packages.store import Package


def shares_runs(variant: Variant, session: Session) -> bool:
    """Whether rows of several calls may share a run of the engine."""
    every = (*session.inputs, *session.outputs)
    return variant.tensors.batch and all(spec.shape[:1] == (-1,) for spec in every)


def ran_by(package: Package, variant: Variant, session: Session) -> Ran:
    """What every answer of the variant's says of who ran."""
    facts = session.facts
    return Ran(
        model=package.name,
        version=package.version,
        variant=variant.id,
        package_digest=package.digest,
        variant_digest=package.variant_digest(variant.id),
        trust=package.trust,
        engine=facts.engine,
        engine_version=facts.version,
        provider=facts.provider,
        precision=facts.precision,
        threads=facts.threads,
    )
