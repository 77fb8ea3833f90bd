"""The package `filetype`, built by its script from Magika's models: files in, their kinds out."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import grpc
import httpx
import pytest

import wherever
from wherever_contracts.errors import InputError
from wherever_contracts.wire.messages import decode_response, encode_request
from wherever_contracts.wire.tensors import InferRequest, from_bytes, to_array
from wherever_devices.plans import RunPlan
from wherever_edge.engines.engine import Resources
from wherever_edge.engines.installed import InstalledEngines
from wherever_edge.inputs import InputChecker
from wherever_edge.loaded import LoadedVariant
from wherever_edge.packages.store import open_package
from wherever_edge.resident import Resident
from wherever_gateway.gateway import Gateway, GatewayOptions

EXAMPLE = Path(__file__).parents[2] / "examples" / "filetype" / "build.py"
MODELS = {"fast": "magika_fast_v2_1", "standard": "magika_standard_v3_3"}
# files told right, of 76, as was measured when the models were chosen
RIGHT = {"fast": 70, "standard": 76}


def build(models, output, *more, reference=True):
    names = {"--model": "fast", "--reference": "standard"} if reference else {"--model": "fast"}
    command = [sys.executable, str(EXAMPLE), "-o", str(output), *map(str, more)]
    for option, variant in names.items():
        config = "--config" if option == "--model" else f"{option}-config"
        file = models / MODELS[variant]
        command += [option, f"{file}.onnx", config, f"{file}.config.min.json"]
    subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return open_package(output)


@pytest.fixture(scope="module")
def folder(test_data):
    return test_data / "files" / "magika_basic"


@pytest.fixture(scope="module")
def files(folder):
    return [(path, path.parent.name) for path in sorted(folder.glob("*/*"))]


@pytest.fixture(scope="module")
def package(test_data, folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("packages") / "filetype"
    return build(test_data / "models", output, "--quality-from", folder)


@pytest.fixture(scope="module")
def pdf(folder):
    return folder / "pdf" / "magika_test.pdf"


@pytest.fixture(scope="module")
def gateway(package):
    # it takes both ends of a file, and no file that is much longer
    gateway = Gateway(GatewayOptions((package.root,), grpc_port=0, http_port=0, max_bytes=12_000))
    gateway.start()
    yield gateway
    gateway.drain()


def label_of(scores, signature):
    return signature.value.labels[scores.argmax()]


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("variant", MODELS)
def test_each_variant_tells_what_it_told_when_it_was_chosen_in_each_engine(
    package, files, variant, engine
):
    entry = package.manifest.variant(variant)
    plan = RunPlan(engine, "cpu", entry.precision, 1)
    contents = [package.read(file) for file in entry.files]
    session = InstalledEngines().open(plan, entry.format, contents, Resources())
    with closing(session):
        loaded = LoadedVariant(package, entry, Resident.of(plan, session))
        check = InputChecker(loaded.signature).check
        answers = [loaded.answer(check(path), {}) for path, _ in files]
    found = [label_of(answer.outputs["scores"], loaded.signature) for answer in answers]
    assert loaded.ran.engine == engine
    assert len(files) == 76
    right = sum(one == label for one, (_, label) in zip(found, files, strict=True))
    assert right >= RIGHT[variant] - 0.01 * len(files)


def test_the_measured_figures_stand_in_the_package(package):
    recorded = {v.id: v.quality[0] for v in package.manifest.variants}
    assert {each: round(q.value * q.n) for each, q in recorded.items()} == RIGHT


def test_a_path_a_file_object_s_bytes_and_both_ends_get_one_answer(package, pdf):
    data = pdf.read_bytes() + b"\0" * 100_000
    with wherever.Client(packages=[package.root]) as client:
        ft = client.model("filetype")
        answers = [ft(value) for value in (data, bytearray(data), data[:4096] + data[-4096:])]
        assert len({json.dumps(a.to_dict()["outputs"]) for a in answers}) == 1
        assert [ft(value).value for value in (pdf, str(pdf), pdf.read_bytes())] == ["pdf"] * 3
        assert ft(b"").value == "empty"
        assert ft({"file": b"hi"}).value == "txt"
        for wrong in (None, 5, "no such file", io.BytesIO(b"")):
            with pytest.raises(InputError, match="expected bytes, or the path of a file"):
                ft(wrong)


def test_threads_and_maps_do_not_mix_files_up(package, files):
    """The variants can batch, so files of several callers may share a run."""
    paths = [path for path, _ in files]
    with wherever.Client(packages=[package.root]) as client, ThreadPoolExecutor(8) as pool:
        ft = client.model("filetype")
        one_by_one = [str(ft(path).value) for path in paths]
        assert [str(each.value) for each in ft.map(paths)] == one_by_one
        assert [str(each.value) for each in pool.map(ft, paths * 4)] == one_by_one * 4


def test_a_file_of_gigabytes_costs_two_ends(package, tmp_path):
    path = tmp_path / "large.pdf"
    with path.open("wb") as file:
        file.write(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n")
        file.truncate(50_000_000_000)
    with wherever.Client(packages=[package.root]) as client:
        assert client.predict("filetype", path).confidence > 0


def test_answers_are_kept_for_the_bytes_and_not_for_the_path(package, pdf, tmp_path):
    path = tmp_path / "file"
    with wherever.Client(packages=[package.root], cache=True) as client:
        path.write_bytes(pdf.read_bytes())
        first, again = client.predict("filetype", path), client.predict("filetype", pdf)
        path.write_bytes(b"import sys\nprint(sys.argv)\n" * 9)
        other = client.predict("filetype", path)
    kept = [each.receipt.cache for each in (first, again, other)]
    assert kept == ["miss", "hit", "miss"]
    assert (first.value, again.value, other.value) == ("pdf", "pdf", "python")


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_a_gateway_answers_like_the_device_and_gets_no_more_than_the_ends(
    package, gateway, files, scheme
):
    address = gateway.grpc if scheme == "grpc" else f"http://{gateway.http}"
    with wherever.Client(packages=[package.root], gateways=[address]) as client:
        ft = client.model("filetype")
        for path, label in files[::6]:
            answer = ft(path, mode="only_in_cloud")
            assert (answer.place, answer.receipt.variant) == ("cloud", "standard")
            assert answer.value == label


def test_plain_clients_of_the_protocol_send_bytes_too(gateway, pdf):
    data = pdf.read_bytes()
    request = InferRequest("filetype", "", "", {}, (from_bytes("file", [data]),))
    with grpc.insecure_channel(gateway.grpc) as channel:
        method = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        (scores,) = decode_response(method(encode_request(request), 20)).outputs
    file = {"name": "file", "datatype": "BYTES", "shape": [1]}
    file["data"] = [base64.b64encode(data).decode()]
    file["parameters"] = {"content_type": "base64"}
    url = f"http://{gateway.http}/v2/models/filetype"
    answer = httpx.post(f"{url}/infer", json={"inputs": [file]}).json()
    assert answer["outputs"][0]["data"] == pytest.approx(to_array(scores).tolist(), abs=1e-6)
    (told,) = httpx.get(url).json()["inputs"]
    assert (told["name"], told["datatype"], told["shape"]) == ("file", "BYTES", [1])


def test_the_command_line_reads_a_file_and_standard_input(package, pdf, answered, monkeypatch):
    arguments = ["--packages", str(package.root)]
    assert answered("predict", "filetype", str(pdf), *arguments)["value"]["label"] == "pdf"
    stdin = SimpleNamespace(buffer=io.BytesIO(pdf.read_bytes()))
    monkeypatch.setattr("sys.stdin", stdin)
    assert answered("predict", "filetype", "-", *arguments)["value"]["label"] == "pdf"


def test_an_unsure_device_asks_the_reference(package, gateway, folder):
    """Few words look like many things to the small model."""
    with wherever.Client(packages=[package.root], gateways=[gateway.grpc]) as client:
        answer = client.predict("filetype", folder / "txt" / "many-words.txt")
    assert (answer.place, answer.value) == ("cloud", "txt")


def test_one_model_makes_a_package_too(test_data, tmp_path):
    package = build(test_data / "models", tmp_path / "one", "--boundary", "site", reference=False)
    assert package.manifest.reference == "fast"
    assert package.manifest.boundary == "site"
    assert package.manifest.schema_version == "1.5"
