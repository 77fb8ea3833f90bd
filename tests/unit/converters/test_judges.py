"""Judges measure against the truth where there is one, else against the float model."""

from __future__ import annotations

import numpy as np
import pytest

from wherever_contracts.errors import ConversionError
from wherever_contracts.manifest import Signature
from wherever_convert.judges import (
    check_numbering,
    class_numbers,
    correctness,
    judge_for,
    measuring_options,
)
from wherever_convert.making_flags import fraction
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


def asked(metric, *truths, of=LABEL):
    return judge_for(of, samples(*truths), metric)


def test_top_5_counts_a_class_among_the_five_best():
    many = signature({"kind": "label", "scores": "s", "labels": [*"abcdefg"]}, ["s"])
    judge = asked("top-5", "a", "g", of=many)
    kept = [judge.keep({"s": np.arange(7.0)}) for _ in range(2)]
    assert (judge.metric, kept[0]) == ("top-5", (6, 5, 4, 3, 2))
    assert judge.score(kept, kept) == 0.5
    assert judge.per_sample(kept, kept).tolist() == [0, 1]
    assert judge.agreement(kept, [kept[0], (1, 6)]) == 0.5


def test_f1_is_the_mean_over_classes_or_that_of_one():
    truths = ("cat", "cat", "cat", "dog")
    kept = [0, 0, 1, 1]
    macro, dog = asked("f1", *truths), asked("f1:dog", *truths)
    assert (macro.metric, dog.metric) == ("macro F1", "F1 of dog")
    assert dog.score(kept, kept) == pytest.approx(2 / 3)
    assert macro.score(kept, kept) == pytest.approx((0.8 + 2 / 3) / 2)
    assert dog.per_sample(kept, kept) is None


def test_ap50_counts_what_overlaps_by_half():
    truth = Boxes(np.array([[0.0, 0, 10, 10]]), ("dog",), np.array([False]))
    found = {"b": np.array([[0.0, 0, 10, 6]]), "s": np.array([0.9]), "c": np.array([1])}
    values = {
        name: asked(name, truth, of=BOXES).score([asked(name, truth, of=BOXES).keep(found)], [])
        for name in ("AP50", "mAP")
    }
    assert values == {"AP50": pytest.approx(1), "mAP": pytest.approx(0.3)}


def test_agreement_may_be_asked_for_though_the_truth_is_known():
    judge = asked("agreement", "cat", "dog")
    assert (judge.metric, judge.truth) == ("agreement", None)
    assert asked("cosine", "a", of=signature({"kind": "embedding", "vector": "v"}, ["v"]))


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("mAP", "does not fit a model that gives labels; those that do: top-1, top-5, f1, f1:LAB"),
        ("f1:bird", "the model has no label 'bird'"),
        ("f1:", "the model has no label ''"),
        ("", "does not fit"),
        (3, "a metric is a name or a function, not a int"),
        ("nowhere.py:score", "there is no file nowhere.py; a metric of your own is FILE.py:NAME"),
    ],
)
def test_a_metric_that_does_not_fit_is_refused_with_those_that_do(metric, message):
    with pytest.raises(ConversionError, match=message):
        asked(metric, "cat")


def test_a_metric_of_the_truth_needs_every_truth():
    with pytest.raises(ConversionError, match=r"'top-5' needs the truth of each .* 1 of 2 have"):
        asked("top-5", "cat", None)


def test_a_function_gets_answers_as_predict_gives_them_and_the_truths():
    def share_of_sure(answers, truths):
        assert truths == ["cat", "dog"]
        return sum(a == t and a.score > 0.5 for a, t in zip(answers, truths, strict=True)) / 2

    judge = asked(share_of_sure, "cat", "dog")
    kept = [judge.keep({"s": np.array(scores)}) for scores in ([0.9, 0.1], [0.6, 0.4])]
    assert (judge.metric, judge.score(kept, kept)) == ("share_of_sure", 0.5)
    assert judge.agreement(kept, kept) == 1
    assert str(kept[0]) == "cat"
    boxes = asked(lambda answers, _: len(answers[0]), None, of=BOXES)
    one = {"b": np.array([[0.0, 0, 9, 9]]), "s": np.array([0.9]), "c": np.array([1])}
    assert boxes.score([boxes.keep(one)], []) == 1
    assert boxes.keep(one).value[0].label == "dog"


