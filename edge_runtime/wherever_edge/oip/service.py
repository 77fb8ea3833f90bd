"""What a server of the protocol does, apart from how bytes reach it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from wherever_contracts.errors import (
    InputError,
    ModelNotFoundError,
    OverloadedError,
    WhereverError,
)
from wherever_contracts.manifest import signature_digest
from wherever_contracts.urgency import most_urgent
from wherever_contracts.wire.asked import (
    IDEMPOTENCY_KEY,
    RAW_MARK,
    SIGNATURE_KEY,
    VARIANT_KEY,
)
from wherever_contracts.wire.classification import (
    CLASSIFICATION,
    refuse_without_classes,
    with_classes,
)
from wherever_contracts.wire.metadata import ModelMetadata
from wherever_contracts.wire.said import ENGINE_KEY, LOAD_KEY, QUEUE_KEY, RAN_KEY
from wherever_contracts.wire.tensors import (
    InferRequest,
    InferResponse,
    Parameters,
    from_array,
)
from wherever_edge.inputs import check_options
from wherever_edge.oip.admission import Open, Served
from wherever_edge.oip.asking import (
    Asked,
    Known,
    Plan,
    alike,
    chosen,
    other_signature,
    text_of,
    urgency_of,
)
from wherever_edge.oip.bare_tensors import feed_of
from wherever_edge.oip.elsewhere import Finder, Forwarded, nowhere
from wherever_edge.oip.saying import (
    PLATFORM,
    answer_parameters,
    input_metadata,
    ran_json,
    tensor_metadata,
)

if TYPE_CHECKING:
    from wherever_contracts.receipts import Answer, Ran
    from wherever_edge.host import LoadedVariant, LocalHost
    from wherever_edge.oip.admission import Admission, Caller, Grant
    from wherever_edge.oip.keys import KeyInfo
    from wherever_edge.queueing.run_queue import RunQueue


class InferenceService:
    """Answers the protocol's requests from a host's models. Safe to use from many threads.

    `NAME` means a model: the signature's inputs in, its outputs out, by the variant that the host
    chooses or that the parameter `variant` names. `NAME--VARIANT` means the bare tensors of one
    variant, without its pipeline.

    Args:
        host: where the models are; its queue bounds the calls of every front together.
        parameters: put into every response.
        admission: decides about every call, and is told how it ended.
        elsewhere: the server that answers for a model in place of this one, if one does.

    Attributes:
        turned_away: is told of a call that was refused before its message was read.
    """

    def __init__(
        self,
        host: LocalHost,
        parameters: Parameters,
        admission: Admission | None = None,
        elsewhere: Finder = nowhere,
    ) -> None:
        self.host = host
        self._parameters = parameters
        self._admission: Admission = admission or Open()
        self.turned_away = self._admission.turned_away
        self._elsewhere = elsewhere
        self._known: dict[Ran, Known] = {}

    @property
    def queue(self) -> RunQueue:
        """Where calls wait, with counts of those refused and dropped."""
        return self.host.queue

    def infer(self, request: InferRequest, caller: Caller) -> InferResponse:
        """Answer a call.

        Raises:
            InputError: an input, option or output name does not fit the signature.
            ForbiddenError: its key may not do this.
            RefusedError: the caller knows another signature than the model has here.
            OverloadedError: too many calls are waiting, or its key has used up what it was given.
            DeadlineError: nobody waits for the answer any more; nothing was run.
            WhereverError: whatever the host raises.
        """
        grant = self._admission.admit(request, caller, urgency_of(request.parameters, caller))
        if grant.kept is not None:
            return grant.kept._replace(id=request.id)
        try:
            response, served = self._answer(request, grant)
        except ModelNotFoundError as error:
            grant.failed(error)
            raise self.discreet(error, request.model, caller.key) from error
        except BaseException as error:
            grant.failed(error)
            raise
        grant.answered(response, served)
        return response

    def infer_many(
        self, requests: Sequence[InferRequest], callers: Sequence[Caller]
    ) -> list[InferResponse | Exception]:
        """Answer calls for one model, those that can share a run of the engine in one.

        Each gets its own answer or error, in its place; errors are those of `infer`.
        """
        model = requests[0].model
        if len(requests) == 1 or RAW_MARK in model or self._elsewhere(model) is not None:
            return list(map(self._answer_or_error, requests, callers))
        asked = self._enter_all(requests, callers)
        answers: list[InferResponse | Exception | None] = [
            None if isinstance(each, Asked) else each for each in asked
        ]
        for together in alike(asked):
            for at, answer in zip(together, self._answer_together(together.values()), strict=True):
                answers[at] = answer
        return [answer for answer in answers if answer is not None]

    @property
    def answers_all(self) -> bool:
        """Whether no other server answers in place of this one, whatever the model."""
        return not self._elsewhere

    def is_elsewhere(self, model: str) -> bool:
        """Whether another server answers for the model in place of this one."""
        return self._elsewhere(model) is not None

    def together(self, request: InferRequest) -> int:
        """With how many of its model, itself included, a call gains by `infer_many`.

        0: it takes so little that no other call should be started for it; 1: it does not gain.
        """
        parameters = request.parameters
        variant = parameters.get(VARIANT_KEY, "")
        if IDEMPOTENCY_KEY in parameters:  # its answer may have to be looked for
            return 1
        if RAW_MARK in request.model or self._elsewhere(request.model) is not None:
            return 1
        loaded = self.host.resolved(request.model, request.version, str(variant))
        return 1 if loaded is None else loaded.together

    def sees(self, key: KeyInfo | None, model: str) -> bool:
        """Whether a model is there for who brings this key (None for no key)."""
        return self._admission.may_see(key, model)

    def discreet(
        self, error: ModelNotFoundError, model: str, key: KeyInfo | None
    ) -> ModelNotFoundError:
        """The same error, or one without the names of models that only others may see."""
        if all(self.sees(key, package.name) for package in self.host.store.list()):
            return error
        return ModelNotFoundError(f"no model {model[:80]!r} is known here, or not in that version")

    def retry_after_s(self, error: OverloadedError) -> float:
        """When a call that was refused with `error` may find room."""
        return self.queue.retry_after_s() if error.retry_after_s is None else error.retry_after_s

    def model_ready(self, model: str, version: str) -> bool:
        """True when calls for the model can be answered; it is loaded if need be."""
        elsewhere = self._elsewhere(model)
        if elsewhere is not None:
            return elsewhere.ready(model, version)
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
        elsewhere = self._elsewhere(model)
        if elsewhere is not None:
            return elsewhere.metadata(model, version)
        if RAW_MARK in model:
            return self._raw_metadata(model, version)
        package = self.host.store.get(f"{model}@{version}" if version else model)
        known = [p.version for p in self.host.store.list() if p.name == package.name]
        signature = package.manifest.signature
        return ModelMetadata(
            model,
            (package.version,) if version else tuple(known),
            PLATFORM,
            tuple(map(input_metadata, signature.inputs)),
            tuple(map(tensor_metadata, signature.outputs)),
        )

    def _answer(self, request: InferRequest, grant: Grant) -> Forwarded:
        elsewhere = self._elsewhere(request.model)
        if elsewhere is not None:
            response, served = elsewhere.infer(request, grant)
            said = {**response.parameters, **self._parameters}
            return Forwarded(response._replace(parameters=said), served)
        if RAW_MARK in request.model:
            return self._answer_raw(request, grant)
        asked = self._read(request, grant)
        queue = self.host.queue
        with queue.admit(grant.urgency):
            answer = asked.plan.loaded.answer(asked.inputs, asked.plan.options, grant.urgency)
            load = queue.crowding()
        return self._told(asked, answer, load)

    def _read(self, request: InferRequest, grant: Grant, before: Asked | None = None) -> Asked:
        """Read a call; what the one `before` it asked for need not be found out again."""
        if before is not None and before.plan.fits(request, before.request):
            plan = before.plan
        else:
            plan = self._planned(request)
        return Asked(request, grant, plan, plan.loaded.wire_inputs.read(request.inputs))

    def _planned(self, request: InferRequest) -> Plan:
        parameters = request.parameters
        loaded = self.host.resolve(request.model, request.version, text_of(parameters, VARIANT_KEY))
        known = self._known.get(loaded.ran) or self._learn(loaded)
        if text_of(parameters, SIGNATURE_KEY) not in ("", known.digest):
            raise other_signature(loaded)
        names = chosen(request.outputs, known.outputs)
        if request.classes:
            refuse_without_classes(dict(request.classes), loaded.signature)
        options: Mapping[str, float] = {}
        if known.options:
            given = {name: parameters[name] for name in known.options & parameters.keys()}
            options = check_options(loaded.signature, given)
        return Plan(loaded, known, names, options)

    def _told(self, asked: Asked, answer: Answer, load: float) -> Forwarded:
        loaded, known, names, _ = asked.plan
        said = answer_parameters(known.parameters, answer, loaded.ran)
        said[LOAD_KEY] = load
        outputs = answer.outputs
        if asked.request.classes:
            outputs = with_classes(outputs, dict(asked.request.classes), loaded.signature)
        tensors = tuple([from_array(name, outputs[name]) for name in names])
        response = InferResponse(*loaded.ran[:2], asked.request.id, said, tensors)
        ran = answer.ran
        served = Served(
            ran.model, ran.version, ran.variant, answer.queue_s, answer.engine_s, answer.rows
        )
        return Forwarded(response, served)

    def _answer_or_error(self, request: InferRequest, caller: Caller) -> InferResponse | Exception:
        try:
            return self.infer(request, caller)
        except Exception as error:  # noqa: BLE001 (each call of several has its own)
            return error

    def _enter_all(
        self, requests: Sequence[InferRequest], callers: Sequence[Caller]
    ) -> list[Asked | InferResponse | Exception]:
        """Let calls of one model in."""
        asked: list[Asked | InferResponse | Exception] = []
        before: Asked | None = None
        for request, caller in zip(requests, callers, strict=True):
            entered = self._enter(request, caller, before)
            if isinstance(entered, Asked):
                before = entered
            asked.append(entered)
        return asked

    def _enter(
        self, request: InferRequest, caller: Caller, before: Asked | None
    ) -> Asked | InferResponse | Exception:
        """A call that was let in and read, or how it has ended already."""
        try:
            grant = self._admission.admit(request, caller, urgency_of(request.parameters, caller))
        except Exception as error:  # noqa: BLE001 (each call of several has its own)
            return error
        if grant.kept is not None:
            return grant.kept._replace(id=request.id)
        try:
            return self._read(request, grant, before)
        except ModelNotFoundError as error:
            grant.failed(error)
            return self.discreet(error, request.model, caller.key)
        except Exception as error:  # noqa: BLE001 (each call of several has its own)
            grant.failed(error)
            return error

    def _answer_together(self, asked: Collection[Asked]) -> list[InferResponse | Exception]:
        """Answer calls of one variant with the same options."""
        try:
            with self.queue.admit_many([each.grant.urgency for each in asked]) as refused:
                inside = [each for each, why in zip(asked, refused, strict=True) if why is None]
                answers = iter(_answers(inside))
                load = self.queue.crowding()
        except Exception as error:  # noqa: BLE001 (told to each of them)
            return [_failed(each, error) for each in asked]
        return [
            self._ended(each, next(answers) if why is None else why, load)
            for each, why in zip(asked, refused, strict=True)
        ]

    def _ended(
        self, asked: Asked, answer: Answer | WhereverError, load: float
    ) -> InferResponse | Exception:
        if isinstance(answer, WhereverError):
            return _failed(asked, answer)
        response, served = self._told(asked, answer, load)
        asked.grant.answered(response, served)
        return response

    def _answer_raw(self, request: InferRequest, grant: Grant) -> Forwarded:
        name, _, variant = request.model.partition(RAW_MARK)
        loaded = self.host.resolve(name, request.version, variant)
        session = loaded.session
        if request.classes:
            raise InputError(request.classes[0][0], "bare tensors as they are", CLASSIFICATION)
        names = chosen(request.outputs, [spec.name for spec in session.outputs])
        feed = feed_of(session.inputs, request.inputs)
        del session  # one that is held while its call waits could not leave the memory
        with self.queue.admit(grant.urgency):
            ran = loaded.resident.run(feed, grant.urgency)
            load = self.queue.crowding()
        response = InferResponse(
            request.model,
            loaded.package.version,
            request.id,
            {
                **self._parameters,
                RAN_KEY: ran_json(loaded.ran),
                ENGINE_KEY: ran.engine_s,
                QUEUE_KEY: ran.queue_s,
                LOAD_KEY: load,
            },
            tuple(from_array(name, ran.outputs[name]) for name in names),
        )
        model, version, variant = loaded.ran[:3]
        served = Served(model, version, variant, ran.queue_s, ran.engine_s, ran.rows)
        return Forwarded(response, served)

    def _raw_metadata(self, model: str, version: str) -> ModelMetadata:
        name, _, variant = model.partition(RAW_MARK)
        loaded = self.host.resolve(name, version, variant)
        tensors = loaded.variant.tensors
        return ModelMetadata(
            model,
            (loaded.package.version,),
            PLATFORM,
            tuple(map(tensor_metadata, tensors.inputs)),
            tuple(map(tensor_metadata, tensors.outputs)),
        )

    def _learn(self, loaded: LoadedVariant) -> Known:
        signature = loaded.signature
        known = self._known[loaded.ran] = Known(
            outputs=tuple(entry.name for entry in signature.outputs),
            options=frozenset(option.name for option in signature.options),
            digest=signature_digest(signature),
            parameters={**self._parameters, RAN_KEY: ran_json(loaded.ran)},
        )
        return known


def _answers(asked: Sequence[Asked]) -> list[Answer | WhereverError]:
    if not asked:
        return []
    plan = asked[0].plan
    urgency = most_urgent([each.grant.urgency for each in asked])
    inputs = [each.inputs for each in asked]
    return plan.loaded.answer_many(inputs, plan.options, urgency, if_it_pays=True)


def _failed(asked: Asked, error: Exception) -> Exception:
    asked.grant.failed(error)
    return error
