"""Servers behind this one, as the service that passes calls on to them sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from wherever_contracts.wire.metadata import ModelMetadata
    from wherever_contracts.wire.tensors import InferRequest, InferResponse
    from wherever_edge.oip.admission import Grant, Served


class Elsewhere(Protocol):
    """A server behind this one that answers for some models."""

    def infer(self, request: InferRequest, grant: Grant) -> Forwarded:
        """Have it answer a call; raises as `wherever_edge.oip.client.RemoteHost.infer`."""
        ...

    def ready(self, model: str, version: str) -> bool:
        """Whether calls for the model can be answered there."""
        ...

    def metadata(self, model: str, version: str) -> ModelMetadata:
        """What it says about the model."""
        ...


class Forwarded(NamedTuple):
    """An answer from elsewhere, and what there is to count."""

    response: InferResponse
    served: Served


class Finder(Protocol):
    """Finds the server that answers for a model in place of this one."""

    def __call__(self, model: str, /) -> Elsewhere | None:
        """The server, if one does."""
        ...

    def __bool__(self) -> bool:
        """Whether there is any, for whatever model."""
        ...


class _Nowhere:
    """No other server answers for any model."""

    def __call__(self, _model: str, /) -> Elsewhere | None:
        return None

    def __bool__(self) -> bool:
        return False


nowhere: Finder = _Nowhere()
