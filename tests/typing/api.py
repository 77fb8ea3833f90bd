"""Uses of the public API as users write them; checked by mypy and pyright, never run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, assert_type

import wherever
from wherever.models import digits


def one_call() -> None:
    prediction = wherever.predict("digits", [0.0] * 64, mode="auto", deadline_s=0.2)
    assert_type(prediction, wherever.Prediction)
    assert_type(prediction.confidence, float | None)
    assert_type(prediction.degraded, bool)
    assert_type(prediction.receipt, wherever.Receipt)
    assert_type(prediction.explain(), str)
    assert_type(prediction.to_dict(), dict[str, Any])


def a_handle() -> None:
    people = wherever.model("people")
    assert_type(people, wherever.Model)
    answer = people(
        "frame.jpg", mode="prefer_in_cloud", boundary="site", places=["device"], strict=True
    )
    assert_type(answer, wherever.Prediction)
    people(b"jpeg", min_score=0.5, strict=True, priority="background")
    promised = people("frame.jpg", max_disagreement=0.02, confidence=0.99, budget={"calls": 600})
    assert_type(promised.feedback(accepted=True), None)
    people("frame.jpg", min_confidence=0.8, record=True)
    assert_type(people.map(["a.jpg", "b.jpg"], batch=8), Iterator[wherever.Prediction])
    assert_type(people.amap(["a.jpg"]), AsyncIterator[wherever.Prediction])
    assert_type(digits, wherever.Model)


async def in_a_task() -> None:
    assert_type(await wherever.apredict("digits", [0.0] * 64), wherever.Prediction)
    assert_type(await digits.aio([0.0] * 64, deadline_s=1.0), wherever.Prediction)


def a_client() -> None:
    with wherever.Client(gateways=["gw:8001"], packages=["models"], deadline_s=1.0) as client:
        assert_type(client, wherever.Client)
        assert_type(client.predict("digits", [0.0] * 64), wherever.Prediction)
        assert_type(client.status().to_dict(), dict[str, Any])


def errors() -> None:
    try:
        wherever.predict("digits", "nonsense")
    except wherever.NoRouteError as error:
        assert_type(error.causes, tuple[wherever.WhereverError, ...])
    except wherever.InputError as error:
        assert_type(error.field, str)
