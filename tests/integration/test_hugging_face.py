"""Hugging Face folders, built for real: tokenizers that were trained, graphs that compute."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import wherever
from wherever_contracts.errors import ConversionError
from wherever_convert.builder import build_package
from wherever_convert.draft import Draft, header
from wherever_convert.sources import Request, find_source

SENTENCES = ["a good film", "a bad film", "good good good", "bad story", "the film is good"]
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
CLASSES = {"id2label": {"0": "bad", "1": "good"}}


def write_json(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))


def train_tokenizer(path):
    """A small WordPiece tokenizer, as BERT's; returns its vocabulary."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    tool = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tool.normalizer = normalizers.Lowercase()
    tool.pre_tokenizer = pre_tokenizers.Whitespace()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    trainer = trainers.WordPieceTrainer(
        vocab_size=60, special_tokens=special, show_progress=False, min_frequency=1
    )
    tool.train_from_iterator(SENTENCES, trainer)
    tool.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tool.save(str(path))
    return tool.get_vocab()


def save_graph(path, nodes, inputs, outputs, constants):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in inputs],
        [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))


def text_inputs():
    return [("input_ids", INT64, ["b", "n"]), ("attention_mask", INT64, ["b", "n"])]


def save_word_table(folder, table):
    """A model that gives each token its row of a table; the mask is taken, and not looked at."""
    nodes = [
        helper.make_node("Cast", ["attention_mask"], ["m"], to=FLOAT),
        helper.make_node("Mul", ["m", "zero"], ["z"]),
        helper.make_node("Unsqueeze", ["z", "last"], ["zz"]),
        helper.make_node("Gather", ["table", "input_ids"], ["g"]),
        helper.make_node("Add", ["g", "zz"], ["last_hidden_state"]),
    ]
    constants = {"table": table, "zero": np.float32(0), "last": np.array([2], np.int64)}
    outputs = [("last_hidden_state", ["b", "n", table.shape[1]])]
    save_graph(folder / "onnx" / "model.onnx", nodes, text_inputs(), outputs, constants)


def sentiment_folder(folder):
    """A classifier that adds up what each word is worth."""
    folder.mkdir()
    vocabulary = train_tokenizer(folder / "tokenizer.json")
    worth = np.zeros((len(vocabulary), 2), np.float32)
    worth[vocabulary["bad"], 0] = worth[vocabulary["good"], 1] = 2
    nodes = [
        helper.make_node("Gather", ["worth", "input_ids"], ["g"]),
        helper.make_node("ReduceSum", ["g", "axis"], ["logits"], keepdims=0),
    ]
    constants = {"worth": worth, "axis": np.array([1], np.int64)}
    save_graph(folder / "model.onnx", nodes, text_inputs()[:1], [("logits", ["b", 2])], constants)
    config = {"architectures": ["BertForSequenceClassification"], "model_type": "bert", **CLASSES}
    write_json(folder / "config.json", config)
    write_json(folder / "tokenizer_config.json", {"model_max_length": 8})
    return folder


