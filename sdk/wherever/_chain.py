"""Two models as one: a small gate on this device decides whether, and what, the other is asked.

One deadline holds for both, one boundary, and one receipt tells of both.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Sequence
from itertools import chain as chained
from itertools import islice
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from wherever._batches import Wish
from wherever._chain_prediction import Carried, ChainPrediction, Part
from wherever._default import model as default_model
from wherever._handle import Model
from wherever._prediction import Prediction
from wherever._sending import Sending, sending_of
from wherever_contracts.durations import duration
from wherever_contracts.errors import (
    AttemptError,
    EngineError,
    InputError,
    NoRouteError,
    SettingsError,
    WhereverError,
)
from wherever_contracts.manifest import DetectionsValue, LabelValue
from wherever_contracts.values import Detection, Label, is_detections

if TYPE_CHECKING:
    from wherever_contracts.places import Boundary, Mode, Place, Priority

Send: TypeAlias = Literal["crop", "input"]
When: TypeAlias = Callable[[Any], bool]

# What the second model may fail with while the gate's answer still stands; the rest, such as an
# input that it does not take, is the caller's to hear.
_Failure: TypeAlias = AttemptError | EngineError | NoRouteError


class Gate(NamedTuple):
    """What of the first model's answer goes on; see `chain`."""

    send: Send
    when: When | None
    min_score: float
    margin: float
    top: int

    def passes(self, value: Any) -> bool:
        """Whether a detection or a label, or whatever else the first model gives, goes on."""
        sure = not isinstance(value, Detection | Label) or value.score >= self.min_score
        return sure and (self.when is None or bool(self.when(value)))

    def passed(self, value: Any) -> list[Any]:
        """What of an answer goes on: of detections the best, of anything else the whole."""
        if not is_detections(value):
            return [value] if self.passes(value) else []
        found = [each for each in value if self.passes(each)]
        found.sort(key=lambda each: -each.score)
        return found[: self.top if self.send == "crop" else 1]


class Asked(NamedTuple):
    """How one call of a chain is to be carried out."""

    key: tuple[Mode | None, Boundary | None, Collection[Place] | None]
    wish: Wish
    options: dict[str, float]


def chain(
    first: Model | str,
    /,
    then: Model | str,
    *,
    send: Send = "crop",
    when: When | None = None,
    min_score: float = 0.0,
    margin: float = 0.1,
    top: int = 16,
) -> Chain:
    """A handle that asks `first` on this device, and `then` about what it found.

    Args:
        first: the gate, a model or its name: a detector, or with `send="input"` any model.
        then: the model that is asked further, on whatever place its own plan says.
        send: "crop": what the gate found, each cut out of the image; "input": the input as it is.
        when: what else must be true of a detection (a `Detection`), a label (a `Label`) or another
            value of the gate, for it to go on.
        min_score: the least score of a detection or label that goes on.
        margin: how much of a box's width and height a crop has around it on each side. What a
            release rule lets out has none.
        top: the most crops of one image that go on, the best first.

    Raises:
        ModelNotFoundError: no model of that name is known here.
        SettingsError: the two do not fit together; the message says why.
        InputError: one of them is no model.
    """
    small, other = _model(first, "first"), _model(then, "then")
    gate = Gate(send, when, min_score, margin, top)
    _refuse_misfits(small, other, gate)
    return Chain(small, other, gate)


