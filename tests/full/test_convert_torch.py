"""A PyTorch module becomes a package; in the environment that has PyTorch."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as pillow

import wherever
from wherever_convert.running import run_model
from wherever_convert.sources import Request, find_source
from wherever_convert.sources.witnesses import compared
from wherever_edge.builtin import digits_test_split
from wherever_edge.packages.store import open_package

pytestmark = [pytest.mark.full, pytest.mark.environments("litert-torch")]

NO_PYTHON = "WHEREVER_TRAIN_PYTHON names no Python that has PyTorch (`make test-full` sets one up)"

NETWORK = '''
import random

import numpy as np
import torch
from torch import nn
from wherever_edge.builtin import digits_test_split


def model():
    """A small network, trained on half of the digits in a second."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    images, labels = digits_test_split()
    x = torch.from_numpy(images[:300].astype(np.float32))[:, None] / 16
    y = torch.from_numpy(labels[:300].astype(np.int64))
    network = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 16, 3, stride=2, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Dropout(0.2), nn.Linear(16 * 4 * 4, 10),
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x), y).backward()
        optimizer.step()
    return network


class Stubborn(nn.Module):
    """Takes one row only, and gives two tensors."""

    def forward(self, x):
        if x.shape[0] != 1:
            raise ValueError("one row")
        return {"sum": x.sum(dim=1), "twice": x * 2}


stubborn = Stubborn()


class Impossible(nn.Module):
    def forward(self, x):
        raise RuntimeError("not today")


class Fickle(nn.Module):
    """Answers otherwise every time; an export keeps to one of the answers."""

    def forward(self, x):
        return x * random.random()


