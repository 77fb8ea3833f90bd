"""Run golden samples in OpenVINO as a processor with fewer instructions would."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from wherever_convert.env.script import main
from wherever_edge.host import LocalHost
from wherever_edge.packages.golden import sample_inputs
from wherever_edge.packages.golden_frames import read_sample
from wherever_edge.packages.package import open_directory
from wherever_edge.packages.store import Store


def imitate(job: dict[str, Any]) -> dict[str, Any]:
    """Write answers, and the tensors that the engine gave, into an .npz file beside each sample.

    Args:
        job: `instructions` (as oneDNN calls them), `package`, `variant`, and `samples`, files of
            golden samples.
    """
    os.environ["ONEDNN_MAX_CPU_ISA"] = job["instructions"]  # read when OpenVINO is imported
    package = open_directory(Path(job["package"]))
    with closing(LocalHost(Store(builtin=False), distance="cloud", proves=False)) as host:
        loaded = host.load(package, package.manifest.variant(job["variant"]), "openvino")
        for path in map(Path, job["samples"]):
            sample = read_sample(path.name, path.read_bytes())
            traced = loaded.trace(*sample_inputs(loaded, sample))
            arrays = {f"outputs/{name}": array for name, array in traced.outputs.items()}
            arrays |= {f"given/{name}": array for name, array in (traced.given or {}).items()}
            saved: dict[str, Any] = arrays
            np.savez(path.with_suffix(".npz"), **saved)
    return {}


if __name__ == "__main__":
    main(imitate)
