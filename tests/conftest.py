"""What every tier of tests shares."""

from __future__ import annotations

import gc
import itertools
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import settings
from onnx import TensorProto, helper, numpy_helper

from wherever_convert.builder import build_package
from wherever_edge.packages.store import Package

# a machine at work is no reason to fail
settings.register_profile("unhurried", settings(), deadline=None)
settings.load_profile("unhurried")

ENVIRONMENTS = "WHEREVER_ENVIRONMENTS"
TURNS = "WHEREVER_TEST_TURNS"
IN_CI = os.environ.get("CI") == "true"
# OpenMP's threads spin while they wait: on a machine at work a second becomes a minute
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # as in a shell's background job; the processes that tests start and interrupt would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)
NO_DATA = (
    "WHEREVER_TEST_DATA is not set: this test needs the labelled images and models "
    "of the project's test data"
)


def pytest_configure(config: pytest.Config) -> None:
    """Make what all workers share, in the process that starts them.

    Converters keep the environments that they make where WHEREVER_ENVIRONMENTS names: one that
    names a place already is used, and stays; else it is a place that goes with the last test.
    """
    if hasattr(config, "workerinput"):
        return
    shared = Path(tempfile.mkdtemp(prefix="wherever-tests-"))
    os.environ[TURNS] = str(shared)
    if not os.environ.get(ENVIRONMENTS):
        os.environ[ENVIRONMENTS] = str(shared / "environments")
    config.add_cleanup(partial(shutil.rmtree, shared))


def pytest_collection_finish() -> None:
    """Let no collection of garbage walk thousands of tests, which stay to the end, again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True, tryfirst=True)  # waiting for a turn is none of a test's own time
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Run a test beside those of other workers, or alone when it is marked so."""
    if not hasattr(item.config, "workerinput"):
        return (yield)
    with _turn(Path(os.environ[TURNS]), alone=item.get_closest_marker("alone") is not None):
        return (yield)


@contextmanager
def _turn(folder: Path, *, alone: bool) -> Generator[None]:
    """Share the room with whoever wants to share it, or have it without anybody."""
    import fcntl  # not on Windows, where tests run one after the other (-n 0)

    with (folder / "door").open("w") as door, (folder / "room").open("w") as room:
        fcntl.flock(door, fcntl.LOCK_EX)  # who waits until all have left lets nobody else in
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(door, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(room, fcntl.LOCK_UN)  # closed is not enough: a forked child may have it


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The directory of real models and labelled data; CI has it, others may not."""
    given = os.environ.get("WHEREVER_TEST_DATA", "")
    if given and Path(given).is_dir():
        return Path(given)
    if IN_CI:
        pytest.fail(f"in CI this may not be skipped; {NO_DATA}")
    pytest.skip(NO_DATA)


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has a state directory of its own, and none of the caller's settings."""
    for name in list(os.environ):
        if name.startswith("WHEREVER_") and name not in (
            "WHEREVER_TEST_DATA",
            "WHEREVER_TRAIN_PYTHON",
            ENVIRONMENTS,
            TURNS,
        ):
            monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("WHEREVER_HOME", str(home))
    return home


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Finds ports for servers that are to come back to theirs, or cannot be given port 0.

    They lie below those that the system hands out: nobody is given one in between.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 4
    ports = itertools.count(20_000 + 3_000 * worker + os.getpid() % 2_000)

    def find() -> int:
        for port in ports:
            with suppress(OSError), socket.create_server(("127.0.0.1", port)):
                return port
        raise AssertionError

    return find


@pytest.fixture(scope="session")
def echo_package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """A package that gives back its tensor: float32 of any length, batches allowed."""
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "echo",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", "n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", "n"])],
    )
    root = tmp_path_factory.mktemp("packages") / "echo"
    shape = {"dtype": "float32", "shape": [-1, -1]}
    variant = {
        "id": "identity",
        "format": "onnx",
        "precision": "float32",
        "files": [_save(root, "identity.onnx", graph)],
        "tensors": {
            "inputs": [{"name": "x", **shape}],
            "outputs": [{"name": "y", **shape}],
            "batch": True,
        },
        "pipeline": {
            "pre": [{"op": "reshape", "name": "given", "to": "x", "shape": [1, -1]}],
            "post": [{"op": "first_row", "name": "y", "to": "echoed"}],
        },
    }
    return build_package(
        root,
        {
            "schema": "1.0",
            "name": "echo",
            "version": "1.0.0",
            "boundary": "anywhere",
            "reference": "identity",
            "signature": {
                "inputs": [{"name": "given", "kind": "tensor", "dtype": "float32", "shape": [-1]}],
                "outputs": [{"name": "echoed", "dtype": "float32", "shape": [-1]}],
                "value": {"kind": "tensors"},
            },
            "variants": [variant],
        },
    )