def test_a_function_in_a_file_is_run_and_its_faults_are_said(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "def half(answers, truths):\n    return 0.5\n"
        "def nan(answers, truths):\n    return float('nan')\n"
        "def none(answers, truths):\n    return None\n"
        "number = 3\n"
    )
    judge = asked(f"{file}:half", "cat")
    assert (judge.metric, judge.score([], [])) == ("half", 0.5)
    with pytest.raises(ConversionError, match="the metric nan gave nan, no finite number"):
        asked(f"{file}:nan", "cat").score([], [])
    with pytest.raises(ConversionError, match="the metric none failed: TypeError"):
        asked(f"{file}:none", "cat").score([], [])
    for name in ("number", "missing"):
        with pytest.raises(ConversionError, match=rf"mine\.py has no function '{name}'"):
            asked(f"{file}:{name}", "cat")
    file.write_text("1/0")
    with pytest.raises(ConversionError, match=r"running mine\.py failed: ZeroDivisionError"):
        asked(f"{file}:half", "cat")


def test_whole_numbers_measure_a_model_that_gives_one_number():
    judge = judge_for(signature({"kind": "tensors"}, ["t"]), samples("1", "2", "3"))
    kept = [[np.array([number])] for number in (1.0, 2.0, 3.0)]
    assert (judge.metric, judge.score(kept, kept)) == ("R2", 1)


def test_scores_that_are_means_are_told_by_sample():
    assert asked(None, "cat", "dog").per_sample([0, 0], []).tolist() == [1, 0]
    vectors = asked(None, "x", of=signature({"kind": "embedding", "vector": "v"}, ["v"]))
    assert vectors.per_sample([np.ones(2)], [np.ones(2)]) == pytest.approx([1])
    tensors = asked(None, "x", of=signature({"kind": "tensors"}, ["t"]))
    kept = [[np.ones(2)], [np.zeros(2)]]
    assert tensors.per_sample(kept, kept) is None
    assert tensors.agreements(kept, kept).tolist() == [1, 1]


def test_labels_that_are_one_place_off_are_told_from_a_bad_model():
    many = signature({"kind": "label", "scores": "s", "labels": [*"abcdefgh"]}, ["s"])
    judge = asked(None, *(str(n % 7) for n in range(70)), of=many)
    with pytest.raises(
        ConversionError, match=r"right for 0\.0%.* 100\.0% .*later.*--label-offset 1"
    ):
        check_numbering(judge, [n % 7 + 1 for n in range(70)])
    check_numbering(judge, [n % 7 for n in range(70)])
    check_numbering(judge, [7] * 70)
    check_numbering(asked("agreement", "a", of=many), [3])


def test_classes_that_count_from_one_are_seen():
    with pytest.raises(ConversionError, match="count classes from 1: --label-offset -1"):
        class_numbers(["1", "2"], ["cat", "dog"])
    with pytest.raises(ConversionError, match="--labels FILE"):
        class_numbers(["0", "2"], ["cat", "dog"])


def test_how_far_answers_are_right_is_known_of_classes_and_boxes():
    assert correctness(asked(None, "cat", "dog"), [0, 0]).tolist() == [1, 0]
    assert correctness(asked(None, None, "dog"), [0, 0]) is None
    boxes = np.array([[0.0, 0, 9, 9], [50, 50, 90, 90]])
    judge = asked(None, Boxes(boxes, ("dog", "cat"), np.array([False, True])), of=BOXES)
    found = judge.keep({"b": boxes[:1], "s": np.array([0.9]), "c": np.array([1])})
    assert correctness(judge, [found]).tolist() == [1]
    vectors = asked(None, "x", of=signature({"kind": "embedding", "vector": "v"}, ["v"]))
    assert correctness(vectors, [np.ones(2)]) is None
