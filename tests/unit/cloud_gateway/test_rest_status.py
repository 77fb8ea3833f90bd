"""Every error has an HTTP status of its own kind."""

from __future__ import annotations

import pytest

from wherever_contracts import errors
from wherever_contracts.errors import WhereverError
from wherever_contracts.wire.framing import WireError
from wherever_gateway.rest.status import STATUS, status_of

CLASSES = [value for name, value in vars(errors).items() if name.endswith("Error")]


@pytest.mark.parametrize("kind", CLASSES)
def test_the_table_is_total_over_the_tree_of_errors(kind):
    below_root = kind.__mro__[: kind.__mro__.index(WhereverError)] or [WhereverError]
    row = next(each for each in below_root if each in STATUS)
    assert status_of(kind.__new__(kind)) == STATUS[row]


def test_the_statuses_are_those_that_clients_act_on():
    statuses = {kind.__name__: STATUS[kind] for kind in STATUS}
    assert statuses["ModelNotFoundError"] == 404
    assert {statuses["InputError"], statuses["WireError"]} == {400}
    assert statuses["OverloadedError"] == 429
    assert statuses["ClosedError"] == 503
    assert statuses["DeadlineError"] == 504
    assert statuses["EngineError"] == 500
    assert status_of(WireError("x")) == 400
    assert status_of(ZeroDivisionError()) == 500
    assert status_of(ValueError()) == 500
