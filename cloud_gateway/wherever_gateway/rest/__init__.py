"""The REST front: the protocol over HTTP and typed calls, beside gRPC and from the same service."""

from __future__ import annotations

from wherever_gateway.rest.front import RestFront

__all__ = ["RestFront"]
