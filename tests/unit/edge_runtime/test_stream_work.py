"""Who works on the calls of streams goes on, whatever a call of them raises."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pytest

from wherever_contracts.wire.tensors import InferRequest
from wherever_edge.oip.stream_work import Workers

SOON_S = 10.0


class Caller(NamedTuple):
    key: None = None
    n_bytes: int = 1


class Call(NamedTuple):
    request: InferRequest
    caller: Any = Caller()


class Models:
    """Answers calls with their ids; `bad` is what the one named so raises, and where."""

    def __init__(self) -> None:
        self.bad: dict[str, BaseException] = {}
        self.told: list[Any] = []
        self.raised = threading.Semaphore(0)
        self.more = threading.Condition()

    def infer_many(self, requests: Sequence[InferRequest], _callers: object) -> Any:
        return [self._named("infer", request) for request in requests]

    def together(self, request: InferRequest) -> int:
        return 0 if self._named("together", request) == "brief" else 1

    def done(self, calls: Sequence[Any], outcomes: Sequence[Any]) -> None:
        for call in calls:
            self._named("done", call.request)
        with self.more:
            self.told += [str(each) for each in outcomes]
            self.more.notify_all()

    def hears(self, *outcomes: Any) -> bool:
        with self.more:
            return self.more.wait_for(lambda: sorted(self.told) == sorted(outcomes), SOON_S)

    def _named(self, where: str, request: InferRequest) -> str:
        if request.id == "bad" and where in self.bad:
            self.raised.release()
            raise self.bad[where]
        return request.id if where == "infer" else request.model


def call(id_: str, model: str = "model") -> Call:
    return Call(InferRequest(model, "", id_, {}, ()))


@pytest.fixture
def models() -> Models:
    return Models()


@pytest.fixture
def workers(models: Models) -> Iterator[Workers]:
    found = Workers(models.infer_many, models.together, models.done, most=1)
    yield found
    found.close()


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1)])
@pytest.mark.parametrize("where", ["infer", "done"])
@pytest.mark.parametrize("model", ["model", "brief"])
def test_a_worker_goes_on_with_the_next_call_whatever_one_raised(
    workers, models, where, error, model
):
    models.bad = {where: error}
    for _ in range(3):
        workers.put([call("bad", model)])
        assert models.raised.acquire(timeout=SOON_S)
    workers.put([call("good", model)])
    told = {"infer": [str(error) if isinstance(error, ValueError) else repr(error)] * 3}
    assert models.hears("good", *told.get(where, ()))


def test_who_answers_a_call_on_the_spot_leaves_room_for_the_next_whatever_it_raised(
    workers, models
):
    models.bad = {"done": ValueError("no")}
    assert workers.answer_here(call("bad", "brief"))
    assert workers.answer_here(call("good", "brief"))
    assert models.hears("good")


def test_a_call_whose_company_cannot_be_told_is_answered_by_itself(workers, models):
    models.bad = {"together": ValueError("no")}
    assert not workers.answer_here(call("bad", "brief"))
    workers.put([call("bad", "brief"), call("good", "brief")])
    assert models.hears("bad", "good")
