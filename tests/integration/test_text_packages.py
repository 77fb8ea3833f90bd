"""Packages of text: labels and embeddings, from the real models and from one made here."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import wherever
from wherever_contracts.errors import PackageError
from wherever_convert.builder import build_package
from wherever_devices.plans import RunPlan
from wherever_edge.engines.engine import Resources
from wherever_edge.engines.installed import InstalledEngines
from wherever_edge.inputs import InputChecker
from wherever_edge.loaded import LoadedVariant
from wherever_edge.packages.store import open_package
from wherever_edge.resident import Resident

EXAMPLE = Path(__file__).parents[2] / "examples" / "sentiment" / "build.py"
SST2 = "sst2_dev.tsv"
# share of the 872 sentences of SST-2 told right, as was measured when the models were chosen
MEASURED = {"nl_classifier_builtin_ops": 0.830, "movie_review": 0.505}
TENSORFLOW = ("litert", "openvino")
ODD = ["", " ", "...", "\0", "😀", "the " * 10_000, "caf\u00e9", "'", "\u212a"]
HIDDEN, LENGTH = 6, 10
WORDS = ["[PAD]", "[UNK]", "the", "film", "is", "warm", "cold", "."]


def build_sentiment(models, name, output, *more):
    vocabulary = models / f"{name}.assets" / "vocab.txt"
    command = [sys.executable, str(EXAMPLE), "--model", str(models / f"{name}.tflite")]
    if name == "movie_review":  # it carries none
        more = (*more, "--vocab", vocabulary)
    subprocess.run([*command, "-o", str(output), *map(str, more)], check=True)
    return open_package(output)


def build_regex_embedding(models, root):
    """The text embedder, whose vocabulary is the classifier's."""
    ids, vector = "serving_default_input_2:0", "StatefulPartitionedCall:0"
    root.mkdir()
    file = models / "regex_one_embedding_with_metadata.tflite"
    (root / "embed.tflite").write_bytes(file.read_bytes())
    vocabulary = models / "nl_classifier_builtin_ops.assets" / "vocab.txt"
    (root / "vocab.txt").write_bytes(vocabulary.read_bytes())
    words = {"op": "word_ids", "name": "text", "to": ids, "length": 256, "vocabulary": "vocab.txt"}
    post = [
        {"op": "unit_length", "name": vector},
        {"op": "first_row", "name": vector, "to": "embedding"},
    ]
    variant = {
        "id": "words",
        "format": "tflite",
        "precision": "float32",
        "files": [{"path": "embed.tflite"}],
        "tensors": {
            "inputs": [{"name": ids, "dtype": "int32", "shape": [1, 256]}],
            "outputs": [{"name": vector, "dtype": "float32", "shape": [1, 16]}],
        },
        "pipeline": {"pre": [words], "post": post},
        "needs": {"engines": list(TENSORFLOW)},
    }
    return build_package(root, embedder("embedder", variant, 16, "vocab.txt"))


def embedder(name, variant, numbers, *files):
    return {
        "name": name,
        "version": "1.0.0",
        "boundary": "anywhere",
        "reference": variant["id"],
        "signature": {
            "inputs": [{"name": "text", "kind": "text"}],
            "outputs": [{"name": "embedding", "dtype": "float32", "shape": [numbers]}],
            "value": {"kind": "embedding", "vector": "embedding"},
        },
        "variants": [variant],
        "files": [{"path": path} for path in files],
    }


