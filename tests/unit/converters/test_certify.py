"""When figures that are measured again still are what was certified, and what digests cover."""

from __future__ import annotations

import numpy as np
import pytest

from wherever_contracts.certificate import Certificate, Interval
from wherever_convert.proof.errors_of import quantiles_of
from wherever_convert.proof.rules import Again, metric_failures, same_machine
from wherever_convert.proof.verdicts import Proof, Verdict
from wherever_convert.samples.digests import data_digest
from wherever_convert.samples.sample import Sample

CERTIFICATE = Certificate.model_validate(
    {
        "model": "m",
        "variant": "v",
        "engine": "e",
        "precision": "int8",
        "about": "a" * 64,
        "reference": "r",
        "dataset": {"name": "d", "sha256": "b" * 64, "n": 400},
        "metric": {
            "value": 0.8,
            "low": 0.76,
            "high": 0.84,
            "name": "top-1",
            "reference": 0.81,
            "drop": 0.01,
        },
        "agreement": {"value": 0.9, "low": 0.88, "high": 0.92},
        "latency": {"median_s": 1, "p95_s": 1, "runs": 1, "threads": 1},
        "memory_peak_bytes": 0,
        "file_bytes": 1,
        "machine": {},
        "tools": {},
        "golden": 0,
    }
)


def again(value, drop=0.01, *, n=400, same_data=True, here=True, half=0.04):
    metric = Interval(value=value, low=value - half, high=value + half)
    return Again(metric, drop, n, same_data, here)


@pytest.mark.parametrize(
    ("measured", "fails"),
    [
        (again(0.8), False),
        (again(0.796), False),
        (again(0.79), True),
        (again(0.81), True),
        (again(0.791, here=False), False),
        (again(0.785, here=False), True),
        (again(0.74, same_data=False), False),
        (again(0.6, same_data=False), True),
        (again(0.75, n=20), False),
    ],
)
def test_a_metric_must_be_what_was_certified(measured, fails):
    assert bool(metric_failures(CERTIFICATE, measured)) is fails


@pytest.mark.parametrize(
    ("drop", "fails"), [(0.01, False), (0.014, False), (0.02, True), (-1, False)]
)
def test_a_variant_may_not_lose_more_than_was_certified(drop, fails):
    assert bool(metric_failures(CERTIFICATE, again(0.8, drop))) is fails


def test_without_the_reference_only_the_metric_is_compared():
    assert metric_failures(CERTIFICATE, again(0.8, None)) == []


def test_a_failure_says_both_figures():
    (words,) = metric_failures(CERTIFICATE, again(0.5, None))
    assert "top-1 is 0.5000 here" in words
    assert "certified as 0.8000" in words


def test_a_machine_is_the_same_by_its_processor_not_by_its_memory():
    here = {"system": "linux", "processor": "p", "features": [], "memory_bytes": 1}
    assert same_machine(here, {**here, "memory_bytes": 2})
    assert not same_machine(here, {**here, "features": ["avx2"]})


def test_a_digest_of_samples_covers_contents_truths_and_order(tmp_path):
    (tmp_path / "one").write_bytes(b"1")
    row = np.arange(3, dtype=np.float32)
    plain = [Sample("a", tmp_path / "one", "cat"), Sample("b", row, 1.0)]
    others = [
        plain[::-1],
        [plain[0]._replace(truth="dog"), plain[1]],
        [plain[0], plain[1]._replace(value=row.astype(np.float64))],
        [plain[0], plain[1]._replace(value={"x": row})],
    ]
    digests = {data_digest(samples) for samples in (plain, *others)}
    assert len(digests) == 1 + len(others)
    (tmp_path / "one").write_bytes(b"2")
    assert data_digest(plain) not in digests


def test_errors_are_shares_of_the_range_of_the_reference():
    wanted = [{"y": np.array([0, 10], np.float32)}, {"y": np.array([5, 10], np.float32)}]
    given = [{"y": np.array([1, 10], np.float32)}, {"y": np.array([5, 10], np.float32)}]
    found = quantiles_of(given, wanted)
    assert found.max == pytest.approx(0.1)
    assert found.median == 0


@pytest.mark.parametrize(
    "given",
    [
        {"z": np.zeros(2, np.float32)},
        {"y": np.zeros(3, np.float32)},
        {"y": np.zeros(2, np.int8)},
    ],
)
def test_other_tensors_have_no_error(given):
    assert quantiles_of([given], [{"y": np.zeros(2, np.float32)}]) is None


def test_a_proof_passes_when_something_ran_and_nothing_failed():
    def proof(*outcomes, problems=()):
        verdicts = tuple(Verdict("v", "e", outcome) for outcome in outcomes)
        return Proof("m", "1.0.0", "d", problems, verdicts)

    assert proof("passed", "not run").passed
    assert not proof("passed", "failed").passed
    assert not proof("not run").passed
    assert not proof("passed", problems=("a file is missing",)).passed
    assert proof("passed").to_dict()["passed"] is True
