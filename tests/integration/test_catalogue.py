"""The catalogue: every entry is complete, and answers as well as its model was measured."""

from __future__ import annotations

import csv
import importlib.util
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image as pillow

from wherever_contracts.errors import ModelNotFoundError
from wherever_contracts.receipts import Answer
from wherever_convert.builder import build_package
from wherever_edge.host import LoadedVariant, LocalHost
from wherever_edge.inputs import InputChecker, check_options
from wherever_edge.packages import catalogue
from wherever_edge.packages.install import Installer
from wherever_edge.packages.package import Package
from wherever_edge.packages.store import Store
from wherever_edge.pipelines.pipeline import StepContext, compile_steps

EVALUATE = Path(__file__).parents[2] / "examples" / "people" / "evaluate.py"
PERMISSIVE = {"Apache-2.0", "BSD-3-Clause", "MIT"}
PINNED = re.compile(r"https://raw\.githubusercontent\.com/[^/]+/[^/]+/[0-9a-f]{40}/.+")


@pytest.fixture(scope="module")
def host(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> LocalHost:
    """Every model of the catalogue with every variant, fetched through a mirror."""
    home = tmp_path_factory.mktemp("home")
    installer = Installer(home, mirror=test_data / "models")
    for name in catalogue.names():
        installer.install(name, every_variant=True)
    return LocalHost(Store(added=[home / "models"], builtin=False), distance="device", threads=2)


@pytest.fixture(scope="module")
def evaluation() -> ModuleType:
    """The program that measures the package `people`."""
    spec = importlib.util.spec_from_file_location("people_evaluate", EVALUATE)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ask(loaded: LoadedVariant, values: Sequence[Any], **options: float) -> list[Answer]:
    checker, checked = InputChecker(loaded.signature), check_options(loaded.signature, options)
    return [loaded.answer(checker.check(value), checked) for value in values]


def share_right(loaded: LoadedVariant, files: Sequence[Path], truth: Sequence[int]) -> float:
    answers = ask(loaded, [str(file) for file in files])
    best = [int(answer.outputs["scores"].argmax()) for answer in answers]
    return float(np.mean(np.equal(best, truth)))


def stated(host: LocalHost, model: str, variant: str) -> float:
    """The figure that the manifest states."""
    return host.store.get(model).manifest.variant(variant).quality[0].value


@pytest.mark.parametrize("name", catalogue.names())
def test_an_entry_is_complete(name: str) -> None:
    entry = catalogue.find(name)
    assert entry is not None
    manifest = entry.manifest
    assert (manifest.name, entry.name) == (name, name)
    assert manifest.licence in PERMISSIVE
    assert manifest.summary.endswith(".")
    assert entry.page.startswith("https://")
    assert {file.path for file in manifest.all_files()} == entry.urls.keys()
    assert entry.urls.keys() == manifest.provenance["sources"].keys()
    assert all(PINNED.fullmatch(url) for urls in entry.urls.values() for url in urls)


@pytest.mark.parametrize("name", catalogue.names())
def test_every_pipeline_of_an_entry_can_be_compiled(name: str) -> None:
    entry = catalogue.find(name)
    assert entry is not None
    for variant in entry.manifest.variants:
        context = StepContext(entry.manifest.signature, variant, bytes)
        assert compile_steps(variant.pipeline.pre, context, "pre")
        assert compile_steps(variant.pipeline.post, context, "post")


def test_a_handful_of_models_is_there() -> None:
    assert catalogue.names() == [
        "cifar10-resnet",
        "fastestdet",
        "mobilenet",
        "person-present",
        "ultraface",
    ]
    assert [entry.name for entry in catalogue.entries()] == catalogue.names()


@pytest.mark.parametrize("model", ["mobilenet", "mobilenet@1", "mobilenet@1.0.0"])
def test_an_entry_is_found_by_name_and_version(model: str) -> None:
    entry = catalogue.find(model)
    assert entry is not None
    assert entry.version == "1.0.0"


@pytest.mark.parametrize("model", ["mobilenet@2", "nothing", "", "../mobilenet", "@1"])
def test_what_the_catalogue_has_not_is_not_found(model: str) -> None:
    assert catalogue.find(model) is None
    assert catalogue.handle_package(model, Path("home")) is None


def test_a_handle_has_its_signature_before_anything_is_fetched(tmp_path: Path) -> None:
    package = catalogue.handle_package("mobilenet", tmp_path)
    assert package is not None
    assert package.present() == ()
    assert len(package.manifest.signature.value.labels) == 1000
    assert list(tmp_path.iterdir()) == []
    error = catalogue.not_fetched(package)
    assert isinstance(error, ModelNotFoundError)
    assert "wherever add mobilenet" in str(error)


def test_what_is_fetched_has_the_digest_of_the_handle(host: LocalHost, tmp_path: Path) -> None:
    for name in catalogue.names():
        before, fetched = catalogue.handle_package(name, tmp_path), host.store.get(name)
        assert before is not None
        assert before.digest == fetched.digest
        assert fetched.trust == "local"
        fetched.verify()


@pytest.mark.parametrize(("variant", "every"), [("v1-small", 1), ("v2", 4)])
def test_mobilenet_names_what_it_named_when_it_was_measured(
    host: LocalHost, test_data: Path, variant: str, every: int
) -> None:
    with (test_data / "images" / "imagenet1k_labels.csv").open() as file:
        rows = list(csv.DictReader(file))[::every]
    files = [test_data / "images" / "imagenet1k" / row["file"] for row in rows]
    truth = [int(row["class_index_0_999"]) for row in rows]
    right = share_right(host.resolve("mobilenet", variant=variant), files, truth)
    assert right >= stated(host, "mobilenet", variant) - (0.005 if every == 1 else 0.04)


@pytest.mark.parametrize("variant", ["resnet8", "large"])
def test_cifar10_resnet_is_as_good_as_when_it_was_measured(
    host: LocalHost, test_data: Path, variant: str
) -> None:
    loaded = host.resolve("cifar10-resnet", variant=variant)
    labels = loaded.signature.value.labels
    folders = [test_data / "images" / "cifar10" / label for label in labels]
    files = [(file, k) for k, folder in enumerate(folders) for file in sorted(folder.iterdir())]
    right = share_right(loaded, [file for file, _ in files], [k for _, k in files])
    assert len(files) == 500
    assert right >= stated(host, "cifar10-resnet", variant) - 0.005


def test_person_present_is_as_good_as_when_it_was_measured(
    host: LocalHost, test_data: Path, evaluation: ModuleType
) -> None:
    images = evaluation.labelled_images(test_data / "images" / "coco_val2017")
    loaded = host.resolve("person-present")
    answers = ask(loaded, [image.data for image in images])
    said = [int(answer.outputs["scores"].argmax()) for answer in answers]
    right = np.equal(said, [shows_person(image) for image in images]).mean()
    assert right >= stated(host, "person-present", "vww-int8") - 0.005


def shows_person(image: Any) -> bool:
    """Whether a person takes more than 0.5 % of an image."""
    sizes = image.truth.boxes[:, 2:] - image.truth.boxes[:, :2]
    shares = sizes.prod(axis=1) / (image.width * image.height)
    return bool((shares[image.truth.classes == 0] > 0.005).any())


def test_fastestdet_finds_what_it_found_when_it_was_measured(
    host: LocalHost, test_data: Path, evaluation: ModuleType
) -> None:
    images = evaluation.labelled_images(test_data / "images" / "coco_val2017")
    loaded = host.resolve("fastestdet")
    found = [evaluation.found_in(evaluation.ask(loaded, image.data, 0.001)) for image in images]
    precisions = evaluation.average_precisions(images, found)
    assert precisions["mAP"] >= stated(host, "fastestdet", "fastestdet") - 0.005


@pytest.mark.parametrize("variant", ["slim", "rfb"])
def test_ultraface_finds_faces_where_people_sit(
    host: LocalHost, test_data: Path, evaluation: ModuleType, variant: str
) -> None:
    frames = gif(test_data / "video" / "classroom.gif", every=9)
    faces = ask(host.resolve("ultraface", variant=variant), frames, min_score=0.7)
    people = ask(host.resolve("fastestdet"), frames, min_score=0.3)
    for seen, known in zip(faces, people, strict=True):
        assert 2 <= len(seen.outputs["scores"]) <= 4
        bodies = known.outputs["boxes"][known.outputs["classes"] == 0]
        assert all(within(face, bodies) for face in seen.outputs["boxes"])


def within(face: np.ndarray, bodies: np.ndarray) -> bool:
    """Whether the middle of a face is within one of the bodies."""
    x, y = (face[:2] + face[2:]) / 2
    return any(left <= x <= right and top <= y <= bottom for left, top, right, bottom in bodies)


def gif(path: Path, every: int) -> list[np.ndarray]:
    frames = []
    with pillow.open(path) as images:
        for position in range(0, images.n_frames, every):
            images.seek(position)
            frames.append(np.asarray(images.convert("RGB")))
    return frames


def test_a_quantized_model_names_the_same_in_either_engine(
    host: LocalHost, test_data: Path, tmp_path: Path
) -> None:
    files = sorted((test_data / "images" / "cifar10" / "ship").iterdir())[:25]
    best = {}
    for engine in ("litert", "openvino"):
        loaded = only_in(engine, host.store.get("cifar10-resnet"), tmp_path / engine)
        assert loaded.ran.engine == engine
        answers = ask(loaded, [str(file) for file in files])
        best[engine] = [int(answer.outputs["scores"].argmax()) for answer in answers]
    assert best["litert"] == best["openvino"]


def only_in(engine: str, package: Package, root: Path) -> LoadedVariant:
    """The reference of a package, loaded in one engine alone."""
    manifest = package.manifest.model_dump(mode="json", by_alias=True)
    for variant in manifest["variants"]:
        variant["needs"]["engines"] = [engine]
    shutil.copytree(package.root, root, ignore=shutil.ignore_patterns("model.json"))
    build_package(root, manifest)
    store = Store([root], builtin=False)
    return LocalHost(store, distance="device").resolve(package.name)
