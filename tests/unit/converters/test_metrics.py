"""Our mAP is COCO's; the other measures say what their names promise."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from wherever_convert.metrics import (
    OVERLAPS,
    Labelled,
    f1_scores,
    mean_average_precision,
    r_squared,
)
from wherever_edge.agreement import Found

NOTHING = Found(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int))


def some_boxes(random, count):
    corner = random.uniform(0, 60, (count, 2))
    return np.hstack([corner, corner + random.uniform(5, 40, (count, 2))])


def some_truth(random):
    count = random.integers(0, 9)
    crowd = random.random(count) < 0.15
    return Labelled(some_boxes(random, count), random.integers(0, 4, count), crowd)


def some_finds(random, truth, decimals):
    """Near misses of what is there, several for some, and a few of nothing."""
    which = np.repeat(np.arange(len(truth.boxes)), random.integers(0, 3, len(truth.boxes)))
    moved = truth.boxes[which] + random.normal(0, 3, (len(which), 4))
    low, high = np.minimum(moved[:, :2], moved[:, 2:]), np.maximum(moved[:, :2], moved[:, 2:])
    near = np.hstack([low, high + 0.01])
    count = random.integers(0, 4)
    boxes = np.vstack([near, some_boxes(random, count)])
    classes = np.concatenate([truth.classes[which], random.integers(0, 5, count)])
    return Found(boxes, random.random(len(boxes)).round(decimals), classes)


def rows(image, boxes, classes, **more):
    sized = np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]])
    return [
        {"image_id": image, "category_id": int(kind), "bbox": box, "area": box[2] * box[3]}
        | {key: values[position] for key, values in more.items()}
        for position, (box, kind) in enumerate(zip(sized.tolist(), classes, strict=True))
    ]


def coco_figures(found, truth):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    annotations, results = [], []
    for image, (own, real) in enumerate(zip(found, truth, strict=True)):
        annotations += rows(image, real.boxes, real.classes, iscrowd=real.crowd.astype(int))
        results += rows(image, own.boxes, own.classes, score=own.scores)
    with contextlib.redirect_stdout(io.StringIO()):
        table = COCO()
        table.dataset = {
            "images": [{"id": image, "width": 100, "height": 100} for image in range(len(truth))],
            "categories": [{"id": kind} for kind in range(5)],
            "annotations": [{"id": i, **row} for i, row in enumerate(annotations, start=1)],
        }
        table.createIndex()
        run = COCOeval(table, table.loadRes(results), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run.stats[0], run.stats[1]


@pytest.mark.parametrize("decimals", [1, 6])
@pytest.mark.parametrize("seed", range(20))
def test_mean_average_precision_is_that_of_coco(seed, decimals):
    random = np.random.default_rng(seed)
    truth = [some_truth(random) for _ in range(8)]
    found = [some_finds(random, each, decimals) for each in truth]
    every, half = coco_figures(found, truth)
    assert mean_average_precision(found, truth) == pytest.approx(every, abs=1e-9)
    assert mean_average_precision(found, truth, OVERLAPS[:1]) == pytest.approx(half, abs=1e-9)


def test_more_than_a_hundred_boxes_of_an_image_do_not_count():
    truth = [Labelled(np.array([[0.0, 0, 9, 9]]), np.array([1]), np.array([False]))]
    wrong = np.tile([50.0, 50, 60, 60], (100, 1))
    boxes = np.vstack([wrong, truth[0].boxes])
    scores = np.append(np.full(100, 0.9), 0.1)
    assert mean_average_precision([Found(boxes, scores, np.ones(101, int))], truth) == 0


def test_perfect_detections_score_one_and_none_score_nothing():
    random = np.random.default_rng(5)
    truth = [some_truth(random)._replace(crowd=np.zeros(0, bool)) for _ in range(3)]
    truth = [each._replace(crowd=np.zeros(len(each.boxes), bool)) for each in truth]
    found = [Found(each.boxes, np.ones(len(each.boxes)), each.classes) for each in truth]
    assert mean_average_precision(found, truth) == pytest.approx(1)
    assert mean_average_precision([NOTHING] * 3, truth) == 0


def test_where_there_is_nothing_to_find_the_score_is_nothing():
    empty = Labelled(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0, bool))
    assert mean_average_precision([NOTHING], [empty]) == 0
    assert mean_average_precision([], []) == 0


classes = st.lists(st.integers(0, 3), min_size=1, max_size=30)


@given(classes, st.data())
def test_f1_is_that_of_scikit_learn(truth, data):
    count = len(truth)
    found = data.draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
    ours = f1_scores(np.array(found), np.array(truth))
    assert ours == pytest.approx(f1_score(truth, found, average=None, zero_division=0))
    one = f1_scores(np.array(found), np.array(truth), 2)
    (wanted,) = f1_score(truth, found, labels=[2], average=None, zero_division=0)
    assert one == pytest.approx([wanted])


def test_r_squared_of_the_truth_is_one_and_of_the_mean_zero():
    truth = np.array([1.0, 2.0, 3.0])
    assert r_squared(truth, truth) == 1
    assert r_squared(np.full(3, 2.0), truth) == 0
    assert r_squared(np.array([1.0]), np.array([2.0])) == 0