class Chain:
    """Two models, called as one; made by `wherever.chain`. Threads and tasks may share it."""

    def __init__(self, first: Model, then: Model, gate: Gate) -> None:
        self._first = first
        self._then = then
        self._gate = gate

    @property
    def name(self) -> str:
        """The names of both models."""
        return f"{self._first.name}, then {self._then.name}"

    def __call__(
        self,
        value: Any,
        /,
        *,
        mode: Mode | None = None,
        deadline_s: float | None = None,
        boundary: Boundary | None = None,
        places: Collection[Place] | None = None,
        cache: bool | None = None,
        strict: bool | None = None,
        priority: Priority = "interactive",
        **options: float,
    ) -> ChainPrediction:
        """Answer for one input.

        When the second model cannot answer, or the deadline leaves no time for it, the gate's
        answer is given, `degraded`, and `receipt.reason` says why.

        Args:
            value: the input of the first model.
            mode: which places the second model may use; the first runs on this device.
            deadline_s: seconds in which the answer of both is wanted.
            boundary: how far the data may travel; the strictest of this, the clients' and both
                packages' holds. What comes out of a release rule of the first package may travel
                as far as that says.
            places: narrows the second model's places further.
            cache: see `Model`; for both.
            strict: see `Model`; for both.
            priority: see `Model`; for both.
            options: numbers that the second model's signature declares.

        Raises:
            InputError: the input does not fit one of the models.
            NoRouteError: this device could not run the gate.
        """
        wish = self._first.wish(deadline_s, cache, strict, priority)
        asked = Asked((mode, boundary, places), wish, options)
        (end,) = self._answers([value], asked)
        if isinstance(end, Exception):
            raise end
        return end

    async def aio(self, value: Any, /, **arguments: Any) -> ChainPrediction:
        """The same call as a coroutine; all of it runs in a thread beside the loop."""
        return await self._first.client.in_thread(lambda: self(value, **arguments))

    def map(
        self,
        values: Iterable[Any],
        /,
        *,
        batch: int = 16,
        mode: Mode | None = None,
        deadline_s: float | None = None,
        boundary: Boundary | None = None,
        places: Collection[Place] | None = None,
        cache: bool | None = None,
        strict: bool | None = None,
        priority: Priority = "batch",
        **options: float,
    ) -> Iterator[ChainPrediction]:
        """Answer for many inputs, in their order, `batch` at a time.

        The crops of all images of a batch go to the second model as one batch.

        Args:
            values: the inputs, taken as they are needed.
            batch: inputs in hand at once, 1 or more.
            mode: as for a call, and so are the arguments that follow.
            deadline_s: seconds for each batch.
            boundary: see a call.
            places: see a call.
            cache: see a call.
            strict: see a call.
            priority: see a call; "batch" by default.
            options: see a call.

        Raises:
            InputError: an input does not fit; the answers before it have been given.
            NoRouteError: see a call.
        """
        if batch < 1:
            raise InputError("batch", "1 or more", str(batch), kind="argument")
        wish = self._first.wish(deadline_s, cache, strict, priority)
        asked = Asked((mode, boundary, places), wish, options)
        return self._mapped(iter(values), batch, asked)

    async def amap(
        self, values: Iterable[Any], /, **arguments: Any
    ) -> AsyncIterator[ChainPrediction]:
        """The same as `map`, for `async for`."""
        answers = self.map(values, **arguments)
        while found := await self._first.client.in_thread(lambda: list(islice(answers, 1))):
            yield found[0]

    def _mapped(self, values: Iterator[Any], batch: int, asked: Asked) -> Iterator[ChainPrediction]:
        while rows := list(islice(values, batch)):
            for end in self._answers(rows, asked):
                if isinstance(end, Exception):
                    raise end
                yield end

    def _answers(self, values: list[Any], asked: Asked) -> list[ChainPrediction | Exception]:
        """Carry out one batch: the gate for all, then the second model for all that passed."""
        started = perf_counter()
        if "later" in asked.options:
            raise InputError("later", "a call of one model", "a chain", kind="argument")
        checked, wrong = self._checked(values)
        boundary = asked.key[1]
        sending = sending_of(self._first, self._gate.send, self._gate.margin, boundary)
        here = asked.wish._replace(aim=None)  # a gate is asked of nobody else, however unsure it is
        gates = self._first.answers(checked, ("only_on_device", boundary, None), {}, here)
        passed = [
            [] if isinstance(gate, Exception) else self._gate.passed(gate.value) for gate in gates
        ]
        made = [
            [_made(sending, inputs, each) for each in found]
            for inputs, found in zip(checked, passed, strict=True)
        ]
        ends = iter(self._ask_then(list(chained(*made)), asked, sending, started))
        carried = Carried(self._then.name, sending, asked.wish.deadline_s, started)
        answers: list[ChainPrediction | Exception] = []
        for gate, found in zip(gates, passed, strict=True):
            if isinstance(gate, Exception):
                answers.append(gate)
                continue
            parts = tuple(Part(each, next(ends)) for each in found)
            answers.append(ChainPrediction(gate, parts, carried))
        return [*answers, *wrong]

    def _checked(self, values: list[Any]) -> tuple[list[dict[str, Any]], list[InputError]]:
        """The inputs up to the first that does not fit, and what is wrong with that."""
        checked: list[dict[str, Any]] = []
        for value in values:
            try:
                checked.append(self._first.edition.check(value))
            except InputError as error:
                return checked, [error]
        return checked, []

    def _ask_then(
        self, made: Sequence[Any], asked: Asked, sending: Sending, started: float
    ) -> list[Prediction | WhereverError]:
        """What the second model makes of each; what could not be made stays the error it is."""
        values = [each for each in made if not isinstance(each, InputError)]
        ends = iter(self._answered(values, asked, sending, started) if values else ())
        return [each if isinstance(each, InputError) else next(ends) for each in made]

    def _answered(
        self, values: list[Any], asked: Asked, sending: Sending, started: float
    ) -> Iterator[Prediction | WhereverError]:
        """Answers, and errors that leave the gate's answer standing; others are raised."""
        mode, _, places = asked.key
        wish = asked.wish
        if wish.deadline_s is not None:
            left_s = wish.deadline_s - (perf_counter() - started)
            if left_s <= 0:
                late = f"the gate left no time of the deadline ({duration(wish.deadline_s)})"
                yield from [NoRouteError(self._then.name, (), {self._then.name: late})] * len(
                    values
                )
                return
            wish = wish._replace(deadline_s=left_s)
        key = (mode, sending.boundary, places)
        for end in self._then.answers(values, key, asked.options, wish):
            if isinstance(end, Prediction | _Failure):
                yield end
            else:
                raise end

    def __repr__(self) -> str:
        return f"<wherever.Chain {self.name}>"


