"""What a server of the protocol does, apart from how bytes reach it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple, Protocol

from wherever_contracts.errors import InputError, RefusedError, WhereverError
from wherever_contracts.manifest import InputEntry, TensorEntry, signature_digest
from wherever_contracts.places import PRIORITIES, Priority
from wherever_contracts.tensors import WIRE_TYPES, Array, describe
from wherever_contracts.urgency import CALM, Urgency
from wherever_contracts.wire.metadata import ModelMetadata, ServerMetadata, TensorMetadata
from wherever_contracts.wire.said import (
    CONFIDENCE_KEY,
    ENGINE_KEY,
    LOAD_KEY,
    QUEUE_KEY,
    RAN_KEY,
    ROWS_KEY,
    SUBSTITUTED_KEY,
)
from wherever_contracts.wire.tensors import (
    InferRequest,
    InferResponse,
    Parameters,
    WireTensor,
    from_array,
    to_array,
)
from wherever_edge.inputs import check_options

if TYPE_CHECKING:
    from wherever_contracts.receipts import Answer, Ran
    from wherever_contracts.tensors import TensorSpec
    from wherever_edge.host import LoadedVariant, LocalHost
    from wherever_edge.queueing.run_queue import RunQueue

PLATFORM = "wherever"
EXTENSION = "wherever"

# between a model's name and a variant's id: no name has it
RAW_MARK = "--"

# parameter of a request: who goes first where calls wait; numbers, as other clients send, are not
# ours and change nothing
PRIORITY_KEY = "priority"
_PRIORITIES: dict[object, Priority] = {priority: priority for priority in PRIORITIES}


class Caller(Protocol):
    """Who waits for an answer; gRPC's servicer context is one."""

    def time_remaining(self) -> float | None:
        """Seconds until the answer is of no use, None for no limit."""
        ...

    def is_active(self) -> bool:
        """False when nobody waits any more."""
        ...


class InferenceService:
    """Answers the protocol's requests from a host's models. Safe to use from many threads.

    `NAME` means a model: the signature's inputs in, its outputs out, by the variant that the host
    chooses or that the parameter `variant` names. `NAME--VARIANT` means the bare tensors of one
    variant, without its pipeline.

    Args:
        host: where the models are; its queue bounds the calls of every front together.
        parameters: put into every response.
    """

    def __init__(self, host: LocalHost, parameters: Parameters) -> None:
        self.host = host
        self._parameters = parameters
        self._known: dict[Ran, _Known] = {}

    @property
    def queue(self) -> RunQueue:
        """Where calls wait, with counts of those refused and dropped."""
        return self.host.queue

    def infer(self, request: InferRequest, caller: Caller) -> InferResponse:
        """Answer a call.

        Raises:
            InputError: an input, option or output name does not fit the signature.
            RefusedError: the caller knows another signature than the model has here.
            OverloadedError: too many calls are waiting.
            DeadlineError: nobody waits for the answer any more; nothing was run.
            WhereverError: whatever the host raises.
        """
        if RAW_MARK in request.model:
            return self._infer_raw(request, caller)
        parameters = request.parameters
        loaded = self.host.resolve(request.model, request.version, _text(parameters, "variant"))
        known = self._known.get(loaded.ran) or self._learn(loaded)
        if _text(parameters, "signature") not in ("", known.digest):
            raise _other_signature(loaded)
        names = _chosen(request.outputs, known.outputs)
        inputs = loaded.wire_inputs.read(request.inputs)
        options = check_options(
            loaded.signature, {name: parameters[name] for name in known.options & parameters.keys()}
        )
        urgency = _urgency(parameters, caller)
        with self.queue.admit(urgency):
            answer = loaded.answer(inputs, options, urgency)
            load = self.queue.crowding()
        said = _answer_parameters(known.parameters, answer, loaded.ran)
        said[LOAD_KEY] = load
        return InferResponse(
            loaded.package.name,
            loaded.package.version,
            request.id,
            said,
            tuple([from_array(name, answer.outputs[name]) for name in names]),
        )

    def model_ready(self, model: str, version: str) -> bool:
        """True when calls for the model can be answered; it is loaded if need be."""
        name, _, variant = model.partition(RAW_MARK)
        try:
            self.host.resolve(name, version, variant)
        except WhereverError:
            return False
        return True

    def model_metadata(self, model: str, version: str) -> ModelMetadata:
        """What there is to know about a model, or about the tensors of one variant.

        Raises:
            ModelNotFoundError: no such model, version or variant is here.
        """
        if RAW_MARK in model:
            return self._raw_metadata(model, version)
        package = self.host.store.get(f"{model}@{version}" if version else model)
        known = [p.version for p in self.host.store.list() if p.name == package.name]
        signature = package.manifest.signature
        return ModelMetadata(
            model,
            (package.version,) if version else tuple(known),
            PLATFORM,
            tuple(map(_input_metadata, signature.inputs)),
            tuple(map(_tensor_metadata, signature.outputs)),
        )

    def _infer_raw(self, request: InferRequest, caller: Caller) -> InferResponse:
        name, _, variant = request.model.partition(RAW_MARK)
        loaded = self.host.resolve(name, request.version, variant)
        session = loaded.session
        names = _chosen(request.outputs, [spec.name for spec in session.outputs])
        feed = _feed(session.inputs, request.inputs)
        del session  # one that is held while its call waits could not leave the memory
        urgency = _urgency(request.parameters, caller)
        with self.queue.admit(urgency):
            ran = loaded.resident.run(feed, urgency)
            load = self.queue.crowding()
        return InferResponse(
            request.model,
            loaded.package.version,
            request.id,
            {
                **self._parameters,
                RAN_KEY: _ran_json(loaded.ran),
                ENGINE_KEY: ran.engine_s,
                QUEUE_KEY: ran.queue_s,
                LOAD_KEY: load,
            },
            tuple(from_array(name, ran.outputs[name]) for name in names),
        )

    def _raw_metadata(self, model: str, version: str) -> ModelMetadata:
        name, _, variant = model.partition(RAW_MARK)
        loaded = self.host.resolve(name, version, variant)
        tensors = loaded.variant.tensors
        return ModelMetadata(
            model,
            (loaded.package.version,),
            PLATFORM,
            tuple(map(_tensor_metadata, tensors.inputs)),
            tuple(map(_tensor_metadata, tensors.outputs)),
        )

    def _learn(self, loaded: LoadedVariant) -> _Known:
        signature = loaded.signature
        known = self._known[loaded.ran] = _Known(
            outputs=tuple(entry.name for entry in signature.outputs),
            options=frozenset(option.name for option in signature.options),
            digest=signature_digest(signature),
            parameters={**self._parameters, RAN_KEY: _ran_json(loaded.ran)},
        )
        return known


