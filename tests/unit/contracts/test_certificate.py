"""Certificates: what is written is read again, and what is none is refused with the field."""

from __future__ import annotations

import json

import pytest

from wherever_contracts.certificate import (
    MAX_CERTIFICATE_BYTES,
    Certificate,
    parse_certificate,
)
from wherever_contracts.errors import ManifestError

FIGURE = {"value": 0.9, "low": 0.85, "high": 0.95}


def described(**changes):
    return {
        "schema": "1.0",
        "model": "people",
        "variant": "people-int8",
        "engine": "onnxruntime",
        "precision": "int8",
        "about": "a" * 64,
        "reference": "people-fp32",
        "dataset": {"name": "photos", "sha256": "b" * 64, "n": 64},
        "metric": {**FIGURE, "name": "mAP", "reference": 0.91, "drop": 0.01},
        "agreement": FIGURE,
        "latency": {"median_s": 0.004, "p95_s": 0.006, "runs": 40, "threads": 1},
        "memory_peak_bytes": 1000,
        "file_bytes": 900,
        "machine": {"system": "linux x86_64"},
        "tools": {"onnxruntime": "1.22.0"},
        "golden": 4,
        **changes,
    }


def encoded(data):
    return json.dumps(data).encode()


def test_a_certificate_is_read_as_it_was_written():
    given = Certificate.model_validate(described())
    assert parse_certificate(given.to_bytes(), "it") == given
    assert given.to_bytes().endswith(b"\n")


def test_fields_of_a_newer_minor_version_are_kept():
    newer = parse_certificate(encoded(described(schema="1.7", energy_j=2)), "it")
    assert json.loads(newer.to_bytes())["energy_j"] == 2


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"about": "short"}, "about"),
        ({"precision": "int4"}, "precision"),
        ({"dataset": {"name": "photos", "sha256": "b" * 64, "n": 0}}, "dataset.n"),
        ({"metric": FIGURE}, "metric.name"),
        ({"agreement": {**FIGURE, "value": float("nan")}}, ""),
        ({"schema": "2.0"}, "schema"),
    ],
)
def test_what_is_no_certificate_is_refused_with_the_field(changes, field):
    with pytest.raises(ManifestError) as caught:
        parse_certificate(encoded(described(**changes)), "certificates/it.json")
    assert caught.value.file == "certificates/it.json"
    assert field in caught.value.field


def test_a_certificate_is_bounded():
    with pytest.raises(ManifestError, match="at most"):
        parse_certificate(b" " * (MAX_CERTIFICATE_BYTES + 1), "it")


def test_an_error_says_what_was_compared():
    error = {"median": 0.0, "p90": 0.1, "p99": 0.2, "max": 0.3}
    given = Certificate.model_validate(described(error={**error, "of": "outputs", "n": 12}))
    assert (given.error.of, given.error.n) == ("outputs", 12)