impossible, fickle = Impossible(), Fickle()
'''


CASES = """
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn
from wherever_convert.running import run_model
from wherever_convert.sources import Request, find_source
from wherever_convert.sources.witnesses import compared


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8 * 16 * 16, 5)

    def forward(self, x):
        maps = torch.relu(self.conv(x))
        scores = self.head(maps.flatten(1)).softmax(1)
        return {"scores": scores, "more": (maps.mean((2, 3)), maps.sum((1, 2, 3)))}


class Pair(nn.Module):
    def forward(self, left, right):
        return left * right + 1, left.sum(1)


class WithExample(Pair):
    example_input_array = (torch.rand(3, 4), torch.rand(3, 4))


class Deciding(nn.Module):
    def forward(self, x):
        return x * 2 if x.sum() > 0 else x - 1


def outcome(source, rows, formats=(), **changes):
    with tempfile.TemporaryDirectory() as scratch:
        request = Request(rows, "tensors", frozenset(formats), Path(scratch), **changes)
        try:
            model = find_source(source).load(source, request)
        except Exception as error:
            return {"error": str(error), "type": type(error).__name__}
        parities = {
            kind: compared(model.witness, run_model(file, model.witness.inputs)).error
            for kind, file in model.files.items()
        }
        tools = sorted(model.facts["tools"])
        return {"errors": parities, "batch": model.batch, "also": dict(model.also), "tools": tools}


torch.manual_seed(0)
rows = np.random.default_rng(0).random((5, 3, 16, 16), np.float32)
one, two = torch.rand(1, 3, 16, 16), torch.rand(2, 3, 16, 16)
any_rows = ({0: torch.export.Dim("n")},)
program = torch.export.export(Nested().eval(), (one,))
torch.export.save(program, "program.pt2")
Path("broken.pt2").write_bytes(b"PK no archive")
training = Nested()
print(json.dumps({
    "nested": outcome(training, rows, ["tflite"]),
    "still training": training.training,
    "half": outcome(Nested().half(), rows),
    "double": outcome(Nested().double(), rows),
    "pair": outcome(WithExample(), None),
    "pair without example": outcome(Pair(), rows),
    "no example": outcome(Nested(), None),
    "deciding": outcome(Deciding(), rows),
    "program": outcome(program, rows),
    "program of any rows": outcome(
        torch.export.export(Nested().eval(), (two,), dynamic_shapes=any_rows), rows
    ),
    "file": outcome("program.pt2", rows),
    "file that is trusted": outcome("program.pt2", rows, allow_code=True),
    "broken file": outcome("broken.pt2", rows, allow_code=True),
}))
"""


@pytest.fixture(scope="module")
def outcomes(torch_python, tmp_path_factory) -> dict:
    """What sources make of some modules, in the environment that has PyTorch."""
    done = subprocess.run(
        [torch_python, "-c", CASES],
        cwd=tmp_path_factory.mktemp("cases"),
        capture_output=True,
        text=True,
        check=False,
        timeout=550,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # torch's own words stay off standard output


@pytest.fixture(scope="module")
def torch_python() -> str:
    given = os.environ.get("WHEREVER_TRAIN_PYTHON", "")
    if given and Path(given).is_file():
        return given
    if os.environ.get("CI") == "true":
        pytest.fail(f"in CI this may not be skipped: {NO_PYTHON}")
    pytest.skip(NO_PYTHON)


@pytest.fixture
def folder(tmp_path):
    """A network, and digits that it has not seen."""
    images, labels = digits_test_split()
    (tmp_path / "network.py").write_text(NETWORK)
    x = images[300:].astype(np.float32)[:, None] / 16
    np.savez(tmp_path / "digits.npz", x=x, y=labels[300:])
    np.savez(tmp_path / "rows.npz", x=x.reshape(len(x), 64)[:40])
    return tmp_path


def run(python, folder, *arguments):
    command = [python, "-m", "wherever", "convert", *arguments, "--json"]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.mark.timeout(300)
def test_a_module_becomes_a_package_on_the_shell(torch_python, folder):
    arguments = ["network.py:model", "--samples", "digits.npz", "--task", "classify"]
    code, report = run(torch_python, folder, *arguments, "-o", "out", "--max-drop", "2%")
    assert code == 0, report
    values = {row["target"]: row["value"] for row in report["rows"]}
    assert values["fp32"] > 0.9
    # a network this small may be slower in int8, and is then left out or offered last
    assert {"fp32", "int8"} == {*values, *report["left_out"]}
    assert report["source"]["module"] == "Sequential"
    package = open_package(folder / "out")
    package.verify()
    assert package.manifest.variants[0].tensors.batch
    parity = package.manifest.provenance["source"]["parity"]
    assert parity["agreement"] == 1
    assert parity["error"] < 1e-4
    images, labels = digits_test_split()
    with wherever.Client(packages=[package.root]) as client:
        found = [client.predict("out", image[None] / np.float32(16)).value for image in images[:50]]
    assert (np.array(found) == labels[:50].astype(str)).mean() > 0.9


@pytest.mark.timeout(300)
def test_a_module_on_images_is_exported_for_the_size_that_is_said(torch_python, folder):
    images, labels = digits_test_split()
    for number, (image, label) in enumerate(zip(images[300:420], labels[300:], strict=False)):
        path = folder / "photos" / str(label) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pillow.fromarray((image * 15).astype(np.uint8)).save(path)
    arguments = ["network.py:model", "--samples", "photos", "--task", "classify", "-o", "out"]
    code, refused = run(torch_python, folder, *arguments)
    assert code == 1
    assert "--input-size HEIGHTxWIDTH" in refused["error"]["message"]
    arguments += ["--input-size", "8x8", "--channels", "grey", "--scale", str(1 / 15 / 16)]
    code, report = run(torch_python, folder, *arguments)
    assert code == 0, report
    assert all(row["value"] > 0.9 for row in report["rows"])
    assert report["pipeline"]["pre"][0]["order"] == "grey"


@pytest.mark.timeout(300)
def test_the_graph_of_a_module_that_takes_one_row_may_take_more(torch_python, folder):
    arguments = ["network.py:stubborn", "--samples", "rows.npz", "--task", "tensors"]
    code, report = run(torch_python, folder, *arguments, "-o", "out")
    assert code == 0, report
    package = open_package(folder / "out")
    assert package.manifest.variants[0].tensors.batch  # tried with random rows
    with wherever.Client(packages=[package.root]) as client:
        assert len(client.predict("out", np.ones(64, np.float32)).value) == 2


@pytest.mark.timeout(300)
def test_a_module_that_cannot_be_exported_says_why(torch_python, folder):
    arguments = ["network.py:impossible", "--samples", "rows.npz", "--task", "tensors"]
    code, refused = run(torch_python, folder, *arguments, "-o", "out")
    assert code == 1
    assert refused["error"]["code"] == "conversion"
    assert (
        "torch.onnx cannot export Impossible for rows of shape [64]" in refused["error"]["message"]
    )
    assert not (folder / "out").exists()


@pytest.mark.timeout(300)
def test_an_export_that_answers_otherwise_is_refused(torch_python, folder):
    arguments = ["network.py:fickle", "--samples", "rows.npz", "--task", "tensors"]
    code, refused = run(torch_python, folder, *arguments, "-o", "out")
    assert code == 1
    assert "the onnx file answers as the source does on" in refused["error"]["message"]
    assert not (folder / "out").exists()


@pytest.mark.timeout(300)
def test_a_pickle_of_a_module_is_refused(torch_python, folder):
    (folder / "weights.pt").write_bytes(b"PK")
    arguments = ["weights.pt", "--samples", "digits.npz", "--task", "classify", "-o", "out"]
    code, refused = run(torch_python, folder, *arguments)
    assert code == 1
    assert "pickles can run code" in refused["error"]["message"]


@pytest.mark.timeout(300)
def test_what_the_export_needs_is_named_with_its_command(torch_python, folder):
    text = "import sys\nsys.modules['onnxscript'] = None\nfrom network import stubborn\n"
    (folder / "without.py").write_text(text)
    arguments = ["without.py:stubborn", "--samples", "rows.npz", "--task", "tensors"]
    code, refused = run(torch_python, folder, *arguments, "-o", "out")
    assert code == 1
    assert refused["error"]["code"] == "missing_extra"
    assert "pip install onnx onnxscript" in refused["error"]["message"]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("case", "batch"),
    [
        ("nested", True),
        ("half", True),
        ("double", True),
        ("pair", True),
        ("program", False),
        ("program of any rows", True),
        ("file that is trusted", False),
    ],
)
def test_modules_and_programs_answer_as_they_do_in_torch(outcomes, case, batch):
    assert outcomes[case]["batch"] is batch, outcomes[case]
    assert max(outcomes[case]["errors"].values()) < 1e-5


def test_a_module_is_had_as_a_litert_file_that_answers_the_same(outcomes):
    assert outcomes["nested"]["errors"].keys() == {"onnx", "tflite"}, outcomes["nested"]
    assert {"litert-torch", "torch"} <= set(outcomes["nested"]["tools"])


def test_a_module_is_left_as_it_was(outcomes):
    assert outcomes["still training"]


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("pair without example", "takes 2 tensors (left, right): set its attribute"),
        ("no example", "--input-size HEIGHTxWIDTH"),
        ("deciding", "its forward() decides by the values of tensors (Could not guard on"),
        ("file", "loading a torch.export file can run code that it holds"),
        ("broken file", "broken.pt2 is no program of torch.export that this torch can read"),
    ],
)
def test_what_cannot_be_exported_is_refused_in_one_line(outcomes, case, reason):
    assert outcomes[case]["type"] == "ConversionError"
    assert reason in outcomes[case]["error"]
    assert "\n" not in outcomes[case]["error"]


@pytest.mark.timeout(300)
def test_a_python_with_torch_can_be_named_where_there_is_none(torch_python, folder, monkeypatch):
    monkeypatch.chdir(folder)
    rows = np.random.default_rng(0).random((4, 1, 8, 8), np.float32)
    request = Request(rows, "classify", frozenset(), folder, python=Path(torch_python))
    model = find_source("network.py:model").load("network.py:model", request)
    parity = compared(model.witness, run_model(model.files["onnx"], model.witness.inputs))
    assert parity.error < 1e-5
    assert model.facts["module"] == "Sequential"
