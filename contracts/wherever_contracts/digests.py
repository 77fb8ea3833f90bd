"""Digests of things that two hosts must agree on."""

from __future__ import annotations

import hashlib
import json

from wherever_contracts.manifest import Signature


def signature_digest(signature: Signature) -> str:
    """The sha256, in hex, of what the signature says.

    Fields at their defaults do not count, so that a newer schema with one more optional field
    gives the same digest for the same signature.
    """
    said = signature.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    canonical = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
