"""Many inputs of one model: answered a batch at a time, shown one after the other."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from time import perf_counter, time
from typing import TYPE_CHECKING, Any, NamedTuple

from wherever._drivers import drive_many
from wherever._prediction import Context, Prediction
from wherever._routing.flow import predict_flow
from wherever._routing.plan import check_words
from wherever._sharing import drive_many_kept
from wherever_contracts.errors import InputError
from wherever_contracts.urgency import CALM, Urgency

if TYPE_CHECKING:
    from wherever._calls import Call
    from wherever._edition import Edition
    from wherever._escalation.words import Aim
    from wherever._kept import KeptAnswers
    from wherever._route import Route
    from wherever._routing.steps import Verdict
    from wherever_contracts.places import Priority


class Wish(NamedTuple):
    """What many calls are given alike; see a call."""

    deadline_s: float | None
    cache: bool
    strict: bool
    priority: Priority
    aim: Aim | None = None
    record: float | None = None


def answer_batch(
    edition: Edition,
    route: Route,
    rows: list[Any],
    chosen: dict[str, float],
    kept: KeptAnswers | None,
    wish: Wish,
    sampled: Callable[[float | None], bool],
) -> Iterator[Prediction | Exception]:
    started = perf_counter()
    checked: list[dict[str, Any] | InputError] = []
    for row in rows:
        try:
            checked.append(edition.check(row))
        except InputError as error:
            checked.append(error)
            break
    inputs = [row for row in checked if isinstance(row, dict)]
    deadline_s = wish.deadline_s
    call = route.batch_call(
        inputs,
        chosen,
        kept=kept,
        urgency=urgency_of(wish.priority, deadline_s, started),
        strict=wish.strict,
    )
    for single in call.calls:
        if sampled(wish.record):
            single.outlook = single.expected()
    flows = [
        single.followed(
            predict_flow(route.plan, single.wary(call.senses), single.work, deadline_s, started)
        )
        for single in call.calls
    ]
    looked = [single.kept for single in call.calls if single.kept is not None]
    if looked:
        ends = drive_many_kept(flows, call, looked, call.calls[0].terms(deadline_s, started))
    else:
        ends = drive_many(flows, call)
    for end, row, single in zip(ends, inputs, call.calls, strict=True):
        if isinstance(end, Exception):
            yield end
        else:
            yield prediction_of(route, end, deadline_s, chosen, row, started, single)
    yield from (error for error in checked if isinstance(error, InputError))


def shown(
    batches: Iterable[list[Prediction | Exception]],
    total: int | None,
    name: str,
    *,
    wanted: bool | None,
) -> Iterator[Prediction]:
    """One prediction after the other, with a progress bar; an error is raised at its place."""
    with _progress_bar(total, name, wanted=wanted) as advance:
        for end in chain.from_iterable(batches):
            if isinstance(end, Exception):
                raise end
            yield end
            advance()


def urgency_of(priority: Priority, deadline_s: float | None, started: float) -> Urgency:
    if priority == CALM.priority and deadline_s is None:
        return CALM
    check_words(priority=priority)
    return Urgency(priority, None if deadline_s is None else started + deadline_s)


def prediction_of(
    route: Route,
    verdict: Verdict,
    deadline_s: float | None,
    options: dict[str, float],
    inputs: dict[str, Any],
    started: float,
    call: Call,
) -> Prediction:
    if call.trace is not None:
        call.trace.ended(verdict)
    total_s = perf_counter() - started
    context = Context(
        route.signature,
        route.plan,
        deadline_s,
        options,
        inputs,
        call.serial,
        time() - total_s,
        total_s,
        call.caches,
        () if route.device is None else route.device.passed_over,
        route.views,
        None,
        call.up_bytes,
        call.outlook,
        route.witness,
    )
    if route.escalation is not None:
        route.escalation.ended(route, call, verdict)
    prediction = Prediction(verdict, context)
    if call.outlook is not None:
        route.witness.record(prediction, call)
    return prediction


def _progress_bar(
    total: int | None, description: str, *, wanted: bool | None
) -> AbstractContextManager[Callable[[], None]]:
    """A progress bar when it is wanted, or when nobody said and a person is watching."""
    watched = sys.stderr is not None and sys.stderr.isatty()  # pythonw has no standard error
    if wanted is False or (wanted is None and not watched):
        return nullcontext(lambda: None)
    from wherever_edge.cli import progress  # noqa: PLC0415 (rich costs 60 ms)

    return progress(total, description)
