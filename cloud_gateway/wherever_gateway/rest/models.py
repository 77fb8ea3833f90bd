"""What there is to say about the models of a gateway, for those who call them by their types."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from time import monotonic
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from wherever_contracts.errors import (
    BadAnswerError,
    ModelNotFoundError,
    PackageError,
    WhereverError,
)
from wherever_contracts.manifest import InputEntry, Signature, TensorEntry, TensorsValue
from wherever_contracts.tensors import DTYPE_OF_WIRE
from wherever_contracts.wire.asked import RAW_MARK
from wherever_edge.packages.golden_frames import read_sample
from wherever_gateway.rest.examples import example_of, invented_example

if TYPE_CHECKING:
    from wherever_contracts.wire.metadata import ModelMetadata, TensorMetadata
    from wherever_edge.oip.service import InferenceService
    from wherever_edge.packages.package import Package

# how long what another server says about a model is taken for true
_BELIEVED_S = 30.0
_MOST_KEPT = 1024


class Described(NamedTuple):
    """What is told of a model.

    Attributes:
        name: its name.
        version: the version that answers where none is asked for.
        versions: every version that is here.
        signature: what it takes and gives.
        summary: what it is for, in a sentence.
        licence: under which licence.
        boundary: how far its inputs may travel.
        variants: the ids of what can run.
        example: a call that gets an answer, its fields by name.
    """

    name: str
    version: str
    versions: tuple[str, ...]
    signature: Signature
    summary: str = ""
    licence: str = ""
    boundary: str = ""
    variants: tuple[str, ...] = ()
    example: Mapping[str, Any] = MappingProxyType({})

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data."""
        signature = self.signature.model_dump(mode="json", by_alias=True, exclude_none=True)
        told = ("name", "version", "versions", "summary", "licence", "boundary")
        about = {name: getattr(self, name) for name in told}
        return {**about, **signature, "predict": f"/v1/models/{self.name}:predict"}


def no_others() -> Collection[str]:
    """No other server's model is named."""
    return ()


class Models:
    """Describes the models of a service. Safe to use from many threads.

    Args:
        service: answers for them.
        others: the names of the models that other servers answer for in its place.
    """

    def __init__(
        self, service: InferenceService, others: Callable[[], Collection[str]] = no_others
    ) -> None:
        self._service = service
        self._others = others
        self._absent: dict[str, float] = {}
        self._store = service.host.store
        self._examples: dict[str, dict[str, Any]] = {}
        self._elsewhere: dict[tuple[str, str], tuple[float, Signature]] = {}

    def list(self, sees: Callable[[str], bool]) -> list[Described]:
        """The models that are served and that `sees` lets through.

        Those of other servers are among them when they are named in full, and can be asked.
        """
        own = {package.name for package in self._store.list() if self._is_own(package.name)}
        found = [self._of_package(self._store.get(name)) for name in own if sees(name)]
        far = [self._of_other(name) for name in self._others() if sees(name)]
        return sorted([*found, *filter(None, far)], key=lambda each: each.name)

    def get(self, model: str, version: str) -> Described:
        """A model, one of this server's own packages or not.

        Raises:
            ModelNotFoundError: there is none of that name and version, or it was unloaded.
            AttemptError: it is another server's, which does not answer.
        """
        if RAW_MARK in model or self._service.is_elsewhere(model):
            signature = self.signature(model, version)
            return Described(model, version, (), signature, example=invented_example(signature))
        return self._of_package(self._package(model, version))

    def signature(self, model: str, version: str) -> Signature:
        """What a model takes and gives.

        That is bare tensors for another server's model, and for one variant without its pipeline.

        Raises:
            ModelNotFoundError: there is none of that name and version, or it was unloaded.
            AttemptError: it is another server's, which does not answer.
        """
        if RAW_MARK not in model and not self._service.is_elsewhere(model):
            return self._package(model, version).manifest.signature
        known = self._elsewhere.get((model, version))
        if known is not None and monotonic() < known[0]:
            return known[1]
        signature = _signature(self._service.model_metadata(model, version))
        if len(self._elsewhere) >= _MOST_KEPT:
            self._elsewhere.clear()
        self._elsewhere[model, version] = monotonic() + _BELIEVED_S, signature
        return signature

    def _is_own(self, name: str) -> bool:
        return self._service.host.offers(name) and not self._service.is_elsewhere(name)

    def _of_other(self, name: str) -> Described | None:
        """Another server's model; None where that cannot be asked, and for a while after."""
        if monotonic() < self._absent.get(name, 0.0):
            return None
        try:
            return self.get(name, "")
        except WhereverError:
            self._absent[name] = monotonic() + _BELIEVED_S
            return None

    def _package(self, model: str, version: str) -> Package:
        package = self._store.get(f"{model}@{version}" if version else model)
        if not self._service.host.offers(package.name):
            raise ModelNotFoundError(f"model {package.name!r} was unloaded; load it first")
        return package

    def _of_package(self, package: Package) -> Described:
        manifest = package.manifest
        here = [each.version for each in self._store.list() if each.name == package.name]
        return Described(
            package.name,
            package.version,
            tuple(here),
            manifest.signature,
            manifest.summary,
            manifest.licence,
            manifest.boundary,
            tuple(variant.id for variant in package.present()),
            self._example(package),
        )

    def _example(self, package: Package) -> dict[str, Any]:
        if package.digest not in self._examples:
            if len(self._examples) >= _MOST_KEPT:
                self._examples.clear()
            self._examples[package.digest] = _golden_example(package)
        return self._examples[package.digest]


def _golden_example(package: Package) -> dict[str, Any]:
    """The smallest golden sample as a call; an invented one where there is none."""
    signature = package.manifest.signature
    listed = sorted(package.manifest.golden, key=lambda each: each.file.bytes)
    for golden in listed[:1]:
        try:
            sample = read_sample(golden.file.path, package.read(golden.file))
            return example_of(signature, sample.inputs(), sample.options)
        except (PackageError, ValueError, KeyError):
            continue
    return invented_example(signature)


def _signature(metadata: ModelMetadata) -> Signature:
    """A signature of bare tensors, as far as metadata tells.

    Raises:
        BadAnswerError: it tells too little.
    """
    try:
        return Signature(
            inputs=tuple(map(_input, metadata.inputs)),
            outputs=tuple(
                TensorEntry(name=t.name, dtype=DTYPE_OF_WIRE[t.datatype], shape=t.shape)
                for t in metadata.outputs
            ),
            value=TensorsValue(kind="tensors"),
        )
    except (KeyError, ValueError) as error:
        words = f"the metadata of {metadata.name!r} does not say what it takes and gives"
        raise BadAnswerError(words) from error


def _input(tensor: TensorMetadata) -> InputEntry:
    dtype = DTYPE_OF_WIRE[tensor.datatype]
    if dtype == "bytes" and tensor.shape == (1,):  # an image, a text or a file: which is not said
        return InputEntry(name=tensor.name, kind="bytes")
    return InputEntry(name=tensor.name, kind="tensor", dtype=dtype, shape=tensor.shape)
