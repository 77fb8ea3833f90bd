"""Typed calls, the list of models, their document and its page, over real sockets."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from wherever_contracts.errors import ForbiddenError, ModelNotFoundError, RemoteError
from wherever_contracts.wire.metadata import ModelMetadata, TensorMetadata
from wherever_contracts.wire.repository import IndexEntry, ModelStatistics
from wherever_contracts.wire.tensors import InferRequest, InferResponse, from_bytes
from wherever_edge.host import LocalHost
from wherever_edge.oip.admission import Open, Served
from wherever_edge.oip.elsewhere import Forwarded
from wherever_edge.oip.keys import KeyChecker, KeyStore
from wherever_edge.oip.service import InferenceService
from wherever_edge.packages.store import Store
from wherever_gateway.rest import RestFront

ZEROS = [[0.0] * 8] * 8


@pytest.fixture(scope="module")
def host(scales_package, echo_package, letters_package, patches_package) -> Iterator[LocalHost]:
    made = (scales_package, echo_package, letters_package, patches_package)
    with closing(LocalHost(Store([each.root for each in made]), distance="cloud")) as host:
        yield host


@contextmanager
def serving(service: InferenceService, **arguments: Any) -> Iterator[httpx.Client]:
    more = {"max_bytes": 1 << 20, **arguments}
    front = RestFront(service, lambda: True, address="127.0.0.1", port=0, **more)
    front.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{front.port}", timeout=10) as http:
        yield http
    front.drain(0)


@pytest.fixture(scope="module")
def http(host) -> Iterator[httpx.Client]:
    with serving(InferenceService(host, {})) as http:
        yield http


@pytest.fixture
def serve(host) -> Iterator[Callable[..., httpx.Client]]:
    with ExitStack() as stack:

        def start(**arguments: Any) -> httpx.Client:
            return stack.enter_context(serving(InferenceService(host, {}), **arguments))

        yield start


def picture(kind: str = "PNG") -> bytes:
    """Dark, with the lower right quarter bright."""
    pixels = np.zeros((40, 40, 3), np.uint8)
    pixels[20:, 20:] = 255
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def predict(http: httpx.Client, model: str, **arguments: Any) -> httpx.Response:
    return http.post(f"/v1/models/{model}:predict", **arguments)


def said(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(answer: httpx.Response, status: int = 400) -> str:
    assert answer.status_code == status, answer.text
    return answer.json()["error"]


# --- calls ---


def test_numbers_in_a_label_out_with_how_sure_it_is_and_what_ran(http):
    answer = said(predict(http, "scales", json={"numbers": [1, 3, 2], "id": "a"}))
    assert answer["value"] == {"label": "middle", "score": pytest.approx(1)}
    assert (answer["model"], answer["version"], answer["id"]) == ("scales", "1.0.0", "a")
    assert answer["confidence"] == answer["value"]["score"]
    assert (answer["ran"]["variant"], answer["ran"]["engine"]) == ("large", "onnxruntime")
    small = said(predict(http, "scales", json={"numbers": [1, 3, 2], "variant": "small"}))
    assert small["ran"]["variant"] == "small"
    assert "id" not in small


def test_a_text_in_a_vector_out(http):
    vector = [each / 256 for each in b"Hi"] + [0.0] * 6
    assert said(predict(http, "letters", json={"text": "Hi"}))["value"] == vector
    plain = predict(http, "letters", content="Hi", headers={"content-type": "text/plain"})
    assert said(plain)["value"] == vector
    assert said(predict(http, "letters", files={"text": (None, b"Hi")}))["value"] == vector


def test_tensors_in_and_out_by_their_names(http):
    assert said(predict(http, "echo", json={"given": [1, 2.5]}))["value"] == {"echoed": [1.0, 2.5]}
    form = predict(http, "echo", files={"given": (None, "[1, 2.5]")})
    assert said(form)["value"] == {"echoed": [1.0, 2.5]}


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_an_image_comes_as_base64_as_a_file_of_a_form_or_as_the_body(http, kind):
    image = picture(kind)
    coded = {"image": base64.b64encode(image).decode(), "min_score": 0.8}
    form = {"files": {"image": ("x", image)}, "data": {"min_score": "0.8"}}
    body = {"content": image, "params": {"min_score": 0.8}}
    for sent in (
        {"json": coded},
        form,
        {**body, "headers": {"content-type": f"image/{kind.lower()}"}},
        {**body, "headers": {"content-type": "application/octet-stream"}},
    ):
        found = said(predict(http, "patches", **sent))["value"]
        assert [each["label"] for each in found] == ["patch"] * 4
        assert [20.0, 20.0, 30.0, 30.0] in [each["box"] for each in found]


def test_an_option_changes_the_answer_and_its_range_holds(http):
    body = {"image": base64.b64encode(picture()).decode()}
    every = predict(http, "patches", json={**body, "min_score": 0})
    assert len(said(every)["value"]) > 4
    words = refused(predict(http, "patches", json={**body, "min_score": 2}))
    assert words == "argument 'min_score': expected a number from 0 to 1, found 2.0"


def test_an_image_may_be_numbers_where_the_signature_says_so(http):
    assert said(predict(http, "digits", json={"image": ZEROS}))["value"]["label"] in "0123456789"


def test_a_version_and_the_bare_tensors_of_a_variant_have_typed_calls_too(http):
    path = "/v1/models/scales/versions/1.0.0:predict"
    assert said(http.post(path, json={"numbers": [1, 3, 2]}))["value"]["label"] == "middle"
    assert refused(http.post(path.replace("1.0.0", "7"), json={}), 404)
    rows = said(predict(http, "scales--small", json={"x": [[1, 2, 3], [3, 2, 1]]}))
    assert np.argmax(rows["value"]["probabilities"], axis=1).tolist() == [2, 0]


@pytest.mark.parametrize(
    ("model", "sent", "words"),
    [
        ("scales", {"json": {}}, "numbers: expected numbers nested as [3], found nothing"),
        ("scales", {"json": {"numbers": [1, 2]}}, "input 'numbers': expected float32[3], found"),
        ("scales", {"json": {"numbers": [1, 2, "x"]}}, "numbers: expected numbers for FP32, found"),
        ("scales", {"json": [1]}, "the body: expected an object with the model's inputs, found"),
        ("scales", {"content": b""}, "the body: expected a JSON document, found none"),
        ("scales", {"content": b'{"numbers": "\xff"}'}, "the body: expected a JSON document"),
        (
            "scales",
            {"json": {"numbers": [1, 2, 3], "nummer": 1}},
            "field 'nummer': expected one of",
        ),
        ("scales", {"json": {"numbers": [1, 2, 3], "variant": "huge"}}, ""),
        ("letters", {"json": {"text": 3}}, "text: expected a string, found 3"),
        ("letters", {"json": {"text": "x" * 1001}}, "input 'text': expected at most 1000 bytes"),
        ("letters", {"files": {"text": (None, b"\xff")}}, "input 'text': expected text in UTF-8"),
        ("patches", {"json": {"image": "AAAA"}}, "input 'image': expected an image"),
        ("patches", {"json": {"image": "hello!"}}, "image: expected base64 without line breaks"),
        ("patches", {"files": {"imago": b"x"}}, "field 'imago': expected one of image, min_score"),
        ("patches", {"files": [("image", b"x")] * 2}, "field 'image': expected once, found twice"),
    ],
)
def test_a_wrong_call_is_refused_by_the_name_of_its_field(http, model, sent, words):
    status = 404 if not words else 400
    assert words in refused(predict(http, model, **sent), status)


def test_a_field_in_the_body_and_in_the_query_is_refused(http):
    sent = {"json": {"numbers": [1, 2, 3], "id": "a"}, "params": {"id": "b"}}
    assert refused(predict(http, "scales", **sent)) == "field 'id': expected once, found twice"
    assert "field 'min_scoer'" in refused(predict(http, "scales", params={"min_scoer": 1}, json={}))


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "image/png", "text/plain"])
def test_a_body_of_another_type_is_refused_with_those_that_are_taken(http, kind):
    words = refused(predict(http, "scales", content=b"x", headers={"content-type": kind}), 415)
    assert words.endswith("is not taken here; send application/json, multipart/form-data")


def test_a_time_that_has_run_out_is_said_so(serve, host):
    class Slow(InferenceService):
        def infer(self, request: InferRequest, caller: Any) -> InferResponse:
            assert 0 < caller.time_remaining() <= 60
            assert caller.n_bytes > 0
            return super().infer(request, caller)

    with serving(Slow(host, {})) as http:
        assert said(predict(http, "scales", json={"numbers": [1, 2, 3], "timeout_s": 60}))
        assert said(predict(http, "scales", json={"numbers": [1, 2, 3]}, params={"timeout_s": 60}))


def test_the_idempotency_key_of_the_header_reaches_the_call(host):
    keys = []

    class Noting(InferenceService):
        def infer(self, request: InferRequest, caller: Any) -> InferResponse:
            keys.append(request.parameters["idempotency_key"])
            return super().infer(request, caller)

    entry = {"name": "numbers", "datatype": "FP32", "shape": [3], "data": [1, 2, 3]}
    with serving(Noting(host, {})) as http:
        headers = {"Idempotency-Key": "once"}
        predict(http, "scales", json={"numbers": [1, 2, 3]}, headers=headers)
        http.post("/v2/models/scales/infer", json={"inputs": [entry]}, headers=headers)
    assert keys == ["once", "once"]


class Far:
    """A server behind the gateway, which knows one model of tensors."""

    def __init__(self, metadata: ModelMetadata) -> None:
        self._metadata = metadata
        self.asked = 0

    def infer(self, request: InferRequest, grant: Any) -> Forwarded:
        words = from_bytes("upper", [b"ABC", b"\xff"], (2,))
        return Forwarded(InferResponse("far", "3", "", {}, (words,)), Served("far", "3"))

    def ready(self, model: str, version: str) -> bool:
        return True

    def metadata(self, model: str, version: str) -> ModelMetadata:
        self.asked += 1
        return self._metadata


def test_a_model_of_another_server_is_called_by_what_its_metadata_says(host):
    words = TensorMetadata("words", "BYTES", (-1,)), TensorMetadata("upper", "BYTES", (-1,))
    far = Far(ModelMetadata("far", ("3",), "x", words[:1], words[1:]))
    service = InferenceService(host, {}, elsewhere={"far": far}.get)
    with serving(service, others=lambda: ["far", "gone"]) as http:
        listed = [each["name"] for each in http.get("/v1/models").json()["models"]]
        assert listed == ["digits", "echo", "far", "letters", "patches", "scales"]
        call = http.get("/openapi.json").json()["paths"]["/v1/models/far:predict"]["post"]
        example = call["requestBody"]["content"]["application/json"]["example"]
        assert said(predict(http, "far", json=example))
        for _ in range(2):
            answer = said(predict(http, "far", json={"words": ["abc", "d"]}))
        assert answer["value"] == {"upper": ["ABC", "/w=="]}
        assert (answer["version"], answer["ran"], far.asked) == ("3", None, 1)
        assert http.get("/v1/models/far").json()["inputs"][0]["kind"] == "tensor"


def test_one_element_of_bytes_at_another_server_may_be_an_image(host):
    sent = []

    class Noting(Far):
        def infer(self, request: InferRequest, grant: Any) -> Forwarded:
            sent.append(bytes(request.inputs[0].data[4:]))
            return super().infer(request, grant)

    tensors = TensorMetadata("image", "BYTES", (1,)), TensorMetadata("upper", "BYTES", (-1,))
    far = Noting(ModelMetadata("far", ("3",), "x", tensors[:1], tensors[1:]))
    with serving(InferenceService(host, {}, elsewhere={"far": far}.get)) as http:
        said(predict(http, "far", json={"image": base64.b64encode(picture()).decode()}))
        said(predict(http, "far", files={"image": ("x", picture())}))
        said(predict(http, "far", content=picture(), headers={"content-type": "image/png"}))
    assert sent == [picture()] * 3


def test_a_model_of_another_server_that_says_nothing_of_itself_is_a_bad_gateway(host):
    far = Far(ModelMetadata("far", ("3",), "x", (), ()))
    with serving(InferenceService(host, {}, elsewhere={"far": far}.get)) as http:
        assert "does not say what it takes" in refused(predict(http, "far", json={}), 502)


def test_an_answer_that_does_not_fit_the_signature_is_a_bad_gateway(host):
    class Other(InferenceService):
        def infer(self, request: InferRequest, caller: Any) -> InferResponse:
            return InferResponse("scales", "1", "", {}, ())

    with serving(Other(host, {})) as http:
        words = refused(predict(http, "scales", json={"numbers": [1, 2, 3]}), 502)
        assert "does not fit its signature" in words
    assert RemoteError.code == "remote"


# --- compression ---


@pytest.mark.parametrize(
    ("coding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)]
)
def test_bodies_travel_compressed_both_ways(http, coding, compress):
    body = compress(json.dumps({"given": list(range(500))}).encode())
    headers = {
        "content-encoding": coding,
        "accept-encoding": coding,
        "content-type": "application/json",
    }
    answer = predict(http, "echo", content=body, headers=headers)
    assert answer.headers["content-encoding"] == coding
    assert int(answer.headers["content-length"]) < len(answer.content)
    assert said(answer)["value"]["echoed"][-1] == 499


def test_raw_contents_travel_compressed_when_asked_for(http):
    array = np.zeros(10_000, np.float32)
    entry = {"name": "given", "datatype": "FP32", "shape": [array.size]}
    entry["parameters"] = {"binary_data_size": array.nbytes}
    document = json.dumps({"inputs": [entry], "parameters": {"binary_data_output": True}}).encode()
    headers = {
        "inference-header-content-length": str(len(document)),
        "content-encoding": "gzip",
        "accept-encoding": "gzip",
    }
    content = gzip.compress(document + array.tobytes())
    answer = http.post("/v2/models/echo/infer", content=content, headers=headers)
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.content.endswith(array.tobytes())


def test_a_bomb_is_refused_by_what_it_would_become(serve):
    http = serve(max_bytes=100_000)
    bomb = gzip.compress(bytes(50 << 20))
    assert len(bomb) < 100_000
    headers = {"content-encoding": "gzip", "content-type": "application/json"}
    for _ in range(20):  # more than there is room for, if the room were not given back
        words = refused(predict(http, "echo", content=bomb, headers=headers), 413)
        assert "the body has more than 100000 bytes" in words
    assert said(predict(http, "echo", json={"given": [1]}))


def test_a_damaged_compressed_body_is_refused(http):
    headers = {"content-encoding": "gzip", "content-type": "application/json"}
    answer = predict(http, "echo", content=b"not gzip", headers=headers)
    assert refused(answer).startswith("the body: expected gzip data, found other bytes")


# --- models and the repository ---


def test_the_models_are_listed_with_what_they_take_and_give(http):
    listed = {each["name"]: each for each in said(http.get("/v1/models"))["models"]}
    assert set(listed) == {"digits", "scales", "echo", "letters", "patches"}
    patches = listed["patches"]
    assert (patches["versions"], patches["boundary"]) == (["1.0.0"], "anywhere")
    assert patches["inputs"][0]["kind"] == "image"
    assert patches["options"][0]["name"] == "min_score"
    assert patches["predict"] == "/v1/models/patches:predict"
    assert said(http.get("/v1/models/patches")) == patches
    assert refused(http.get("/v1/models/nothing"), 404)


def test_a_typed_call_takes_posts_alone(http):
    answer = http.get("/v1/models/scales:predict")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert answer.json()["error"] == "GET /v1/models/scales:predict: this path takes POST"


def test_a_model_that_was_unloaded_is_not_found_and_not_listed(scales_package):
    with closing(LocalHost(Store([scales_package.root]), distance="cloud")) as host:
        host.withdraw("scales")
        with serving(InferenceService(host, {})) as http:
            assert refused(predict(http, "scales", json={"numbers": [1, 2, 3]}), 404)
            assert refused(http.get("/v1/models/scales"), 404)
            assert [each["name"] for each in http.get("/v1/models").json()["models"]] == ["digits"]


class Repository:
    """Notes what is done with it; key "boss" alone may do more than to list."""

    def __init__(self) -> None:
        self.done: list[tuple[str, ...]] = []

    def index(self, caller: Any, *, ready: bool = False) -> list[IndexEntry]:
        entries = [IndexEntry("a", "1", "READY"), IndexEntry("b", "2", "UNAVAILABLE", "unloaded")]
        return entries[: 1 if ready else 2]

    def load(self, caller: Any, model: str) -> None:
        self._note(caller, "load", model)

    def unload(self, caller: Any, model: str) -> None:
        self._note(caller, "unload", model)

    def statistics(self, caller: Any, model: str = "", version: str = "") -> list[ModelStatistics]:
        self._note(caller, "statistics", model, version)
        return [ModelStatistics(model or "a", version or "1")]

    def _note(self, caller: Any, *what: str) -> None:
        if caller.key is not None and caller.key.name != "boss":
            raise ForbiddenError("not you")
        if "missing" in what:
            raise ModelNotFoundError("no model 'missing' is known here")
        self.done.append(what)


def test_models_are_listed_loaded_unloaded_and_counted_as_the_protocol_says(serve):
    repository = Repository()
    http = serve(repository=repository)
    index = http.post("/v2/repository/index")
    assert index.json()[1] == {
        "name": "b",
        "version": "2",
        "state": "UNAVAILABLE",
        "reason": "unloaded",
    }
    assert len(http.post("/v2/repository/index", json={"ready": True}).json()) == 1
    for change in ("load", "unload"):
        body = {"parameters": {"unload_dependents": False}} if change == "unload" else {}
        assert said(http.post(f"/v2/repository/models/a/{change}", json=body)) == {}
        assert said(http.post(f"/v2/repository/models/a/{change}")) == {}
        assert refused(http.post(f"/v2/repository/models/missing/{change}"), 404)
    (stats,) = said(http.get("/v2/models/a/versions/1/stats"))["model_stats"]
    assert stats["inference_stats"]["success"] == {"count": 0, "ns": 0}
    assert said(http.get("/v2/models/a/stats"))
    assert said(http.get("/v2/models/stats"))
    assert repository.done == [
        ("load", "a"),
        ("load", "a"),
        ("unload", "a"),
        ("unload", "a"),
        ("statistics", "a", "1"),
        ("statistics", "a", ""),
        ("statistics", "", ""),
    ]
    assert "model_repository" in http.get("/v2").json()["extensions"]


def test_a_change_that_says_what_nobody_here_can_do_is_refused(serve):
    repository = Repository()
    http = serve(repository=repository)
    for body in (b"{", b"[]", b'{"parameters": {"config": "{}"}}', b"\xff"):
        assert refused(http.post("/v2/repository/models/a/load", content=body))
    assert repository.done == []


def test_without_a_repository_its_routes_are_not_there(http):
    assert http.post("/v2/repository/index").status_code == 404
    assert http.get("/v2/models/stats").status_code == 404
    assert "model_repository" not in http.get("/v2").json()["extensions"]


# --- keys, and who sees what ---


class OwnModels(Open):
    """Key NAME sees the models whose names begin like it."""

    def may_see(self, key: Any, model: str) -> bool:
        return key is not None and model.startswith(key.name[0])


@pytest.fixture(scope="module")
def secured(host, tmp_path_factory) -> Iterator[tuple[httpx.Client, dict[str, dict[str, str]]]]:
    """A front whose models have owners, and the headers of its keys by their names."""
    store = KeyStore(tmp_path_factory.mktemp("keys"))
    keys = {name: store.add(name) for name in ("scales team", "letters team")}
    keys["boss"] = store.add("boss", "admin")
    needed = {"keys": KeyChecker(store), "keys_needed": True}
    service = InferenceService(host, {}, OwnModels())
    with serving(service, **needed, repository=Repository()) as http:
        yield http, {name: {"authorization": f"Bearer {key}"} for name, key in keys.items()}


GETS = ("/v1/models", "/v1/models/scales", "/v2", "/v2/models/scales", "/v2/models/scales/ready")
POSTS = ("/v1/models/scales:predict", "/v2/models/scales/infer", "/v2/repository/index")


@pytest.mark.parametrize("authorization", [None, "Bearer whv_no_key", "Basic eDp5", "Bearer \xff"])
@pytest.mark.parametrize("path", [*GETS, *POSTS])
def test_nothing_is_told_without_a_key_that_counts(secured, path, authorization):
    http, _ = secured
    headers = [] if authorization is None else [(b"authorization", authorization.encode("latin1"))]
    answer = http.request("POST" if path in POSTS else "GET", path, headers=headers)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert "scales" not in answer.text


@pytest.mark.parametrize("model", ["scales", "nothing", "a" * 5000])
def test_what_another_team_uses_is_refused_the_same_whether_it_is_there_or_not(secured, model):
    http, keys = secured
    theirs = keys["letters team"]
    paths = [f"/v1/models/{model}", f"/v2/models/{model}", f"/v2/models/{model}/ready"]
    paths.append(f"/v2/models/{model}/versions/1.0.0")
    answers = [http.get(path, headers=theirs) for path in paths]
    answers.append(predict(http, model, json={"numbers": [1, 2, 3]}, headers=theirs))
    for answer in answers:
        words = f"this API key may not use the model '{model[:80]}'"
        assert refused(answer, 403) == words
        assert "www-authenticate" not in answer.headers


def test_names_of_other_teams_are_in_no_list_and_no_message(secured):
    http, keys = secured
    listed = http.get("/v1/models", headers=keys["letters team"]).json()["models"]
    assert [each["name"] for each in listed] == ["letters"]
    answer = http.get("/v2/models/letters/versions/9", headers=keys["letters team"])
    assert refused(answer, 404) == "no model 'letters' is known here, or not in that version"
    document = http.get("/openapi.json", headers=keys["letters team"]).text
    assert "letters" in document
    assert not re.search("scales|patches|digits", document)


def test_what_changes_models_needs_the_role_of_administrators(secured):
    http, keys = secured
    for headers, status in (({}, 401), (keys["scales team"], 403), (keys["boss"], 200)):
        answer = http.post("/v2/repository/models/scales/load", headers=headers)
        assert answer.status_code == status
        assert http.get("/v2/models/stats", headers=headers).status_code == status


# --- the document and the page ---


def test_every_model_has_a_path_and_an_example_that_works(http):
    document = said(http.get("/openapi.json"))
    assert document["openapi"] == "3.1.0"
    calls = {path: each for path, each in document["paths"].items() if path.endswith(":predict")}
    assert len(calls) == 5
    for path, item in calls.items():
        example = item["post"]["requestBody"]["content"]["application/json"]["example"]
        assert said(http.post(path, json=example))
    raw = document["paths"]["/v1/models/patches:predict"]["post"]["requestBody"]["content"]
    assert set(raw) >= {"image/*", "multipart/form-data"}


def test_the_examples_are_the_golden_samples_where_there_are_some(http):
    path = said(http.get("/openapi.json"))["paths"]["/v1/models/digits:predict"]
    example = path["post"]["requestBody"]["content"]["application/json"]["example"]
    assert np.shape(example["image"]) == (8, 8)
    assert said(predict(http, "digits", json=example))["confidence"] > 0.5


def test_without_keys_the_document_asks_for_none(http):
    document = said(http.get("/openapi.json"))
    assert "security" not in document
    assert "securitySchemes" not in document["components"]


def test_strangers_get_the_document_without_models_and_wrong_keys_get_nothing(secured):
    http, keys = secured
    document = said(http.get("/openapi.json"))
    assert not [path for path in document["paths"] if ":predict" in path]
    assert document["security"] == [{"key": []}]
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    assert refused(http.get("/openapi.json", headers={"authorization": "Bearer wrong"}), 401)
    theirs = said(http.get("/openapi.json", headers=keys["scales team"]))
    assert "/v1/models/scales:predict" in theirs["paths"]


def test_the_page_and_all_its_parts_come_from_this_server(secured):
    http, _ = secured
    page = http.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    parts = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(parts) == 5
    for part in parts:
        assert part.startswith("/docs/")
        answer = http.get(part)
        assert answer.status_code == 200
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert "http" not in page.text.replace("https://json-schema.org", "")


@pytest.mark.parametrize(
    "path", ["/docs/", "/docs/x.js", "/docs/..%2fapp.py", "/docs/%00", "/docs/page.html"]
)
def test_there_is_nothing_else_below_the_page(http, path):
    assert http.get(path).status_code == 404
