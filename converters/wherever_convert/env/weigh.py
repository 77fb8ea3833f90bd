"""Open a model and run it once, in a process of its own, to see what memory that takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from wherever_convert.env.script import main
from wherever_devices.plans import RunPlan
from wherever_edge.engines.engine import Resources
from wherever_edge.engines.installed import InstalledEngines
from wherever_edge.memory import peak_bytes, resident_bytes


def weigh(job: dict[str, Any]) -> dict[str, Any]:
    """Weigh a model.

    Args:
        job: `engine`, `threads`, `format`, `files`, and `feed`, an .npz file with its tensors.
    """
    engines = InstalledEngines()
    engines.devices(job["engine"])  # the runtime itself is not weighed
    plan = RunPlan(job["engine"], "cpu", "float32", job["threads"])
    with np.load(job["feed"], allow_pickle=False) as arrays:
        feed = dict(arrays)
    files = [Path(path).read_bytes() for path in job["files"]]
    before = resident_bytes()
    _forget_peak()
    session = engines.open(plan, job["format"], files, Resources())
    session.run(feed)
    return {"bytes": max(0, max(peak_bytes(), resident_bytes()) - before)}


def _forget_peak() -> None:
    """Let the peak be what is used now; only Linux can, elsewhere it is that of the process."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


if __name__ == "__main__":
    main(weigh)
