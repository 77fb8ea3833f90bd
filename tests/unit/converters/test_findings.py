"""What variants answer otherwise than their reference."""

from __future__ import annotations

import numpy as np
import pytest

from wherever_contracts.manifest import Signature
from wherever_convert.findings import MOST_WORST, find
from wherever_convert.judges import Detections, Embedding, Tensors
from wherever_convert.label_judges import TopFive, TopOne
from wherever_convert.measuring import Measured
from wherever_convert.own_metric import Own
from wherever_convert.samples.sample import Boxes, Sample
from wherever_edge.agreement import Found

LABELS = ("cat", "dog", "owl")


def samples(count):
    return [Sample(f"{number}.png", np.zeros(2), None) for number in range(count)]


def measured(**kept):
    return {name: Measured(each, 0.001, "onnxruntime") for name, each in kept.items()}


def test_a_right_answer_that_a_variant_loses_comes_first():
    truth = np.array([0, 1, 2, 0, 1])
    answers = measured(float=[0, 1, 0, 2, 1], int8=[0, 2, 2, 1, 0])
    found = find(TopOne("s", truth, LABELS), samples(5), answers, "float")
    assert [(each.sample.name, each.change) for each in found.worst["int8"]] == [
        ("1.png", "lost"),
        ("4.png", "lost"),
        ("3.png", "changed"),
        ("2.png", "gained"),
    ]
    first = found.worst["int8"][0]
    assert (first.truth.text, first.reference.text, first.answer.text) == ("dog", "dog", "owl")
    assert found.counts["int8"] == {"lost": 2, "changed": 1, "gained": 1}


def test_the_reference_is_counted_against_the_truth_and_a_variant_against_the_reference():
    truth = np.array([0, 0, 0, 1])
    answers = measured(float=[0, 0, 1, 1], int8=[0, 2, 1, 1])
    found = find(TopOne("s", truth, LABELS), samples(4), answers, "float")
    assert found.confusion.cells == ((0, 0, 2), (0, 1, 1), (1, 1, 1))
    assert found.confusion.mistaken == ((0, 1, 1),)
    assert found.changes["int8"].cells == ((0, 2, 1),)


def test_without_truth_nothing_is_lost_but_answers_change():
    answers = measured(float=[0, 1], int8=[0, 2])
    found = find(TopOne("s", None, LABELS), samples(2), answers, "float")
    assert found.confusion is None
    assert found.metric == "agreement"
    (worst,) = found.worst["int8"]
    assert (worst.change, worst.truth) == ("changed", None)


def test_a_variant_that_answers_the_same_has_nothing_to_show():
    answers = measured(float=[0, 1], fp16=[0, 1])
    found = find(TopOne("s", np.array([0, 0]), LABELS), samples(2), answers, "float")
    assert found.worst["fp16"] == ()
    assert found.changes["fp16"].cells == ()


def test_no_more_than_the_worst_are_kept_but_all_are_counted():
    answers = measured(float=[0] * 100, int8=[1] * 100)
    found = find(TopOne("s", None, LABELS), samples(100), answers, "float")
    assert len(found.worst["int8"]) == MOST_WORST
    assert found.counts["int8"] == {"changed": 100}


class Value:
    boxes, scores, classes, labels = "b", "s", "c", LABELS


def boxes(*rows):
    edges = np.array([row[:4] for row in rows], np.float64).reshape(-1, 4)
    kinds = np.array([row[4] for row in rows], np.int64)
    return Found(edges, np.array([row[5] for row in rows], np.float32), kinds)


def test_the_images_whose_boxes_change_most_come_first():
    same = boxes((0, 0, 9, 9, 1, 0.9))
    two = boxes((0, 0, 9, 9, 1, 0.9), (20, 20, 30, 30, 2, 0.8))
    none = boxes((0, 0, 9, 9, 1, 0.1))
    answers = measured(float=[same, two, same], int8=[same, same, none])
    found = find(Detections(Value(), None), samples(3), answers, "float")
    assert [(each.sample.name, round(each.likeness, 2)) for each in found.worst["int8"]] == [
        ("2.png", 0.0),
        ("1.png", 0.67),
    ]
    changed = found.worst["int8"][1]
    assert [(box.label, box.score) for box in changed.reference.boxes] == [
        ("dog", pytest.approx(0.9)),
        ("owl", pytest.approx(0.8)),
    ]
    assert found.worst["int8"][0].answer.boxes == ()  # not sure enough to be shown
    assert found.confusion is None
    assert found.changes == {}


