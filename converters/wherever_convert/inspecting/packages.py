"""What is in a package: its variants, what was measured of them, and where they came from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from wherever_contracts.certificate import Certificate, parse_certificate

if TYPE_CHECKING:
    from wherever_contracts.manifest import CertificateEntry, Variant
    from wherever_edge.packages.package import Package


def package_data(package: Package, path: Path) -> dict[str, Any]:
    """All that is to be said of a package, as plain data; every file of it is checked first.

    Args:
        package: the package, opened.
        path: where it was given.

    Raises:
        PackageError: a file is not what `model.json` says, or a certificate is none.
    """
    package.verify()
    manifest = package.manifest
    signature = manifest.signature.model_dump(mode="json", exclude_none=True)
    present = {variant.id for variant in package.present()}
    return {
        "path": str(path),
        "name": manifest.name,
        "version": manifest.version,
        "digest": package.digest,
        "summary": manifest.summary,
        "licence": manifest.licence,
        "boundary": manifest.boundary,
        "reference": manifest.reference,
        "signature": signature,
        "variants": [_variant(each, here=each.id in present) for each in manifest.variants],
        "certificates": [_certified(package, each) for each in manifest.certificates],
        "golden": len(manifest.golden),
        "files": [entry.path for entry in manifest.files],
        "provenance": dict(manifest.provenance),
    }


def _variant(variant: Variant, *, here: bool) -> dict[str, Any]:
    calibration = variant.calibration
    return {
        "id": variant.id,
        "format": variant.format,
        "precision": variant.precision,
        "bytes": sum(entry.bytes for entry in variant.files),
        "here": here,
        "places": list(variant.places),
        "engines": list(variant.needs.engines),
        "batch": variant.tensors.batch,
        "steps": [step.op for step in (*variant.pipeline.pre, *variant.pipeline.post)],
        "quality": [each.model_dump(mode="json") for each in variant.quality],
        "escalate_below": variant.escalate_below,
        "calibration": None
        if calibration is None
        else {"against": calibration.against, "dataset": calibration.dataset, "n": calibration.n},
    }


def _certified(package: Package, entry: CertificateEntry) -> dict[str, Any]:
    certificate = parse_certificate(package.read(entry.file), entry.file.path)
    valid = certificate.about == package.answers_digest(entry.variant)
    return {"variant": entry.variant, "engine": entry.engine, "valid": valid, **_said(certificate)}


def _said(certificate: Certificate) -> dict[str, Any]:
    metric, agreement = certificate.metric, certificate.agreement
    return {
        "metric": metric.name,
        "value": metric.value,
        "low": metric.low,
        "high": metric.high,
        "drop": metric.drop,
        "agreement": agreement.value,
        "n": certificate.dataset.n,
        "dataset": certificate.dataset.name,
        "latency_s": certificate.latency.median_s,
        "of_float": certificate.latency.of_float,
        "memory_peak_bytes": certificate.memory_peak_bytes,
    }