def build_sentence_embedder(root, **changes):
    """A vector for each token out of a table, their mean, at a length of 1; beside a tokenizer."""
    root.mkdir()
    table = np.random.default_rng(1).normal(size=(len(WORDS), HIDDEN)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "ids"], ["vectors"]),
            helper.make_node("Cast", ["mask"], ["kept"], to=TensorProto.FLOAT),
            # what stands in the padding is large, so that a mean which counts it is seen
            helper.make_node("Sub", ["one", "kept"], ["padding"]),
            helper.make_node("Mul", ["padding", "large"], ["noise"]),
            helper.make_node("Unsqueeze", ["noise", "last"], ["noises"]),
            helper.make_node("Add", ["vectors", "noises"], ["hidden"]),
        ],
        "embedder",
        [
            helper.make_tensor_value_info("ids", TensorProto.INT64, [1, "n"]),
            helper.make_tensor_value_info("mask", TensorProto.INT64, [1, "n"]),
        ],
        [helper.make_tensor_value_info("hidden", TensorProto.FLOAT, [1, "n", HIDDEN])],
        [
            numpy_helper.from_array(table, "table"),
            numpy_helper.from_array(np.float32(1), "one"),
            numpy_helper.from_array(np.float32(1000), "large"),
            numpy_helper.from_array(np.array([2], np.int64), "last"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    (root / "embed.onnx").write_bytes(model.SerializeToString())
    tokenizer = {
        "version": "1.0",
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {word: number for number, word in enumerate(WORDS)},
        },
    }
    (root / "tokenizer.json").write_text(json.dumps({**tokenizer, **changes}))
    tokens = {"op": "token_ids", "name": "text", "to": "ids", "mask": "mask", "length": LENGTH}
    tensor = {"dtype": "int64", "shape": [1, -1]}
    variant = {
        "id": "tokens",
        "format": "onnx",
        "precision": "float32",
        "files": [{"path": "embed.onnx"}],
        "tensors": {
            "inputs": [{"name": "ids", **tensor}, {"name": "mask", **tensor}],
            "outputs": [{"name": "hidden", "dtype": "float32", "shape": [1, -1, HIDDEN]}],
        },
        "pipeline": {
            "pre": [{**tokens, "padded": True}],
            "post": [
                {"op": "mean_pool", "name": "hidden", "mask": "mask"},
                {"op": "unit_length", "name": "hidden"},
                {"op": "first_row", "name": "hidden", "to": "embedding"},
            ],
        },
        "needs": {"engines": ["onnxruntime", "openvino"]},
    }
    package = build_package(root, embedder("sentences", variant, HIDDEN, "tokenizer.json"))
    return package, table


def answers(package, engine, texts):
    """The only output for each text, by one engine."""
    (variant,) = package.manifest.variants
    plan = RunPlan(engine, "cpu", variant.precision, 1)
    contents = [package.read(file) for file in variant.files]
    with closing(InstalledEngines().open(plan, variant.format, contents, Resources())) as session:
        loaded = LoadedVariant(package, variant, Resident.of(plan, session))
        assert loaded.ran.engine == engine
        check = InputChecker(loaded.signature).check
        found = [loaded.answer(check(text), {}).outputs for text in texts]
    return np.stack([next(iter(outputs.values())) for outputs in found])


@pytest.fixture(scope="module")
def sentences(test_data):
    """The sentences of SST-2's development set, and their labels."""
    lines = (test_data / "text" / SST2).read_text(encoding="utf-8").splitlines()
    texts, labels = zip(*[line.rsplit("\t", 1) for line in lines], strict=True)
    assert len(texts) == 872
    return texts, np.array(labels, np.int64)


@pytest.fixture(scope="module")
def sentiment(test_data, tmp_path_factory):
    output = tmp_path_factory.mktemp("packages") / "sentiment"
    measure = ("--quality-from", test_data / "text" / SST2)
    return build_sentiment(test_data / "models", "nl_classifier_builtin_ops", output, *measure)


@pytest.fixture(scope="module")
def movie_review(test_data, tmp_path_factory):
    output = tmp_path_factory.mktemp("packages") / "sentiment"
    return build_sentiment(test_data / "models", "movie_review", output)


@pytest.fixture(scope="module")
def regex_embedder(test_data, tmp_path_factory):
    root = tmp_path_factory.mktemp("packages") / "embedder"
    return build_regex_embedding(test_data / "models", root)


@pytest.mark.parametrize("engine", TENSORFLOW)
def test_sentiment_is_as_right_as_when_it_was_measured_in_each_engine(sentiment, sentences, engine):
    texts, labels = sentences
    scores = answers(sentiment, engine, texts)
    right = (scores.argmax(1) == labels).mean()
    assert abs(right - MEASURED["nl_classifier_builtin_ops"]) <= 0.01
    np.testing.assert_allclose(scores.sum(1), 1, atol=1e-3)


@pytest.mark.parametrize("engine", TENSORFLOW)
def test_a_model_that_loads_and_runs_may_still_know_nothing(movie_review, sentences, engine):
    """It carries no vocabulary, and with that of its kin its answers are at chance."""
    texts, labels = sentences
    right = (answers(movie_review, engine, texts).argmax(1) == labels).mean()
    assert abs(right - MEASURED["movie_review"]) <= 0.01


def test_the_measured_figure_stands_in_the_package(sentiment):
    (quality,) = sentiment.manifest.variants[0].quality
    assert (quality.n, quality.dataset) == (872, "sst2_dev")
    assert quality.value == pytest.approx(MEASURED["nl_classifier_builtin_ops"], abs=0.01)


def test_a_sentence_is_labelled_on_the_device_and_on_the_command_line(sentiment, answered):
    with wherever.Client(packages=[sentiment.root]) as client:
        model = client.model("sentiment")
        assert model("a film of rare warmth and beauty").value == "positive"
        assert model("dull , stupid and far too long").value == "negative"
        for text in ODD:
            assert model(text).value in ("negative", "positive")
    arguments = ("--packages", sentiment.root)
    told = answered("predict", "sentiment", "a film of rare warmth and beauty", *arguments)
    assert told["value"]["label"] == "positive"


def test_a_model_that_carries_no_vocabulary_says_how_to_give_one(test_data, tmp_path):
    model = test_data / "models" / "movie_review.tflite"
    command = [sys.executable, str(EXAMPLE), "--model", str(model), "-o", str(tmp_path / "out")]
    ran = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ran.returncode == 1
    assert "--vocab" in ran.stderr


def test_a_text_s_embedding_has_a_length_of_1_and_is_the_same_in_each_engine(
    regex_embedder, sentences
):
    texts = [*sentences[0][:200], *ODD]
    by_litert, by_openvino = (answers(regex_embedder, engine, texts) for engine in TENSORFLOW)
    np.testing.assert_allclose(by_litert, by_openvino, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(by_litert, axis=1), 1, rtol=1e-5)
    assert len(np.unique(by_litert.round(4), axis=0)) > 150  # it tells texts apart


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_sentences_of_a_tokenizer_are_embedded_as_computed_by_hand(tmp_path, engine):
    package, table = build_sentence_embedder(tmp_path / "sentences")
    texts = ["The film is warm.", "cold", "nobody knows this", "the " * 40, "film  film."]
    tokens = [[2, 3, 4, 5, 7], [6], [1, 1, 1], [2] * LENGTH, [3, 3, 7]]
    for vector, ids in zip(answers(package, engine, texts), tokens, strict=True):
        mean = table[ids].astype(np.float64).mean(0)
        np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), rtol=1e-4, atol=1e-6)


def test_a_handle_gives_a_sentence_s_vector(tmp_path):
    package, _ = build_sentence_embedder(tmp_path / "sentences")
    with wherever.Client(packages=[package.root]) as client:
        embed = client.model("sentences")
        warm, film, cold = (embed(text).value for text in ("warm", "warm film", "cold"))
    assert warm.shape == (HIDDEN,)
    assert warm @ warm == pytest.approx(1, abs=1e-6)
    assert warm @ film > warm @ cold


def test_a_package_with_a_broken_tokenizer_is_refused_in_words(tmp_path):
    package, _ = build_sentence_embedder(tmp_path / "sentences", model={"type": "Nonsense"})
    with pytest.raises(PackageError, match=r"tokenizer\.json: expected a tokenizer in JSON"):
        answers(package, "onnxruntime", ["the film"])