@pytest.fixture(scope="session")
def scales_package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """A classifier of three numbers with two variants whose answers tell which one ran.

    The largest number wins. `small` (the device's) is unsure when the numbers are close; `large`
    (the reference, not for the device) is always sure.
    """
    root = tmp_path_factory.mktemp("packages") / "scales"
    return build_package(root, _scales_manifest(root))


@pytest.fixture(scope="session")
def build_scales() -> Callable[..., Package]:
    """Builds the `scales` package under a directory, with fields of its manifest changed."""

    def build(root: Path, **changes: Any) -> Package:
        return build_package(root, {**_scales_manifest(root), **changes})

    return build


@pytest.fixture(scope="session")
def slow_scales_package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """The package `scales`, whose runs take long enough to wait for each other on any machine."""
    root = tmp_path_factory.mktemp("packages") / "scales"
    return build_package(root, _scales_manifest(root, width=1024))


def _scales_manifest(root: Path, width: int = 3) -> dict[str, Any]:
    """The manifest; a `width` above 3 multiplies by so large a matrix, to the same result."""
    numbers = np.eye(3, width, dtype=np.float32)
    layers = (numbers, np.eye(width, dtype=np.float32), numbers.T) if width > 3 else ()
    multiplied = [
        helper.make_node("MatMul", [f"h{n}" if n else "x", f"w{n}"], [f"h{n + 1}"])
        for n in range(len(layers))
    ]
    weights = [numpy_helper.from_array(layer, f"w{n}") for n, layer in enumerate(layers)]
    variants = []
    for name, factor, places in (("small", 1.0, ["device"]), ("large", 50.0, ["cloud"])):
        last = f"h{len(layers)}" if layers else "x"
        graph = helper.make_graph(
            [
                *multiplied,
                helper.make_node("Mul", [last, "factor"], ["scaled"]),
                helper.make_node("Softmax", ["scaled"], ["probabilities"]),
            ],
            name,
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 3])],
            [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["rows", 3])],
            [numpy_helper.from_array(np.float32(factor), "factor"), *weights],
        )
        shape = {"dtype": "float32", "shape": [-1, 3]}
        variants.append(
            {
                "id": name,
                "format": "onnx",
                "precision": "float32",
                "places": places,
                "files": [_save(root, f"{name}.onnx", graph)],
                "tensors": {
                    "inputs": [{"name": "x", **shape}],
                    "outputs": [{"name": "probabilities", **shape}],
                    "batch": True,
                },
                "pipeline": {
                    "pre": [{"op": "reshape", "name": "numbers", "to": "x", "shape": [1, 3]}],
                    "post": [
                        {"op": "first_row", "name": "probabilities", "to": "scores"},
                        {"op": "max_confidence", "name": "scores"},
                    ],
                },
                **({"escalate_below": 0.8} if name == "small" else {}),
            }
        )
    return {
        "schema": "1.0",
        "name": "scales",
        "version": "1.0.0",
        "boundary": "anywhere",
        "reference": "large",
        "signature": {
            "inputs": [{"name": "numbers", "kind": "tensor", "dtype": "float32", "shape": [3]}],
            "outputs": [{"name": "scores", "dtype": "float32", "shape": [3]}],
            "value": {"kind": "label", "scores": "scores", "labels": ["left", "middle", "right"]},
        },
        "variants": variants,
    }


