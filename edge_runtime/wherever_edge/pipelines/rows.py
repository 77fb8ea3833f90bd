"""Several rows of one call through an engine that takes one at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from wherever_edge.resident import Ran

# In the state: the tensor whose rows go through the engine one after another.
IN_TURN = "in_turn"


def run_in_turn(run: Callable[[Mapping[str, Any]], Ran], state: Mapping[str, Any]) -> Ran:
    """Run each row of the tensor that `state[IN_TURN]` names; other tensors go along every time.

    Args:
        run: one run of the engine.
        state: the pipeline's.

    Returns:
        The outputs joined along their first axis, the times added up, and the rows of the run
        that was shared the most.

    Raises:
        EngineError: as `run` does.
    """
    name: str = state[IN_TURN]
    tensor = state[name]
    each = [run({**state, name: tensor[row : row + 1]}) for row in range(len(tensor))]
    outputs = {key: np.concatenate([ran.outputs[key] for ran in each]) for key in each[0].outputs}
    engine_s, queue_s = sum(ran.engine_s for ran in each), sum(ran.queue_s for ran in each)
    return Ran(outputs, engine_s, queue_s, max(ran.rows for ran in each))
