"""The handle of a model: callable, thread-safe, typed by its signature."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sized
from contextvars import copy_context
from functools import partial
from itertools import islice
from random import random
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeAlias

from wherever._aiming import aim_of, aimed, recorded_share
from wherever._batches import Wish, answer_batch, prediction_of, shown, urgency_of
from wherever._drivers import drive, drive_async
from wherever._planned import Planned
from wherever._route import DEVICE
from wherever._routing.flow import predict_flow
from wherever._routing.plan import check_words
from wherever._sharing import drive_kept, drive_kept_async
from wherever_contracts.errors import InputError, NoRouteError

_NOTHING_GIVEN = (None, None, None, None)

Progress: TypeAlias = Callable[[str, int, int | None], None]

if TYPE_CHECKING:
    from wherever._client import Client
    from wherever._escalation.words import Aim, Budget
    from wherever._prediction import Prediction
    from wherever_contracts.places import Boundary, Mode, Place, Priority
    from wherever_edge.packages.store import Package


class Model(Planned):
    """A model, ready to be called.

    Made by `wherever.model(name)` or `Client.model(name)`. One handle may be used from many
    threads and tasks at once.
    """

    def __init__(self, client: Client, name: str, package: Package) -> None:
        super().__init__(client, name, package)
        settings = client.settings
        self._cached = settings.cache
        self._strict = settings.strict
        self._aim = aim_of(settings)
        self._share = settings.record

    def __call__(
        self,
        value: Any,
        /,
        *,
        mode: Mode | None = None,
        deadline_s: float | None = None,
        boundary: Boundary | None = None,
        places: Collection[Place] | None = None,
        max_disagreement: float | None = None,
        confidence: float | None = None,
        min_confidence: float | None = None,
        budget: Mapping[str, float] | Budget | None = None,
        cache: bool | None = None,
        strict: bool | None = None,
        record: bool | float | None = None,
        priority: Priority = "interactive",
        later: bool = False,
        **options: float,
    ) -> Prediction:
        """Answer for one input.

        Args:
            value: the input; several inputs as a dict by name.
            mode: which places, in which order; the client's setting by default.
            deadline_s: seconds in which the answer is wanted; the client's setting by default.
            boundary: how far the data may travel; the strictest of this, the package's and the
                client's holds.
            places: narrows the places further, for example `["device"]`.
            max_disagreement: the share of calls, such as 0.02, whose answers may differ from those
                of the model's reference: what is unsure beyond that is asked of the reference.
            confidence: how sure that is to hold; 0.95 by default.
            min_confidence: an answer with less is asked of the reference.
            budget: what that may come to within an hour: `{"calls": 600}`, `{"bytes": 20e6}` or
                `{"cost": 1.5}`; the most unsure answers go first.
            cache: keep the answer on this device's disk, and take one that was kept for the same
                input; the client's setting by default.
            strict: an answer by another engine, precision or hardware than planned is an error;
                the client's setting by default. Otherwise `receipt.substituted` says it.
            record: write the call's receipt to this device's disk: True, False, or with which
                probability; by default the client's setting.
            priority: "interactive", "batch" or "background": who goes first where calls wait.
            later: answer now from this device, and let the call wait in the outbox for the
                reference's answer, which comes when the network allows: see `Prediction.upgrade`.
            options: numbers that the signature declares, such as `min_score`.

        Raises:
            InputError: the input, an option or the deadline does not fit.
            SubstitutedError: the call is strict, and there was no answer as planned.
            NoRouteError: no place could answer; `causes` says why for each.
            SettingsError: a mode, boundary or place that does not exist.
            ClosedError: the client was closed.
        """
        if later:
            given: dict[str, Any] = {"mode": mode, "deadline_s": deadline_s, "boundary": boundary}
            given |= {"max_disagreement": max_disagreement, "confidence": confidence}
            given |= {"min_confidence": min_confidence, "budget": budget, "record": record}
            given |= {"cache": cache, "strict": strict, "priority": priority, **options}
            answered = self(value, places=self._now_by(places), **given)
            aim = aimed(self._aim, max_disagreement, confidence, min_confidence, budget)
            return self._put_off(answered, (mode, boundary, places, aim), priority)
        started = perf_counter()
        edition = self._edition
        if started > edition.look_at:
            self._look_again(edition, started)
        aim = self._aim
        if (max_disagreement, confidence, min_confidence, budget) != _NOTHING_GIVEN:
            aim = aimed(aim, max_disagreement, confidence, min_confidence, budget)
        route = edition.routes.get((mode, boundary, places, aim)) if places is None else None
        if route is None:
            route = self._route(edition, mode, boundary, places, aim)
        chosen = edition.options(options) if options else edition.defaults
        inputs = edition.check(value)
        deadline_s = self._deadline(deadline_s)
        kept = route.kept() if (self._cached if cache is None else cache) else None
        call = route.call(
            inputs,
            chosen,
            kept=kept,
            urgency=urgency_of(priority, deadline_s, started),
            strict=self._strict if strict is None else strict,
            recorded=(record is not None or self._share > 0) and self._recorded(record),
        )
        senses = call.wary(route.senses)
        flow = call.followed(predict_flow(route.plan, senses, call.work, deadline_s, started))
        if call.kept is None:
            verdict = drive(flow, call)
        else:
            verdict = drive_kept(flow, call, call.kept, call.terms(deadline_s, started))
        return prediction_of(route, verdict, deadline_s, chosen, inputs, started, call)

    async def aio(
        self,
        value: Any,
        /,
        *,
        mode: Mode | None = None,
        deadline_s: float | None = None,
        boundary: Boundary | None = None,
        places: Collection[Place] | None = None,
        max_disagreement: float | None = None,
        confidence: float | None = None,
        min_confidence: float | None = None,
        budget: Mapping[str, float] | Budget | None = None,
        cache: bool | None = None,
        strict: bool | None = None,
        record: bool | float | None = None,
        priority: Priority = "interactive",
        later: bool = False,
        **options: float,
    ) -> Prediction:
        """The same call as a coroutine; work of this process runs in threads beside the loop."""
        if later:
            given: dict[str, Any] = {"mode": mode, "deadline_s": deadline_s, "boundary": boundary}
            given |= {"max_disagreement": max_disagreement, "confidence": confidence}
            given |= {"min_confidence": min_confidence, "budget": budget, "record": record}
            given |= {"cache": cache, "strict": strict, "priority": priority, **options}
            answered = await self.aio(value, places=self._now_by(places), **given)
            aim = aimed(self._aim, max_disagreement, confidence, min_confidence, budget)
            key = (mode, boundary, places, aim)
            better: Prediction = await self._client.in_thread(
                self._put_off, answered, key, priority
            )
            return better
        started = perf_counter()
        in_thread, edition = self._client.in_thread, self._edition
        if started > edition.look_at:
            self._look_again(edition, started)
        aim = aimed(self._aim, max_disagreement, confidence, min_confidence, budget)
        route = edition.routes.get((mode, boundary, places, aim)) if places is None else None
        if route is None:
            route = await in_thread(self._route, edition, mode, boundary, places, aim)
        chosen = edition.options(options)
        inputs = await in_thread(edition.check, value)
        deadline_s = self._deadline(deadline_s)
        kept = route.kept() if (self._cached if cache is None else cache) else None
        call = route.call(
            inputs,
            chosen,
            kept=kept,
            urgency=urgency_of(priority, deadline_s, started),
            strict=self._strict if strict is None else strict,
            recorded=(record is not None or self._share > 0) and self._recorded(record),
        )
        senses = call.wary(route.senses)
        flow = call.followed(predict_flow(route.plan, senses, call.work, deadline_s, started))
        if call.kept is None:
            verdict = await drive_async(flow, call.perform_async)
        else:
            terms = call.terms(deadline_s, started)
            verdict = await drive_kept_async(flow, call.perform_async, call.kept, terms, in_thread)
        end = (route, verdict, deadline_s, chosen, inputs, started, call)
        if route.escalation is None and call.outlook is None:
            return prediction_of(*end)
        # answers are compared, inputs digested, and the disk may be waited for
        noted: Prediction = await in_thread(prediction_of, *end)
        return noted

    def map(
        self,
        values: Iterable[Any],
        /,
        *,
        batch: int = 16,
        progress: bool | None = None,
        mode: Mode | None = None,
        deadline_s: float | None = None,
        boundary: Boundary | None = None,
        places: Collection[Place] | None = None,
        max_disagreement: float | None = None,
        confidence: float | None = None,
        min_confidence: float | None = None,
        budget: Mapping[str, float] | Budget | None = None,
        cache: bool | None = None,
        strict: bool | None = None,
        record: bool | float | None = None,
        priority: Priority = "batch",
        **options: float,
    ) -> Iterator[Prediction]:
        """Answer for many inputs, in their order, `batch` at a time.

        Inputs are taken from `values` as they are needed, so an endless iterable works and memory
        stays bounded. One run of the engine answers the whole batch where the variant allows it.

        Args:
            values: the inputs.
            batch: inputs in hand at once, 1 or more.
            progress: show a progress bar; by default when standard error is a terminal.
            mode: as for a call, and so are the arguments that follow.
            deadline_s: seconds for each batch.
            boundary: see a call.
            places: see a call.
            max_disagreement: see a call.
            confidence: see a call.
            min_confidence: see a call.
            budget: see a call.
            cache: see a call.
            strict: see a call.
            record: see a call.
            priority: see a call; "batch" by default.
            options: see a call.

        Raises:
            InputError: an input does not fit; the answers before it have been given.
            NoRouteError: see a call.
        """
        aim = aimed(self._aim, max_disagreement, confidence, min_confidence, budget)
        wish = self.wish(deadline_s, cache, strict, priority)
        wish = wish._replace(aim=aim, record=recorded_share(record))
        ends = self._ends(values, batch, (mode, boundary, places), options, wish)
        total = len(values) if isinstance(values, Sized) else None
        return shown(ends, total, self.name, wanted=progress)

    async def amap(
        self,
        values: Iterable[Any],
        /,
        *,
        batch: int = 16,
        mode: Mode | None = None,
        deadline_s: float | None = None,
        boundary: Boundary | None = None,
        places: Collection[Place] | None = None,
        max_disagreement: float | None = None,
        confidence: float | None = None,
        min_confidence: float | None = None,
        budget: Mapping[str, float] | Budget | None = None,
        cache: bool | None = None,
        strict: bool | None = None,
        record: bool | float | None = None,
        priority: Priority = "batch",
        **options: float,
    ) -> AsyncIterator[Prediction]:
        """The same as `map`, for `async for`; the inputs are taken in a thread."""
        aim = aimed(self._aim, max_disagreement, confidence, min_confidence, budget)
        wish = self.wish(deadline_s, cache, strict, priority)
        wish = wish._replace(aim=aim, record=recorded_share(record))
        ends = self._ends(values, batch, (mode, boundary, places), options, wish)
        within = copy_context()  # or the span that the caller is in would stay behind

        def following() -> list[list[Prediction | Exception]]:
            return within.run(lambda: list(islice(ends, 1)))

        while batches := await self._client.in_thread(following):
            for end in batches[0]:
                if isinstance(end, Exception):
                    raise end
                yield end

    def wish(
        self,
        deadline_s: float | None,
        cache: bool | None,  # noqa: FBT001 (as calls are given it)
        strict: bool | None,  # noqa: FBT001 (likewise)
        priority: Priority,
    ) -> Wish:
        """What a call asked for, the client's settings where it did not say."""
        return Wish(
            self._deadline(deadline_s),
            self._cached if cache is None else cache,
            self._strict if strict is None else strict,
            priority,
            self._aim,
        )

    def answers(
        self,
        values: list[Any],
        key: tuple[Mode | None, Boundary | None, Collection[Place] | None],
        options: dict[str, float],
        wish: Wish,
    ) -> list[Prediction | Exception]:
        """What came of each of a batch's inputs; nothing follows an error of an input."""
        batches = self._ends(values, max(1, len(values)), key, options, wish)
        return [end for batch in batches for end in batch]

    def _ends(
        self,
        values: Iterable[Any],
        batch: int,
        key: tuple[Mode | None, Boundary | None, Collection[Place] | None],
        options: dict[str, float],
        wish: Wish,
    ) -> Iterator[list[Prediction | Exception]]:
        """What came of each input, a batch at a time; nothing follows an error of an input."""
        if batch < 1:
            raise InputError("batch", "1 or more", str(batch), kind="argument")
        check_words(priority=wish.priority)
        if "later" in options:
            raise InputError("later", "a call with one input", "map() or amap()", kind="argument")
        self._edition.options(options)  # what is wrong is said before the first input is taken

        def ends() -> Iterator[list[Prediction | Exception]]:
            rest = iter(values)
            while rows := list(islice(rest, batch)):
                edition = self._edition
                now = perf_counter()
                if now > edition.look_at:
                    self._look_again(edition, now)
                route = self._route(edition, *key, wish.aim)
                chosen = edition.options(options)
                kept = route.kept() if wish.cache else None
                yield list(answer_batch(edition, route, rows, chosen, kept, wish, self._recorded))

        return ends()

    def prepare(self, progress: Progress | None = None) -> None:
        """Get ready for calls with the default options, so that the first one is quick.

        A model of the catalogue that is not here is fetched; then its files are verified, loaded,
        and run once. What is fetched already is not fetched again.

        Args:
            progress: called as `progress(stage, done, total)`, where the stage is "fetch" (done
                and total in bytes, total None while it is not known), "verify", "load" or "warm".

        Raises:
            DownloadError: a file could not be had; what came of it is kept for the next try.
            PackageError: a file is not what the package promises.
            WhereverError: this device cannot run the model, and nobody else may be asked.
        """
        tell = progress or _tell_nobody
        if not self._edition.package.present() and self._client.uses_device:
            fetched = self._client.fetch(
                self._edition.package, lambda done, total: tell("fetch", done, total)
            )
            self.renew(fetched)
        edition = self._edition
        tell("verify", 0, 1)
        edition.package.verify()
        tell("verify", 1, 1)
        tell("load", 0, 1)
        route = self._route(edition, None, None, None, self._aim)
        tell("load", 1, 1)
        if not route.plan.attempts:
            raise NoRouteError(self.name, (), dict(route.plan.ruled_out))
        tell("warm", 0, 1)
        if route.device is not None:
            route.device.warm()
        tell("warm", 1, 1)

    def _now_by(self, places: Collection[Place] | None) -> tuple[Place, ...]:
        """This device, which answers now what another host is to answer later."""
        if places is None or DEVICE in places:
            return (DEVICE,)
        why = f"the call's places {tuple(places)} leave it out, and later=True needs its answer now"
        raise NoRouteError(self.name, (), {DEVICE: why})

    def _put_off(
        self,
        answered: Prediction,
        key: tuple[Mode | None, Boundary | None, Collection[Place] | None, Aim | None],
        priority: Priority,
    ) -> Prediction:
        """Let a call that this device answered wait for a better answer."""
        from wherever._outbox.later import put_in  # noqa: PLC0415 (few calls are answered later)

        edition = self._edition
        route = self._route(edition, *key)
        box, package = self._client.outbox, edition.package
        return answered.put_off(partial(put_in, box, route, package, key[2], priority))

    def _recorded(self, given: bool | float | None = None) -> bool:  # noqa: FBT001 (as calls are)
        """Whether a call is among those that are recorded, by what it says or the settings."""
        share = self._share if given is None else recorded_share(given)
        return share is not None and random() < share  # noqa: S311 (no secret)

    def _deadline(self, given: float | None) -> float | None:
        if given is None:
            return self._client.settings.deadline_s
        try:
            if given > 0:
                return given
        except TypeError:
            pass  # it is no number
        raise InputError("deadline_s", "seconds greater than 0", f"{given!r:.100}", kind="argument")

    def __repr__(self) -> str:
        return f"<wherever.Model {self.name} {self.version}>"


def _tell_nobody(_stage: str, _done: int, _total: int | None) -> None:
    pass
