"""The kit: our engines keep every rule, and for each rule an engine that breaks it is caught."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from wherever_contracts.errors import EngineError
from wherever_contracts.tensors import TensorSpec
from wherever_edge.engines import conformance
from wherever_edge.engines.conformance import check_engine, checks
from wherever_edge.engines.engine import Engine, Session
from wherever_edge.engines.litert import LiteRtEngine
from wherever_edge.engines.onnxruntime import OnnxRuntimeEngine
from wherever_edge.engines.openvino import OpenVinoEngine
from wherever_edge.engines.trial import Broken, Trial

CHECKS = dict(checks())
HONEST = OnnxRuntimeEngine()


@pytest.mark.parametrize("engine", [OnnxRuntimeEngine, OpenVinoEngine, LiteRtEngine])
def test_our_engines_keep_every_rule(engine):
    report = check_engine(engine())
    assert report.passed, str(report)
    assert len(report.outcomes) == len(CHECKS) == 16
    assert {outcome.state for outcome in report.outcomes} == {"passed"}


class Wrapped(Session):
    """The session of an honest engine, for a dishonest one to change."""

    def __init__(self, inner, facts=None):
        super().__init__(inner.inputs, inner.outputs, facts or inner.facts)
        self.inner = inner

    def _run(self, feed):
        return {"scores": self.changed(self.inner.run(feed)["scores"])}

    def changed(self, result):
        return result


class Dishonest(Engine):
    """Behaves as ONNX Runtime does, but for what a subclass changes."""

    name = "dishonest"
    formats = ("onnx",)
    session = Wrapped

    def _open(self, files, *, file_format, plan, resources):
        inner = HONEST.open(files, file_format=file_format, plan=plan, resources=resources)
        return self.session(inner, self.facts(inner, plan))

    def facts(self, inner, plan):
        return dataclasses.replace(inner.facts, engine=self.name)


class NamesNoTuple(Dishonest):
    formats = ["onnx"]  # noqa: RUF012


class TakesAnyDevice(Dishonest):
    def open(self, files, *, file_format, plan, resources=None):
        return super().open(
            files, file_format=file_format, plan=dataclasses.replace(plan, device="cpu")
        )


class RenamesTensors(Dishonest):
    class session(Wrapped):
        def __init__(self, inner, facts):
            super().__init__(inner, facts)
            self.outputs = (TensorSpec("other", "float32", (-1, 10)),)


class ComputesWrongly(Dishonest):
    class session(Wrapped):
        def changed(self, result):
            return result[:, ::-1].copy()


class SignsAsAnother(Dishonest):
    def facts(self, inner, plan):
        return inner.facts


class HidesTheDevice(Dishonest):
    def facts(self, inner, plan):
        return dataclasses.replace(inner.facts, engine=self.name, device="gpu")


class SaysThePlannedPrecision(Dishonest):
    def facts(self, inner, plan):
        return dataclasses.replace(inner.facts, engine=self.name, precision=plan.precision)


class HidesThatItRounds(Dishonest):
    def _open(self, files, *, file_format, plan, resources):
        session = super()._open(files, file_format=file_format, plan=plan, resources=resources)
        if plan.precision == "bfloat16":
            session.changed = lambda result: np.round(result, 2)
        return session


class WritesItsInputs(Dishonest):
    class session(Wrapped):
        def _run(self, feed):
            outputs = super()._run(feed)
            if feed["numbers"].flags.writeable:
                feed["numbers"] *= 0
            return outputs


class InsistsOnWriteable(Dishonest):
    class session(Wrapped):
        def _run(self, feed):
            feed["numbers"][:] = feed["numbers"]
            return super()._run(feed)


class CastsWhateverComes(Dishonest):
    class session(Wrapped):
        def run(self, tensors):
            return self.inner.run({k: v.astype(np.float32) for k, v in tensors.items()})


class LeaksForeignErrors(Dishonest):
    class session(Wrapped):
        def run(self, tensors):
            if "numbers" not in tensors:
                raise KeyError("numbers")
            return self.inner.run(tensors)


class OpensAnything(Dishonest):
    def open(self, files, *, file_format, plan, resources=None):
        try:
            return super().open(files, file_format=file_format, plan=plan)
        except Exception:
            return None


class FailsInItsOwnWords(Dishonest):
    def open(self, files, *, file_format, plan, resources=None):
        if len(files[0]) < 5000:
            raise ValueError("no model")
        return super().open(files, file_format=file_format, plan=plan)


class OverwritesResults(Dishonest):
    class session(Wrapped):
        def __init__(self, inner, facts):
            super().__init__(inner, facts)
            self.buffer = np.zeros((600, 10), np.float32)

        def changed(self, result):
            self.buffer[: len(result)] = result
            return self.buffer[: len(result)]


class MixesThreads(Dishonest):
    class session(Wrapped):
        def _run(self, feed):
            self.feed = feed
            time.sleep(0)  # lets another thread come between
            return super()._run(self.feed)


class MixesRows(Dishonest):
    class session(Wrapped):
        def changed(self, result):
            return result - result.mean(axis=0)


class ClosesOnce(Dishonest):
    class session(Wrapped):
        def close(self):
            del self.inner


class ClosesAll(Dishonest):
    closed = threading.Event()

    class session(Wrapped):
        def __init__(self, inner, facts):
            super().__init__(inner, facts)
            ClosesAll.closed.clear()

        def close(self):
            ClosesAll.closed.set()

        def _run(self, feed):
            if ClosesAll.closed.is_set():
                raise RuntimeError("closed")
            return super()._run(feed)


class StopsTheOthersToOpen(Dishonest):
    opening = threading.Event()

    def _open(self, files, *, file_format, plan, resources):
        self.opening.set()
        session = super()._open(files, file_format=file_format, plan=plan, resources=resources)
        time.sleep(0.01)
        self.opening.clear()
        return session

    class session(Wrapped):
        def changed(self, result):
            return result * 0 if StopsTheOthersToOpen.opening.is_set() else result


class KeepsEverything(Dishonest):
    def __init__(self):
        self.kept = []

    def _open(self, files, *, file_format, plan, resources):
        self.kept.append(np.ones(2**20))
        return super()._open(files, file_format=file_format, plan=plan, resources=resources)


BROKEN = {
    "has a name, formats and devices": [NamesNoTuple],
    "refuses a device that is not there": [TakesAnyDevice],
    "opens every format that it claims, with the tensors of the file": [RenamesTensors],
    "gives the reference outputs, within their tolerance": [ComputesWrongly],
    "says what ran: engine, version, provider, device, threads": [SignsAsAnother, HidesTheDevice],
    "says the precision that it computes in, whatever was planned": [
        SaysThePlannedPrecision,
        HidesThatItRounds,
    ],
    "takes inputs that are strided or cannot be written, and leaves them as they are": [
        WritesItsInputs,
        InsistsOnWriteable,
    ],
    "refuses inputs that do not fit": [CastsWhateverComes, LeaksForeignErrors],
    "refuses files that are empty, cut off or no models": [OpensAnything, FailsInItsOwnWords],
    "never writes an array again that it returned": [OverwritesResults],
    "keeps every result of eight threads": [MixesThreads],
    "computes each row of a batch by itself": [MixesRows],
    "closes twice, and closes one session without touching another": [ClosesOnce, ClosesAll],
    "opens while another session runs": [StopsTheOthersToOpen],
    "gives back the memory of sessions that were closed": [KeepsEverything],
}
SELF_IMPORTING = "is not missing, and imports nothing to say so"


def test_every_rule_has_an_engine_that_breaks_it():
    assert {*BROKEN, SELF_IMPORTING} == set(CHECKS)


@pytest.mark.parametrize(
    ("rule", "engine"), [(rule, engine) for rule, each in BROKEN.items() for engine in each]
)
def test_an_engine_that_breaks_a_rule_is_caught_by_that_rule(rule, engine):
    with pytest.raises((Broken, EngineError, AttributeError)):
        CHECKS[rule](engine())


@pytest.mark.parametrize(
    ("error", "why"), [(Broken("it is wrong"), "it is wrong"), (KeyError("x"), "KeyError: 'x'")]
)
def test_the_report_says_what_a_check_raised(error, why):
    def rule(_trial):
        raise error

    outcome = conformance._outcome("a rule", rule, Trial(Dishonest(), "cpu"))
    assert (outcome.state, outcome.why) == ("failed", why)


def test_an_honest_engine_made_of_another_keeps_the_rules_that_the_dishonest_ones_break():
    engine = Dishonest()
    for rule in BROKEN:
        assert CHECKS[rule](engine) == "", rule


def test_an_engine_that_imports_its_runtime_to_say_that_it_is_there_is_caught(
    tmp_path, monkeypatch
):
    (tmp_path / "heavy_runtime.py").write_text("")
    (tmp_path / "eager_engine.py").write_text(
        "from wherever_edge.engines.onnxruntime import OnnxRuntimeEngine\n"
        "class Eager(OnnxRuntimeEngine):\n"
        "    def missing(self):\n"
        "        import heavy_runtime\n"
        "        return ''\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    from eager_engine import Eager

    with pytest.raises(Broken, match=r"missing\(\) imports heavy_runtime"):
        CHECKS[SELF_IMPORTING](Eager())


def test_an_engine_that_is_missing_does_not_conform():
    class Absent(Dishonest):
        def missing(self):
            return "not installed: pip install absent"

    with pytest.raises(Broken, match="it is not installed: pip install absent"):
        CHECKS[SELF_IMPORTING](Absent())


def test_an_engine_of_other_formats_is_asked_only_what_needs_no_model():
    class Other(Dishonest):
        formats = ("torch",)

    report = check_engine(Other())
    assert report.passed
    inapplicable = [each for each in report.outcomes if each.state == "not applicable"]
    assert len(inapplicable) == 15
    assert "it reads torch, and digits has no form of these" in {each.why for each in inapplicable}
    assert json.loads(json.dumps(report.to_dict()))["passed"] is True


def test_an_engine_that_lacks_an_operation_is_checked_with_what_it_reads():
    class Young(Dishonest):
        def _open(self, files, *, file_format, plan, resources):
            if b"QuantizeLinear" in files[0]:
                raise ValueError("no implementation of QuantizeLinear")
            return super()._open(files, file_format=file_format, plan=plan, resources=resources)

    report = check_engine(Young())
    assert report.passed, str(report)


def test_an_engine_that_reads_nothing_of_what_it_claims_is_caught():
    class Empty(Dishonest):
        def _open(self, files, *, file_format, plan, resources):
            raise ValueError("not today")

    report = check_engine(Empty())
    (failure,) = report.failures
    assert failure.check == "opens every format that it claims, with the tensors of the file"
    assert "not today" in failure.why


def test_the_report_says_for_people_what_was_broken():
    class Silent(Dishonest):
        formats = ("torch",)

        def devices(self):
            raise RuntimeError("no driver")

    report = check_engine(Silent())
    assert not report.passed
    assert "FAIL has a name, formats and devices (cpu): RuntimeError: no driver" in str(report)


def test_the_command_lists_engines_and_runs_the_kit():
    listed = command("--json")["engines"]
    assert [row["name"] for row in listed] == ["litert", "onnxruntime", "openvino"]
    assert all(row["devices"] == ["cpu"] and row["version"] for row in listed)
    (report,) = command("--check", "litert", "--json")["reports"]
    assert report["passed"]
    assert report["engine"] == "litert"


def command(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "wherever", "engines", *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)