def test_the_vectors_that_turn_most_come_first():
    a, b = np.array([1.0, 0]), np.array([0.0, 1])
    answers = measured(float=[a, a, a], int8=[a, b, a + b])
    found = find(Embedding("v"), samples(3), answers, "float")
    assert [each.sample.name for each in found.worst["int8"]] == ["1.png", "2.png"]
    assert found.worst["int8"][0].answer.text == "0, 1"


def test_an_answer_that_is_no_number_is_the_worst():
    answers = measured(float=[[np.ones(8)]] * 2, int8=[[np.full(8, 1.5)], [np.full(8, np.nan)]])
    found = find(Tensors(None), samples(2), answers, "float")
    assert [each.sample.name for each in found.worst["int8"]] == ["1.png", "0.png"]
    assert found.worst["int8"][1].answer.text == "1.5, 1.5, 1.5, 1.5, 1.5, 1.5, … (8)"


def test_of_the_five_best_classes_the_first_counts_and_all_are_shown():
    labels = tuple("abcdefg")
    first, near, far = (0, 1, 2, 3, 4), (1, 0, 2, 3, 4), (1, 2, 3, 4, 5)
    answers = measured(float=[first] * 3, int8=[first, near, far])
    found = find(TopFive("s", np.array([0, 0, 0]), labels), samples(3), answers, "float")
    assert found.changes["int8"].cells == ((0, 1, 2),)
    assert [(each.sample.name, each.change) for each in found.worst["int8"]] == [
        ("2.png", "lost"),
        ("1.png", "changed"),
    ]
    assert found.worst["int8"][0].answer.text == "b, c, d, e, f"


def test_with_a_metric_of_ones_own_classes_are_still_classes():
    value = {"kind": "label", "scores": "s", "labels": LABELS}
    outputs = [{"name": "s", "dtype": "float32", "shape": [3]}]
    inputs = [{"name": "x", "kind": "image"}]
    signature = Signature.model_validate({"inputs": inputs, "outputs": outputs, "value": value})
    usual = TopOne("s", None, LABELS)
    judge = Own(lambda found, truths: 1.0, signature, ["cat", "owl", None], usual)
    kept = [judge.keep({"s": np.eye(3, dtype=np.float32)[n]}) for n in range(3)]
    answers = measured(float=[kept[0], kept[2], kept[0]], int8=[kept[1], kept[1], kept[0]])
    found = find(judge, samples(3), answers, "float")
    assert found.confusion is None  # not every truth is known
    assert found.changes["int8"].cells == ((0, 1, 1), (2, 1, 1))
    assert [each.truth.text for each in found.worst["int8"]] == ["cat", "owl"]
    assert found.counts["int8"] == {"lost": 2}


def test_boxes_that_are_named_are_shown_by_a_metric_of_ones_own():
    truth = Boxes(np.array([[0.0, 0, 9, 9]]), ("owl",), np.array([False]))
    judge = Detections(Value(), None)
    judge.truth = [truth]
    answers = measured(float=[boxes((0, 0, 9, 9, 1, 0.9))], int8=[boxes()])
    (worst,) = find(judge, samples(1), answers, "float").worst["int8"]
    assert worst.truth.text == "1 to find"
    assert worst.truth.boxes[0].label == "owl"


def test_a_number_is_shown_beside_the_one_that_is_right():
    truth = np.array([1.0, 2.0])
    answers = measured(float=[[np.array([1.1])], [np.array([2.0])]], int8=[[np.array([5.0])]] * 2)
    found = find(Tensors(truth), samples(2), answers, "float")
    worst = found.worst["int8"][0]
    assert (worst.truth.text, worst.reference.text, worst.answer.text) == ("1", "1.1", "5")