class _Known(NamedTuple):
    """What is the same for every call of a loaded variant."""

    outputs: tuple[str, ...]
    options: frozenset[str]
    digest: str
    parameters: Parameters


@cache
def server_metadata() -> ServerMetadata:
    """What a server of ours says about itself."""
    from importlib.metadata import version  # noqa: PLC0415 (28 ms)

    return ServerMetadata(PLATFORM, version("wherever"), (EXTENSION,))


def _text(parameters: Parameters, name: str) -> str:
    value = parameters.get(name, "")
    if not isinstance(value, str):
        raise InputError(name, "a string parameter", repr(value))
    return value


def _urgency(parameters: Parameters, caller: Caller) -> Urgency:
    priority = _PRIORITIES.get(parameters.get(PRIORITY_KEY), CALM.priority)
    left_s = caller.time_remaining()
    deadline = None if left_s is None else perf_counter() + left_s
    return Urgency(priority, deadline, lambda: not caller.is_active())


def _other_signature(loaded: LoadedVariant) -> RefusedError:
    return RefusedError(
        f"the caller's signature of {loaded.package.name!r} is not that of version "
        f"{loaded.package.version}, which is served here; update the package on one side"
    )


def _chosen(wanted: Sequence[str], known: Sequence[str]) -> Sequence[str]:
    for name in wanted:
        if name not in known:
            raise InputError(name, f"an output's name ({', '.join(known)})", "an unknown name")
    return wanted or known


def _answer_parameters(same: Parameters, answer: Answer, planned: Ran) -> Parameters:
    parameters = same.copy()
    if answer.ran is not planned:
        parameters[RAN_KEY] = _ran_json(answer.ran)
    if answer.substituted:
        parameters[SUBSTITUTED_KEY] = json.dumps(answer.substituted)
    parameters[ENGINE_KEY] = answer.engine_s
    parameters[QUEUE_KEY] = answer.queue_s
    if answer.rows > 1:
        parameters[ROWS_KEY] = answer.rows
    if answer.confidence is not None:
        parameters[CONFIDENCE_KEY] = answer.confidence
    return parameters


def _ran_json(ran: Ran) -> str:
    return json.dumps(ran._asdict(), separators=(",", ":"))


def _feed(specs: Sequence[TensorSpec], tensors: Sequence[WireTensor]) -> dict[str, Array]:
    given = {tensor.name: tensor for tensor in tensors}
    expected = {spec.name for spec in specs}
    if given.keys() != expected or len(given) != len(tensors):
        found = ", ".join(tensor.name for tensor in tensors) or "none"
        raise InputError("", f"the tensors {', '.join(sorted(expected))}, each once", found)
    return {spec.name: _fitting(spec, given[spec.name]) for spec in specs}


def _fitting(spec: TensorSpec, tensor: WireTensor) -> Array:
    try:
        array = to_array(tensor)
    except ValueError as error:
        found = f"{tensor.datatype}{list(tensor.shape)}"
        raise InputError(spec.name, str(error), found) from error
    if not spec.admits(array):
        raise InputError(spec.name, str(spec), describe(array))
    return array


def _tensor_metadata(entry: TensorEntry) -> TensorMetadata:
    return TensorMetadata(entry.name, WIRE_TYPES[entry.dtype], entry.shape)


def _input_metadata(entry: InputEntry) -> TensorMetadata:
    if entry.dtype is None or entry.shape is None:  # an image, a text, or bytes
        return TensorMetadata(entry.name, "BYTES", (1,))
    return TensorMetadata(entry.name, WIRE_TYPES[entry.dtype], entry.shape)
