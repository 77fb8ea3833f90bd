"""A session that leaves the memory when nobody holds it."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import pytest

from wherever_contracts.tensors import TensorSpec
from wherever_devices.plans import RunPlan
from wherever_edge.engines.engine import EngineFacts, Session
from wherever_edge.resident import Resident


class Interrupted(Session):
    """One whose end takes a while, and Ctrl-C is pressed meanwhile."""

    def __init__(self) -> None:
        facts = EngineFacts("none", "1", "cpu", "float32", 1)
        super().__init__((), (TensorSpec("y", "float32", (1,)),), facts)
        self.closed = threading.Event()

    def _run(self, feed: dict[str, Any]) -> dict[str, Any]:
        return feed

    def close(self) -> None:
        self.closed.set()
        os.kill(os.getpid(), signal.SIGINT)
        threading.Event().wait(20)


@pytest.mark.skipif(os.name == "nt", reason="os.kill ends the process there")
def test_a_ctrl_c_while_a_session_is_closed_is_heard_once_it_has_left() -> None:
    session = Interrupted()
    resident = Resident.of(RunPlan("none", "cpu", "float32", 1), session)

    def leave() -> None:
        resident.put_out()
        threading.Event().wait(20)

    with pytest.raises(KeyboardInterrupt):
        leave()
    assert session.closed.is_set()
    assert resident.session is None
