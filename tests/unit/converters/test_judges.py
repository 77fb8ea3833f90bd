"""Judges measure against the truth where there is one, else against the float model."""

from __future__ import annotations

import numpy as np
import pytest

from wherever_contracts.errors import ConversionError
from wherever_contracts.manifest import Signature
from wherever_convert.convert_command import fraction
from wherever_convert.judges import class_numbers, judge_for, measuring_options
from wherever_convert.samples.sample import Boxes, Sample


def signature(value, outputs, options=()):
    return Signature.model_validate(
        {
            "inputs": [{"name": "image", "kind": "image"}],
            "outputs": [{"name": n, "dtype": "float32", "shape": [-1]} for n in outputs],
            "value": value,
            "options": options,
        }
    )


LABEL = signature({"kind": "label", "scores": "s", "labels": ["cat", "dog"]}, ["s"])
BOXES = signature(
    {"kind": "detections", "boxes": "b", "scores": "s", "classes": "c", "labels": ["cat", "dog"]},
    ["b", "s", "c"],
    [{"name": "min_score", "default": 0.5, "min": 0.01, "max": 1}],
)


def samples(*truths):
    return [Sample(str(number), np.zeros(1), truth) for number, truth in enumerate(truths)]


def test_classes_are_measured_by_top_1():
    judge = judge_for(LABEL, samples("cat", "dog", "1"))
    kept = [judge.keep({"s": np.array(scores)}) for scores in ([0.9, 0.1], [0.8, 0.2], [0.1, 0.9])]
    assert (judge.metric, kept) == ("top-1", [0, 0, 1])
    assert judge.score(kept, [0, 1, 1]) == pytest.approx(2 / 3)
    assert judge.agreement(kept, [0, 0, 0]) == pytest.approx(2 / 3)


def test_without_classes_agreement_is_measured():
    judge = judge_for(LABEL, samples(None, None))
    assert judge.metric == "agreement"
    assert judge.score([0, 1], [1, 1]) == 0.5


def test_a_class_is_a_name_or_a_number_that_counts_from_zero():
    assert class_numbers(["dog", "0", 1.0, "cat"], ["cat", "dog"]).tolist() == [1, 0, 1, 0]
    assert class_numbers(["9"], [*"0123456789"[::-1]]).tolist() == [0]
    with pytest.raises(ConversionError, match="not among the model's 2 labels: 2, bird"):
        class_numbers(["bird", "cat", "2"], ["cat", "dog"])


def test_detections_are_measured_by_map_over_every_score():
    truth = Boxes(np.array([[0.0, 0, 9, 9]]), ("dog",), np.array([False]))
    judge = judge_for(BOXES, samples(truth))
    found = judge.keep({"b": truth.boxes, "s": np.array([0.02]), "c": np.array([1])})
    assert judge.metric == "mAP"
    assert judge.score([found], [found]) == pytest.approx(1)
    assert judge.agreement([found], [found]) == 1
    assert measuring_options(BOXES) == {"min_score": 0.01}


def test_a_detector_needs_boxes():
    with pytest.raises(ConversionError, match="samples with boxes"):
        judge_for(BOXES, samples("cat"))


def test_embeddings_are_measured_by_cosine_and_tensors_by_closeness():
    vectors = judge_for(signature({"kind": "embedding", "vector": "v"}, ["v"]), samples("cat"))
    assert (vectors.metric, vectors.score([np.ones(2)], [np.ones(2) * 3])) == (
        "cosine",
        pytest.approx(1),
    )
    tensors = judge_for(signature({"kind": "tensors"}, ["t"]), samples("cat"))
    kept = [tensors.keep({"t": np.array([3.0, 4.0])})]
    assert (tensors.metric, tensors.score(kept, kept)) == ("closeness", 1)


def test_a_number_that_is_known_is_measured_by_r_squared():
    judge = judge_for(signature({"kind": "tensors"}, ["t"]), samples(1.0, 2.0, 3.0))
    kept = [[np.array([number])] for number in (1.0, 2.0, 3.0)]
    assert (judge.metric, judge.score(kept, kept)) == ("R2", 1)


@pytest.mark.parametrize(("text", "number"), [("1%", 0.01), ("0.05", 0.05), (" 2.5 %", 0.025)])
def test_a_limit_is_a_percentage_or_a_fraction(text, number):
    assert fraction(text) == pytest.approx(number)


def test_what_is_no_limit_is_refused():
    with pytest.raises(ConversionError, match=r"--max-drop takes 1% or 0\.01, not 'a'"):
        fraction("a")
