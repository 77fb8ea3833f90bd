"""The settings of a Hugging Face folder become a signature and steps, or are refused in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_contracts.errors import ConversionError
from wherever_contracts.tensors import TensorSpec
from wherever_convert.hugging import Folder
from wherever_convert.hugging.choosing import SUPPORTED, choose_onnx, kind_of
from wherever_convert.hugging.images import classifier_of_images, embedder_of_images
from wherever_convert.hugging.said import Said, labels_of
from wherever_convert.hugging.texts import classifier_of_texts, embedder_of_texts, longest

IDS = [
    TensorSpec("input_ids", "int64", (-1, -1)),
    TensorSpec("attention_mask", "int64", (-1, -1)),
]
HIDDEN = [TensorSpec("last_hidden_state", "float32", (-1, -1, 384))]
PIXELS = [TensorSpec("pixel_values", "float32", (-1, 3, 224, 224))]
TWO = {"id2label": {"0": "bad", "1": "good"}}
NORMAL = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.2]}


def folder_of(config=(), files=("tokenizer.json",), modules=(), **said):
    names = ("tokenizer", "images", "sentences", "prompts", "words", "pooling")
    parts = {name: Said(f"{name}.json", said.get(name, {})) for name in names}
    return Folder(
        "folder", frozenset(files), Said("config.json", dict(config)), modules=modules, **parts
    )


def logits(count):
    return [TensorSpec("logits", "float32", (-1, count))]


@pytest.mark.parametrize(
    ("architecture", "images", "kind"),
    [
        ("BertForSequenceClassification", {}, ("classify", "text")),
        ("BertModel", {}, ("embed", "text")),
        ("ViTForImageClassification", NORMAL, ("classify", "images")),
        ("Dinov2Model", NORMAL, ("embed", "images")),
        ("CLIPVisionModelWithProjection", NORMAL, ("embed", "images")),
    ],
)
def test_the_architecture_says_what_a_model_does(architecture, images, kind):
    files = () if images else ("tokenizer.json",)
    folder = folder_of({"architectures": [architecture]}, files, images=images)
    assert kind_of(folder) == kind


@pytest.mark.parametrize(
    "config", [{"architectures": ["LlamaForCausalLM"]}, {"model_type": "whisper"}, {}]
)
def test_other_architectures_are_refused_with_what_is_supported(config):
    with pytest.raises(ConversionError) as caught:
        kind_of(folder_of(config))
    assert SUPPORTED in str(caught.value)
    assert next(iter(config.values()), "no architecture")[0] in str(caught.value)


def test_code_that_a_folder_names_changes_nothing():
    plain = folder_of({"architectures": ["BertModel"]})
    with_code = folder_of({"architectures": ["BertModel"], "auto_map": {"AutoModel": "evil.Model"}})
    assert kind_of(plain) == kind_of(with_code)
    assert embedder_of_texts(plain, IDS, HIDDEN) == embedder_of_texts(with_code, IDS, HIDDEN)


@pytest.mark.parametrize(
    ("files", "chosen", "passed_over"),
    [
        (["model.onnx"], "model.onnx", ()),
        (["onnx/model.onnx", "onnx/model_fp16.onnx"], "onnx/model.onnx", ("onnx/model_fp16.onnx",)),
        (["model.onnx", "onnx/model.onnx"], "onnx/model.onnx", ("model.onnx",)),
        (["vision.onnx", "vision_quantized.onnx"], "vision.onnx", ("vision_quantized.onnx",)),
        (["a/b/model.onnx", "model.onnx"], "model.onnx", ()),
    ],
)
def test_the_float_file_is_chosen_among_several(files, chosen, passed_over):
    assert choose_onnx(folder_of(files=files)) == (chosen, passed_over)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["model.safetensors"], "optimum-cli export onnx --model folder folder-onnx"),
        (["pytorch_model.bin"], "optimum-cli export onnx"),
        ([], "no ONNX file and no weights"),
        (["onnx/model_quantized.onnx", "onnx/model_q4.onnx"], "no float32 ONNX file, only onnx"),
        (["onnx/encoder_model.onnx", "onnx/decoder_model.onnx"], "several ONNX files"),
    ],
)
def test_without_one_float_file_it_is_said_what_to_do(files, words):
    with pytest.raises(ConversionError, match=words):
        choose_onnx(folder_of(files=files))


def test_a_text_classifier_gets_tokens_labels_and_softmax():
    signature, pipeline = classifier_of_texts(
        folder_of({**TWO, "max_position_embeddings": 512}, tokenizer={"model_max_length": 128}),
        IDS,
        logits(2),
    )
    assert signature["value"] == {"kind": "label", "scores": "scores", "labels": ["bad", "good"]}
    (tokens,) = pipeline["pre"]
    assert (tokens["length"], tokens["mask"], "types" in tokens) == (128, "attention_mask", False)
    assert [step["op"] for step in pipeline["post"]] == ["first_row", "softmax", "max_confidence"]


def test_several_labels_at_once_are_chances_of_their_own():
    config = {**TWO, "problem_type": "multi_label_classification"}
    _, pipeline = classifier_of_texts(folder_of(config), IDS, logits(2))
    assert "sigmoid" in [step["op"] for step in pipeline["post"]]


def test_a_file_of_one_length_gets_rows_of_that_length():
    fixed = [TensorSpec("input_ids", "int32", (1, 64))]
    _, pipeline = classifier_of_texts(folder_of({**TWO, "pad_token_id": 1}), fixed, logits(2))
    (tokens,) = pipeline["pre"]
    assert (tokens["length"], tokens["padded"], tokens["pad"]) == (64, True, 1)
    assert tokens["dtype"] == "int32"


@pytest.mark.parametrize(
    ("config", "inputs", "outputs", "words"),
    [
        ({"id2label": {"0": "x"}}, IDS, logits(1), "the model gives 1 numbers"),
        (TWO, IDS, logits(3), "id2label names 2 classes, the ONNX file gives 3"),
        ({"id2label": {"0": "a", "2": "b"}}, IDS, logits(2), "must number the classes"),
        (TWO, [*IDS, TensorSpec("bbox", "int64", (-1, -1, 4))], logits(2), "takes .*bbox"),
        (TWO, IDS, HIDDEN, "a classifier gives one output"),
    ],
)
def test_a_classifier_that_does_not_fit_is_refused(config, inputs, outputs, words):
    with pytest.raises(ConversionError, match=words):
        classifier_of_texts(folder_of(config), inputs, outputs)


def test_without_a_tokenizer_json_it_is_said_how_to_write_one():
    with pytest.raises(ConversionError, match=r"save_pretrained\('folder'\)"):
        classifier_of_texts(folder_of(TWO, files=("vocab.txt",)), IDS, logits(2))


@pytest.mark.parametrize(
    ("said", "tokens"),
    [
        ({}, 512),
        ({"tokenizer": {"model_max_length": 10**30}, "sentences": {"max_seq_length": 256}}, 256),
        ({"config": {"max_position_embeddings": 130}}, 130),
        (
            {
                "config": {
                    "max_position_embeddings": 514,
                    "model_type": "roberta",
                    "pad_token_id": 1,
                }
            },
            512,
        ),
    ],
)
def test_a_text_may_have_as_many_tokens_as_the_least_that_is_said(said, tokens):
    assert longest(folder_of(**said)) == tokens


@pytest.mark.parametrize(
    ("pooling", "modules", "ops"),
    [
        ({}, (), ["mean_pool", "first_row"]),
        (
            {"pooling_mode_mean_tokens": True},
            ("Transformer", "Pooling", "Normalize"),
            ["mean_pool", "first_row", "unit_length"],
        ),
        ({"pooling_mode_cls_token": True}, ("Transformer", "Pooling"), ["first_row", "first_row"]),
    ],
)
def test_one_vector_is_made_of_the_tokens_as_the_folder_says(pooling, modules, ops):
    folder = folder_of(pooling=pooling, modules=modules)
    signature, pipeline = embedder_of_texts(folder, IDS, HIDDEN)
    assert [step["op"] for step in pipeline["post"]] == ops
    assert signature["outputs"][0]["shape"] == [384]


def test_a_vector_that_the_file_has_pooled_is_taken():
    outputs = [*HIDDEN, TensorSpec("sentence_embedding", "float32", (-1, 64))]
    modules = ("Transformer", "Pooling", "Dense", "Normalize")
    signature, pipeline = embedder_of_texts(folder_of(modules=modules), IDS, outputs)
    assert pipeline["post"][0]["name"] == "sentence_embedding"
    assert signature["outputs"][0]["shape"] == [64]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"pooling": {"pooling_mode_max_tokens": True}}, "made of the largest of the tokens"),
        (
            {"pooling": {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}},
            "the first token and the mean",
        ),
        ({"pooling": {"word_embedding_dimension": 384}}, "made of nothing"),
        ({"modules": ("Transformer", "Pooling", "Dense")}, "steps Dense, which are not in the"),
        ({"prompts": {"default_prompt_name": "query"}}, "the prompt 'query' goes before"),
    ],
)
def test_vectors_that_no_step_can_make_are_refused(said, words):
    with pytest.raises(ConversionError, match=words):
        embedder_of_texts(folder_of(**said), IDS, HIDDEN)


@pytest.mark.parametrize(
    ("normalizer", "fits"),
    [
        ({"type": "BertNormalizer", "lowercase": True}, True),
        ({"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}]}, True),
        ({"type": "BertNormalizer", "lowercase": False}, False),
        (None, False),
    ],
)
def test_texts_that_are_made_small_need_a_tokenizer_that_does_it(normalizer, fits):
    folder = folder_of(sentences={"do_lower_case": True}, words={"normalizer": normalizer})
    if fits:
        assert embedder_of_texts(folder, IDS, HIDDEN)
    else:
        with pytest.raises(ConversionError, match="do_lower_case is true"):
            embedder_of_texts(folder, IDS, HIDDEN)


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (
            {"size": {"height": 224, "width": 224}, "resample": 2},
            {"resize": "antialias", "keep": 1},
        ),
        ({"size": 224, "resample": 3}, {"resize": "antialias_cubic", "keep": 1}),
        (
            {"size": {"shortest_edge": 256}, "do_center_crop": True, "crop_size": 224},
            {"keep": 224 / 256},
        ),
        (
            {
                "image_processor_type": "CLIPImageProcessor",
                "size": 224,
                "do_center_crop": True,
                "crop_size": {"height": 224, "width": 224},
            },
            {"keep": pytest.approx(1, abs=1e-5), "resize": "antialias_cubic"},
        ),
        (
            {
                "image_processor_type": "ConvNextImageProcessor",
                "size": {"shortest_edge": 224},
                "crop_pct": 0.875,
            },
            {"keep": 224 / 256},
        ),
        ({"size": 224, "do_rescale": False}, {"scale": 1.0}),
        ({"size": 224, "rescale_factor": 0.5}, {"scale": 0.5, "mean": [0.5, 0.4, 0.3]}),
        ({"size": 224, "do_flip_channel_order": True}, {"order": "bgr"}),
        ({"do_resize": False}, {"keep": 1.0}),
    ],
)
def test_a_preprocessor_becomes_one_step(images, expected):
    _, pipeline = classifier_of_images(
        folder_of(TWO, files=(), images={**NORMAL, **images}), PIXELS, logits(2)
    )
    (step,) = pipeline["pre"]
    assert step["size"] == [224, 224]
    assert {name: step[name] for name in expected} == expected


def test_a_square_that_is_cropped_is_cropped_before_it_is_stretched():
    images = {**NORMAL, "size": 256, "do_center_crop": True, "crop_size": 224}
    _, pipeline = classifier_of_images(folder_of(TWO, images=images), PIXELS, logits(2))
    crop, step = pipeline["pre"]
    assert crop["shares"] == [0.0625, 0.0625, 0.9375, 0.9375]
    assert (step["size"], step["keep"]) == ([224, 224], 1.0)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ({}, "size must say height and width"),
        ({"size": 192}, "images become 192 x 192, and the ONNX file takes 224 x 224"),
        ({"size": {"shortest_edge": 224}}, "keep their aspect"),
        ({"size": 224, "resample": 4}, "resample 4 is not supported"),
        ({"size": 224, "image_mean": None}, "do_normalize needs image_mean"),
        ({"size": 224, "image_mean": "x"}, "image_mean must be a list of numbers, not 'x'"),
        ({"size": 192, "do_center_crop": True, "crop_size": 224}, "are padded"),
        (
            {"image_processor_type": "ConvNextX", "size": {"shortest_edge": 224}, "crop_pct": 300},
            "crop_pct must be above 0 and at most 1, not 300",
        ),
        ({"size": -5}, "size must be 1 or more, not -5"),
    ],
)
def test_images_that_no_step_can_prepare_are_refused(images, words):
    with pytest.raises(ConversionError, match=words):
        classifier_of_images(folder_of(TWO, images={**NORMAL, **images}), PIXELS, logits(2))


@pytest.mark.parametrize(
    ("outputs", "length", "taken"),
    [
        ([*HIDDEN, TensorSpec("pooler_output", "float32", (-1, 192))], 192, "pooler_output"),
        (HIDDEN, 384, "last_hidden_state"),
        ([TensorSpec("image_embeds", "float32", (-1, 512))], 512, "image_embeds"),
        ([TensorSpec("pooler_output", "float32", (-1, 96, 1, 1))], 96, "pooler_output"),
    ],
)
def test_an_image_embedder_gives_the_pooled_vector(outputs, length, taken):
    folder = folder_of(files=(), images={**NORMAL, "size": 224})
    signature, pipeline = embedder_of_images(folder, PIXELS, outputs)
    assert signature["outputs"][0]["shape"] == [length]
    assert pipeline["post"][0]["name"] == taken


def test_labels_come_in_the_order_of_their_numbers():
    named = {str(n): f"class {n}" for n in range(12)}
    assert labels_of(Said("config.json", {"id2label": named}))[10:] == ("class 10", "class 11")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
image_keys = st.sampled_from(
    ["size", "crop_size", "resample", "image_mean", "image_std", "rescale_factor", "crop_pct",
     "do_resize", "do_center_crop", "do_normalize", "image_processor_type"]
)  # fmt: skip


@given(st.dictionaries(image_keys, json_values))
def test_whatever_a_preprocessor_says_is_taken_or_refused_in_words(images):
    folder = folder_of(TWO, files=(), images=images)
    try:
        _, pipeline = classifier_of_images(folder, PIXELS, logits(2))
    except ConversionError as error:
        assert str(error)
    else:
        assert pipeline["pre"][-1]["size"] == [224, 224]
