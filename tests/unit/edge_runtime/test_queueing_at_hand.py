"""Calls that came together: whether they share a run."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from time import perf_counter
from typing import Any

import numpy as np
import pytest

from wherever_contracts.tensors import TensorSpec
from wherever_contracts.urgency import CALM, Urgency
from wherever_edge.queueing.lane import Lane
from wherever_edge.queueing.policy import Limits
from wherever_edge.queueing.run_queue import RunQueue
from wherever_edge.queueing.sharing import Sharing
from wherever_edge.resident import Ran

ONE = {"x": np.zeros((1, 4), np.float32)}


def lane(run_s: float, row_s: float) -> Lane:
    """One whose runs take `run_s`, and `row_s` for each row; it has run a few."""

    def run(tensors: Mapping[str, Any]) -> Ran:
        rows = len(tensors["x"])
        return Ran({"y": tensors["x"]}, run_s + rows * row_s, 0.0)

    made = Lane(RunQueue(2, 8), run, [TensorSpec("x", "float32", (-1, 4))], batches=True)
    for _ in range(8):
        made.run(ONE, CALM)
    return made


def run_together(made: Lane, calls: int) -> None:
    made.run({"x": np.zeros((calls, 4), np.float32)}, CALM, calls)


def test_calls_share_a_run_where_one_run_costs_less_than_several() -> None:
    made = lane(1e-3, 1e-5)
    assert made.together > 1
    for _ in range(4):
        assert made.gain([ONE] * 8, CALM) == 8
        run_together(made, 8)
    assert made.gain([ONE] * 8, CALM) == 8


def test_calls_run_singly_once_it_is_known_that_a_shared_run_saves_nothing() -> None:
    made = lane(0.0, 1e-3)
    tries = 0
    while (together := made.gain([ONE] * 8, CALM)) > 1:
        run_together(made, together)
        tries += 1
        assert tries < 100
    assert tries > 0
    assert made.together == 1


def test_calls_of_different_shapes_share_no_run() -> None:
    other = {"x": np.zeros((1, 5), np.float32)}
    assert lane(1e-3, 1e-5).gain([ONE, other], CALM) == 1


def test_no_more_rows_share_a_run_than_the_operator_says() -> None:
    made = lane(1e-3, 1e-5)
    made.share_by(Sharing(limits=Limits(rows=4)))
    assert made.together == 4
    assert made.gain([ONE] * 4, CALM) == 4
    assert made.gain([ONE] * 5, CALM) == 2


def test_a_run_is_not_shared_where_one_of_its_calls_would_be_late() -> None:
    made = lane(0.5, 1e-5)
    urgent = Urgency("interactive", perf_counter() + 0.1)
    assert made.gain([ONE] * 3, CALM) == 3
    assert made.gain([ONE] * 3, urgent) == 1


def test_a_long_run_tries_more_rows_step_by_step() -> None:
    made = lane(0.5, 1e-5)
    shared = []
    for _ in range(20):
        shared.append(made.gain([ONE] * 32, CALM))
        run_together(made, shared[-1])
    assert shared[0] == 2
    assert shared[-1] == 32
    assert all(later <= 2 * sooner for sooner, later in itertools.pairwise(shared))


def test_a_long_run_that_gains_nothing_never_takes_many_rows() -> None:
    made = lane(0.0, 0.5)
    for _ in range(3000):
        rows = made.gain([ONE] * 32, CALM)
        run_together(made, rows)
        assert rows <= 3


@pytest.mark.parametrize(("run_s", "tiny"), [(5e-6, True), (1e-3, False)])
def test_a_model_is_tiny_that_runs_for_less_than_waking_a_thread(run_s: float, tiny: bool) -> None:
    assert lane(run_s, 0.0).tiny is tiny


def test_a_tiny_model_waits_for_nobody_while_others_take_every_run() -> None:
    queue = RunQueue(2, 8)
    made = Lane(
        queue,
        lambda tensors: Ran({"y": tensors["x"]}, 5e-6, 0.0),
        [TensorSpec("x", "float32", (-1, 4))],
        batches=True,
    )
    for _ in range(8):
        made.run(ONE, CALM)
    assert queue.begin(None)
    assert queue.begin(None)
    assert made.run(ONE, Urgency(deadline=perf_counter())).queue_s == 0.0
    assert queue.waiting == 0


def test_a_model_that_is_slow_only_after_pauses_is_tiny() -> None:
    ran_s = iter([50e-6, 45e-6, 50e-6, 25e-6, 8e-6, 5e-6])

    def run(tensors: Mapping[str, Any]) -> Ran:
        return Ran({"y": tensors["x"]}, next(ran_s), 0.0)

    made = Lane(RunQueue(2, 8), run, [TensorSpec("x", "float32", (-1, 4))], batches=True)
    for _ in range(3):
        made.run(ONE, CALM)
    assert made.tiny