def _model(given: object, argument: str) -> Model:
    if isinstance(given, str):
        return default_model(given)
    if not isinstance(given, Model):
        expected = "a model, or the name of one"
        raise InputError(argument, expected, f"{given!r:.100}", kind="argument")
    return given


def _made(sending: Sending, inputs: dict[str, Any], found: Any) -> Any:
    """What goes on for something that was found, or why nothing can be made of it."""
    try:
        return sending.value(inputs, found)
    except InputError as error:
        return error


def _refuse_misfits(first: Model, then: Model, gate: Gate) -> None:
    if gate.send not in ("crop", "input"):
        raise SettingsError(f"send {gate.send!r} does not exist (there are: crop, input)")
    value = first.signature.value
    if gate.send == "crop" and not isinstance(value, DetectionsValue):
        raise SettingsError(
            f"{first.name!r} finds no boxes that could be cut out; use send='input'"
        )
    if gate.when is None and not isinstance(value, DetectionsValue | LabelValue):
        raise SettingsError(f"{first.name!r} gives no scores: say by when=... which answers go on")
    if gate.when is not None and not callable(gate.when):
        raise SettingsError(f"when: expected a function of one value, found {gate.when!r:.100}")
    if gate.top < 1 or not gate.margin >= 0:
        raise SettingsError(
            f"expected top of 1 or more and margin of 0 or more, found {gate.top}, {gate.margin}"
        )
    if gate.send == "crop":
        for each in (first, then):
            _refuse_other_than_one_image(each)


def _refuse_other_than_one_image(model: Model) -> None:
    kinds = [entry.kind for entry in model.signature.inputs]
    if kinds != ["image"]:
        raise SettingsError(
            f"{model.name!r} takes {', '.join(kinds)}; a chain sends crops from one image to one"
        )
