"""The same model, samples and seed give the same variants, byte for byte.

Which engines a variant is offered in, and so whose answers are golden, follows from races.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from wherever_edge.builtin import PACKAGES, digits_test_split

ESTIMATOR = """
from pathlib import Path
import numpy as np
from sklearn.neural_network import MLPClassifier

def estimator():
    with np.load(Path(__file__).with_name("samples.npz")) as data:
        x, y = data["x"].reshape(len(data["x"]), -1), data["y"]
    return MLPClassifier((32,), max_iter=20, random_state=0).fit(x, y)
"""


def converted(folder: Path, seed: str, source: str, flatten: bool, *targets: str) -> Path:
    """The package that a process with another seed of hashes makes, in a folder of its own."""
    folder.mkdir()
    images, labels = digits_test_split()
    x = images.astype(np.float32)
    x = x.reshape(len(x), 64) if flatten else x[:, None]
    np.savez(folder / "samples.npz", x=x[:120], y=labels[:120])
    shutil.copy(PACKAGES / "digits" / "cnn.onnx", folder)
    (folder / "model.py").write_text(ESTIMATOR)
    arguments = ["convert", source, "--samples", "samples.npz", "--task", "classify", "-o", "made"]
    arguments += ["--max-drop", "100%", *(word for each in targets for word in ("--target", each))]
    done = subprocess.run(
        [sys.executable, "-m", "wherever", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "made"


def digests(package: Path) -> dict[str, str]:
    """Of the files of the variants."""
    return {
        str(path.relative_to(package)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(package.rglob("*"))
        if path.is_file() and path.suffix not in {".json", ".frame"}
    }


def manifest(package: Path) -> object:
    """What `model.json` says that was not measured; the fastest variant comes first in it."""
    data = json.loads((package / "model.json").read_text())
    data["variants"].sort(key=lambda each: each["id"])
    return without_clocks(data)


def without_clocks(value: object) -> object:
    """What a manifest says, but for what was found out with clocks and memory meters."""
    if isinstance(value, dict):
        left = {k: v for k, v in value.items() if k not in _MEASURED}
        return {key: without_clocks(each) for key, each in left.items()}
    return [without_clocks(each) for each in value] if isinstance(value, list) else value


_MEASURED = frozenset({"memory_bytes", "certificates", "golden", "needs", "places", "raced"})
pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]


@pytest.mark.parametrize(
    ("source", "targets", "suffixes"),
    [
        ("cnn.onnx", ("int8", "fp16", "ir"), {"-fp32.onnx", "-int8.onnx", "-fp16.onnx", "-ir.bin"}),
        ("model.py:estimator", ("int8",), {"-fp32.onnx", "-int8.onnx"}),
    ],
)
def test_the_same_conversion_twice_gives_the_same_bytes(tmp_path, source, targets, suffixes):
    flatten = source.startswith("model.py")
    one = converted(tmp_path / "one", "1", source, flatten, *targets)
    two = converted(tmp_path / "another", "2", source, flatten, *targets)
    assert digests(one) == digests(two)
    assert {f"made{suffix}" for suffix in suffixes} <= set(digests(one))
    assert manifest(one) == manifest(two)