def image_folder(folder, side=4):
    """A classifier that tells red from blue by the mean of each channel."""
    folder.mkdir()
    nodes = [
        helper.make_node("GlobalAveragePool", ["pixel_values"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["logits"]),
    ]
    weights = np.array([[1, 0], [0, 0], [0, 1]], np.float32)
    inputs = [("pixel_values", FLOAT, ["b", 3, side, side])]
    save_graph(folder / "model.onnx", nodes, inputs, [("logits", ["b", 2])], {"w": weights})
    config = {
        "architectures": ["ResNetForImageClassification"],
        "id2label": {"0": "red", "1": "blue"},
    }
    write_json(folder / "config.json", config)
    preprocessor = {
        "size": {"shortest_edge": 8},
        "do_center_crop": True,
        "crop_size": {"height": side, "width": side},
        "resample": 2,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    write_json(folder / "preprocessor_config.json", preprocessor)
    return folder


def load(folder, task):
    request = Request(None, task, frozenset(), folder)
    return find_source(folder).load(folder, request)


def packed(model, root):
    """A package of what a source gave, with nothing else in it."""
    root.mkdir()
    for path, data in model.assets.items():
        (root / path).write_bytes(data)
    made_header = header("made", "1.0.0", "anywhere", "", "")
    draft = Draft(root, made_header, model.design, tuple(model.assets))
    draft.add("made-fp32", model.files["onnx"])
    build_package(root, draft.manifest())
    return root


def test_a_text_classifier_answers_through_its_own_tokenizer(tmp_path):
    model = load(sentiment_folder(tmp_path / "hf"), "classify")
    assert model.labels == ("bad", "good")
    assert model.facts["model_type"] == "bert"
    with wherever.Client(packages=[packed(model, tmp_path / "p")]) as client:
        assert client.predict("made", "A GOOD film").value == "good"
        assert client.predict("made", "the story is bad").value == "bad"
        sure = client.predict("made", "good good")
        assert sure.outputs["scores"][1] == pytest.approx(1 / (1 + np.exp(-4)))
        # of more than eight tokens the last ones of the text are dropped
        assert client.predict("made", "bad " * 6 + "good " * 50).value == "bad"


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_a_sentence_embedder_gives_one_vector_as_the_folder_says(tmp_path, pooling):
    from tokenizers import Tokenizer

    folder = tmp_path / "hf"
    folder.mkdir()
    vocabulary = train_tokenizer(folder / "tokenizer.json")
    table = np.random.default_rng(0).normal(size=(len(vocabulary), 5)).astype(np.float32)
    save_word_table(folder, table)
    write_json(folder / "config.json", {"architectures": ["BertModel"], "model_type": "bert"})
    kinds = ("Transformer", "Pooling", "Normalize")
    modules = [{"type": f"sentence_transformers.models.{kind}"} for kind in kinds]
    write_json(folder / "modules.json", modules)
    modes = {
        "pooling_mode_mean_tokens": pooling == "mean",
        "pooling_mode_cls_token": pooling == "cls",
    }
    write_json(folder / "1_Pooling" / "config.json", modes)

    model = load(folder, "embed")
    with wherever.Client(packages=[packed(model, tmp_path / "p")]) as client:
        found = client.predict("made", "a good story").value
    ids = Tokenizer.from_file(str(folder / "tokenizer.json")).encode("a good story").ids
    vector = table[ids].mean(axis=0) if pooling == "mean" else table[ids[0]]
    np.testing.assert_allclose(found, vector / np.linalg.norm(vector), rtol=1e-5)


def test_an_image_classifier_sees_what_the_preprocessor_leaves(tmp_path):
    model = load(image_folder(tmp_path / "hf"), "classify")
    picture = np.zeros((20, 40, 3), np.uint8)
    picture[:, :, 0] = 255  # red all over, and blue in the middle, which the crop leaves
    picture[4:16, 14:26] = (0, 0, 255)
    Image.fromarray(picture).save(tmp_path / "a.png")
    with wherever.Client(packages=[packed(model, tmp_path / "p")]) as client:
        answer = client.predict("made", tmp_path / "a.png")
    assert answer.value == "blue"
    (step,) = model.design.pipeline["pre"]
    assert (step["keep"], step["resize"], step["scale"]) == (0.5, "antialias", 1 / 255)


def test_the_task_must_be_the_folders(tmp_path):
    with pytest.raises(ConversionError, match=r"for the task 'classify' \(--task classify\)"):
        load(image_folder(tmp_path / "hf"), "embed")


def test_code_that_a_folder_names_is_not_run(tmp_path):
    folder = image_folder(tmp_path / "hf")
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", {**config, "auto_map": {"AutoConfig": "code.Config"}})
    (folder / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    load(folder, "classify")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("config.json", "{", "is no JSON"),
        ("config.json", "[]", "must hold an object, not list"),
        ("config.json", '{"architectures": "Bert"}', "must be a list of texts, not 'Bert'"),
        ("tokenizer.json", "{}", "a tokenizer in JSON"),
        ("model.onnx", "", "has 0 bytes"),
    ],
)
def test_a_broken_folder_is_refused_with_the_file(tmp_path, file, content, words):
    folder = sentiment_folder(tmp_path / "hf")
    (folder / file).write_text(content)
    with pytest.raises(wherever.WhereverError, match=words):
        load(folder, "classify")


def test_weights_alone_are_refused_with_the_command_that_exports(tmp_path):
    folder = sentiment_folder(tmp_path / "hf")
    (folder / "model.onnx").rename(folder / "model.safetensors")
    with pytest.raises(ConversionError, match="optimum-cli export onnx --model hf hf-onnx"):
        load(folder, "classify")
