"""The rules of the conformance kit, each a function that raises when it is not kept."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from wherever_contracts.errors import WhereverError
from wherever_devices.plans import RunPlan
from wherever_edge.engines.trial import (
    Form,
    NotApplicable,
    Trial,
    feeds_that_misfit,
    require,
    require_close,
    require_refusal,
    scores,
)

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array
    from wherever_edge.engines.engine import Session

# Sums in another order move numbers of float32 by less, computing in bfloat16 or float16 by more.
_ROUNDING = 2e-5
_THREADS = 8
_OPENED_AGAIN = 20
_GROWTH_BYTES = 16 * 2**20
_NONSENSE = (b"", b"not a model", b"\x08" * 1000, bytes(4096))
_LOADED_BY_MISSING = """
import importlib, sys
module, _, name = sys.argv[1].partition(":")
engine = getattr(importlib.import_module(module), name)()
before = set(sys.modules)
engine.missing()
new = {each.partition(".")[0] for each in set(sys.modules) - before}
print(" ".join(sorted(new - sys.stdlib_module_names)))
"""

RULES: dict[str, Callable[[Trial], None]] = {}


def _rule(words: str) -> Callable[[Callable[[Trial], None]], Callable[[Trial], None]]:
    def register(function: Callable[[Trial], None]) -> Callable[[Trial], None]:
        RULES[words] = function
        return function

    return register


@_rule("has a name, formats and devices")
def _presents_itself(trial: Trial) -> None:
    engine: Any = trial.engine  # its author may have declared anything
    require(isinstance(engine.name, str) and engine.name, f"its name is {engine.name!r}")
    for what, words in (("formats", engine.formats), ("devices", engine.devices())):
        as_words = words == tuple(map(str, words))
        require(words and as_words, f"its {what} are {words!r}, not a tuple of words")
    require(trial.device in engine.devices(), f"it has no device {trial.device!r}")


@_rule("is not missing, and imports nothing to say so")
def _missing_is_light(trial: Trial) -> None:
    missing = trial.engine.missing()
    require(missing == "", f"it is {missing}")
    made = type(trial.engine)
    if "." in made.__qualname__ or made.__module__ == "__main__":
        raise NotApplicable(f"{made.__qualname__} cannot be imported by its name")
    done = subprocess.run(  # noqa: S603 (this interpreter, with a program of ours)
        [sys.executable, "-c", _LOADED_BY_MISSING, f"{made.__module__}:{made.__qualname__}"],
        capture_output=True,
        text=True,
        env=_same_paths(),
        check=False,
    )
    if done.returncode:
        raise NotApplicable(f"{made.__module__} cannot be imported in a fresh process")
    require(not done.stdout.strip(), f"missing() imports {done.stdout.strip()}")


@_rule("refuses a device that is not there")
def _refuses_other_devices(trial: Trial) -> None:
    form = trial.forms[0]
    plan = RunPlan(trial.engine.name, "no-such-device", form.variant.precision, 1)
    require_refusal(
        lambda: trial.engine.open(form.files, file_format=form.variant.format, plan=plan),
        "the device 'no-such-device'",
    )


@_rule("opens every format that it claims, with the tensors of the file")
def _opens(trial: Trial) -> None:
    from wherever_edge.packages.checks import tensor_mismatch  # noqa: PLC0415 (reads manifests)

    for file_format in {form.variant.format for form in trial.offered}:
        reasons = [
            trial.refused.get(form, "")
            for form in trial.offered
            if form.variant.format == file_format
        ]
        require(not all(reasons), f"{file_format}: {'; '.join(reasons)}")
    for form in trial.forms:
        session = trial.open(form)
        mismatch = tensor_mismatch(form.variant, session.inputs, session.outputs)
        require(mismatch is None, f"{form}: {mismatch}")


@_rule("gives the reference outputs, within their tolerance")
def _agrees(trial: Trial) -> None:
    from wherever_edge.loaded import LoadedVariant  # noqa: PLC0415 (needed here alone)
    from wherever_edge.packages.golden import check_golden  # noqa: PLC0415
    from wherever_edge.resident import Resident  # noqa: PLC0415

    for form in trial.forms:
        plan = RunPlan(trial.engine.name, trial.device, form.variant.precision, 1)
        resident = Resident.of(plan, trial.open(form))
        try:
            check_golden(LoadedVariant(form.package, form.variant, resident))
        except WhereverError as error:
            require(kept=False, words=f"{form}: {error}")


@_rule("says what ran: engine, version, provider, device, threads")
def _states_facts(trial: Trial) -> None:
    for form in trial.forms:
        facts = trial.open(form).facts
        require(facts.engine == trial.engine.name, f"{form}: its engine is {facts.engine!r}")
        require(facts.version and facts.provider, f"{form}: no version or provider in {facts}")
        require(facts.device == trial.device, f"{form}: it ran on {facts.device!r}")
        require(facts.threads in (0, 1), f"{form}: one thread was planned, not {facts.threads}")


@_rule("says the precision that it computes in, whatever was planned")
def _states_precision(trial: Trial) -> None:
    for form in trial.float_forms:
        exact = scores(trial.open(form), form.images)
        for planned in ("float32", "bfloat16", "float16", "int8"):
            session = trial.open(form, precision=planned)
            off = float(np.abs(scores(session, form.images) - exact).max())
            said = session.facts.precision
            require(
                (said == "float32") == (off <= _ROUNDING),
                f"{form}: with {planned} planned it says {said}, and is off by {off:.2g}",
            )


@_rule("takes inputs that are strided or cannot be written, and leaves them as they are")
def _takes_any_memory(trial: Trial) -> None:
    for form in trial.forms:
        session = trial.open(form)
        images = form.images[:32]
        expected = scores(session, images.copy())
        for words, given in _in_other_memory(images).items():
            found = scores(session, given)
            require_close(found, expected, _ROUNDING, f"{form}: with {words} input")
            require((given == images).all(), f"{form}: {words} input was written")


@_rule("refuses inputs that do not fit")
def _refuses_misfits(trial: Trial) -> None:
    for form in trial.forms:
        session = trial.open(form)
        for words, feed in feeds_that_misfit(form).items():
            require_refusal(partial(session.run, feed), f"{form}: {words}")


@_rule("refuses files that are empty, cut off or no models")
def _refuses_nonsense(trial: Trial) -> None:
    for form in trial.formats:
        model, *rest = form.files
        for data in (*_NONSENSE, model[: len(model) // 2], model[:100]):
            require_refusal(
                partial(trial.opened, [data, *rest], form.variant.format),
                f"{form.variant.format}: a file that begins with {data[:12]!r}, {len(data)} bytes",
            )


@_rule("never writes an array again that it returned")
def _keeps_results(trial: Trial) -> None:
    for form in trial.forms:
        session = trial.open(form)
        returned = [scores(session, form.images[at : at + 4]) for at in range(0, 40, 4)]
        copies = [array.copy() for array in returned]
        for rows in (4, 1, 64):
            scores(session, form.images[-rows:])
        _require_kept(form, returned, copies, "a later run")
        session.close()
        del session
        gc.collect()
        _require_kept(form, returned, copies, "closing the session")


@_rule("keeps every result of eight threads")
def _keeps_threads_apart(trial: Trial) -> None:
    for form in trial.forms:
        session = trial.open(form)
        every = scores(session, form.images[: 64 + _THREADS])
        with ThreadPoolExecutor(_THREADS) as pool:
            asked = [
                (rows, pool.submit(_one_by_one, session, form.images[rows]))
                for rows in (np.arange(200) * 3 % 64 + first for first in range(_THREADS))
            ]
            for rows, results in asked:
                words = f"{form}: with {_THREADS} threads"
                require_close(results.result(), every[rows], _ROUNDING, words)


@_rule("computes each row of a batch by itself")
def _keeps_rows_apart(trial: Trial) -> None:
    for form in trial.forms:
        if form.variant.tensors.inputs[0].shape[0] != -1:
            raise NotApplicable("its forms of digits take one row alone")
        session = trial.open(form)
        every = scores(session, form.images[:40])
        for rows in (1, 7, 2, 40):
            found = scores(session, form.images[:rows])
            require_close(found, every[:rows], _ROUNDING, f"{form}: {rows} of the same rows")
        backwards = scores(session, form.images[:40][::-1].copy())[::-1]
        require_close(backwards, every, _ROUNDING, f"{form}: the rows backwards")


@_rule("closes twice, and closes one session without touching another")
def _closes(trial: Trial) -> None:
    for form in trial.formats:
        first, second = trial.open(form), trial.open(form)
        expected = scores(second, form.images[:4])
        scores(first, form.images[:4])
        first.close()
        first.close()
        found = scores(second, form.images[:4])
        require_close(found, expected, _ROUNDING, f"{form}: after another session was closed")


@_rule("opens while another session runs")
def _opens_beside_runs(trial: Trial) -> None:
    for form in trial.formats:
        session = trial.open(form)
        expected = scores(session, form.images[:16])
        ended = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(_run_until, ended, session, form.images[:16])
            try:
                others = [scores(trial.open(form), form.images[:16]) for _ in range(5)]
            finally:
                ended.set()
            for found in (*running.result(), *others):
                require_close(found, expected, _ROUNDING, f"{form}: opened while another ran")


@_rule("gives back the memory of sessions that were closed")
def _frees(trial: Trial) -> None:
    from wherever_edge.memory import resident_bytes  # noqa: PLC0415 (needed here alone)

    forms = trial.formats
    for form in forms * 2:
        _opened_and_closed(trial, form)
    before = resident_bytes()
    if before == 0:
        raise NotApplicable("this system does not tell the memory of a process")
    for at in range(_OPENED_AGAIN):
        _opened_and_closed(trial, forms[at % len(forms)])
    grown = resident_bytes() - before
    words = f"{_OPENED_AGAIN} times opened and closed, {grown / 2**20:.0f} MiB more"
    require(grown <= _GROWTH_BYTES, words)


def _one_by_one(session: Session, images: Array) -> Array:
    rows = [scores(session, images[row : row + 1]) for row in range(len(images))]
    return np.concatenate(rows)


def _run_until(ended: threading.Event, session: Session, images: Array) -> list[Array]:
    results: list[Array] = []
    while not ended.is_set():
        results.append(scores(session, images))
    return results


def _opened_and_closed(trial: Trial, form: Form) -> None:
    session = trial.open(form)
    scores(session, form.images[:1])
    session.close()
    del session
    gc.collect()


def _in_other_memory(images: Array) -> dict[str, Array]:
    """The same numbers, as arrays that are not as an engine would like them."""
    apart = np.zeros((len(images), *(2 * n for n in images.shape[1:])), images.dtype)
    every_other = (slice(None), *(slice(None, None, 2) for _ in images.shape[1:]))
    apart[every_other] = images
    sealed = images.copy()
    sealed.flags.writeable = False
    return {
        "ordinary": images.copy(),
        "strided": apart[every_other],
        "column by column": np.asfortranarray(images),
        "read-only": sealed,
    }


def _require_kept(form: Form, returned: list[Array], copies: list[Array], words: str) -> None:
    for array, copy in zip(returned, copies, strict=True):
        require((array == copy).all(), f"{form}: a result was changed by {words}")


def _same_paths() -> dict[str, str]:
    paths = os.pathsep.join(each for each in sys.path if each)
    return {**os.environ, "PYTHONPATH": paths}