@pytest.fixture(scope="session")
def letters_package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """A package that turns a text into a vector: its first 8 bytes, each as a share of 256."""
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["letters"], ["numbers"], to=TensorProto.FLOAT),
            helper.make_node("Div", ["numbers", "most"], ["shares"]),
        ],
        "letters",
        [helper.make_tensor_value_info("letters", TensorProto.INT32, [1, 8])],
        [helper.make_tensor_value_info("shares", TensorProto.FLOAT, [1, 8])],
        [numpy_helper.from_array(np.float32(256), "most")],
    )
    root = tmp_path_factory.mktemp("packages") / "letters"
    pipeline = {
        "pre": [{"op": "utf8_bytes", "name": "text", "to": "letters", "length": 8}],
        "post": [{"op": "first_row", "name": "shares", "to": "vector"}],
    }
    tensors = {
        "inputs": [{"name": "letters", "dtype": "int32", "shape": [1, 8]}],
        "outputs": [{"name": "shares", "dtype": "float32", "shape": [1, 8]}],
    }
    signature = {
        "inputs": [{"name": "text", "kind": "text", "max_bytes": 1000}],
        "outputs": [{"name": "vector", "dtype": "float32", "shape": [8]}],
        "value": {"kind": "embedding", "vector": "vector"},
    }
    return _one_variant(root, graph, tensors, pipeline, signature)


@pytest.fixture(scope="session")
def patches_package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """A detector of what is bright: a box for each of 4 x 4 cells of the image."""
    cells = 4
    corners = np.array([[x, y, x + 1, y + 1] for y in range(cells) for x in range(cells)])
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMax", ["pixels"], ["brightest"], axes=[1], keepdims=0),
            helper.make_node("Reshape", ["brightest", "column"], ["scores"]),
            helper.make_node("Identity", ["corners"], ["boxes"]),
        ],
        "patches",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1, 3, cells, cells])],
        [
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, cells**2, 1]),
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, cells**2, 4]),
        ],
        [
            numpy_helper.from_array(np.array([1, cells**2, 1]), "column"),
            numpy_helper.from_array((corners[None] / cells).astype(np.float32), "corners"),
        ],
    )
    root = tmp_path_factory.mktemp("packages") / "patches"
    size = {"size": [cells, cells]}
    pixels = {"op": "image_tensor", "name": "image", "to": "pixels", "scale": 1 / 255, **size}
    pipeline = {
        "pre": [{**pixels, "resize": "area"}],
        "post": [
            {"op": "fraction_boxes", "boxes": "boxes", "scores": "scores", **size},
            {"op": "class_nms"},
            {"op": "detection_confidence"},
            {"op": "best_detections"},
        ],
    }
    tensors = {
        "inputs": [{"name": "pixels", "dtype": "float32", "shape": [1, 3, cells, cells]}],
        "outputs": [
            {"name": "scores", "dtype": "float32", "shape": [1, cells**2, 1]},
            {"name": "boxes", "dtype": "float32", "shape": [1, cells**2, 4]},
        ],
    }
    names = {name: name for name in ("boxes", "scores", "classes")}
    signature = {
        "inputs": [{"name": "image", "kind": "image"}],
        "outputs": [
            {"name": "boxes", "dtype": "float32", "shape": [-1, 4]},
            {"name": "scores", "dtype": "float32", "shape": [-1]},
            {"name": "classes", "dtype": "int64", "shape": [-1]},
        ],
        "value": {"kind": "detections", "labels": ["patch"], **names},
        "options": [{"name": "min_score", "default": 0.3, "min": 0.0, "max": 1.0}],
    }
    return _one_variant(root, graph, tensors, pipeline, signature)


def _one_variant(
    root: Path,
    graph: onnx.GraphProto,
    tensors: dict[str, Any],
    pipeline: dict[str, Any],
    signature: dict[str, Any],
) -> Package:
    made = {"id": "only", "format": "onnx", "precision": "float32", "tensors": tensors}
    variant = {**made, "pipeline": pipeline, "files": [_save(root, "only.onnx", graph)]}
    about = {"schema": "1.0", "name": graph.name, "version": "1.0.0", "boundary": "anywhere"}
    return build_package(
        root, {**about, "reference": "only", "signature": signature, "variants": [variant]}
    )


def _save(root: Path, name: str, graph: onnx.GraphProto) -> dict[str, str]:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    root.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(model.SerializeToString())
    return {"path": name}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Skips hide gaps: elsewhere than in CI they are said; there, one is a failure."""
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped:
        terminalreporter.write_line(f"{len(skipped)} tests did not run here; the reasons are above")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if IN_CI and exitstatus == 0 and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = 1
