"""From the settings of a text model to its signature and steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from wherever_contracts.errors import ConversionError
from wherever_convert.hugging import Folder, Promise
from wherever_convert.hugging.said import Said, labels_of, listed

if TYPE_CHECKING:
    from wherever_contracts.tensors import TensorSpec

TOKENIZER = "tokenizer.json"
_IDS, _MASK, _TYPES = "input_ids", "attention_mask", "token_type_ids"
_MOST_TOKENS = 512  # where nothing says how many there may be
# These number the places of tokens from after the padding's number on.
_PADDED_PLACES = frozenset({"roberta", "xlm-roberta", "camembert", "mpnet", "longformer"})
_INPUT = {"name": "text", "kind": "text", "max_bytes": 64 * 1024}
_POOLED = "sentence_embedding"
_POOLINGS = {
    "pooling_mode_cls_token": "the first token",
    "pooling_mode_mean_tokens": "the mean of the tokens",
    "pooling_mode_max_tokens": "the largest of the tokens",
    "pooling_mode_mean_sqrt_len_tokens": "the sum of the tokens by the root of their number",
    "pooling_mode_weightedmean_tokens": "the weighted mean of the tokens",
    "pooling_mode_lasttoken": "the last token",
}
_SUPPORTED_MODULES = ("Transformer", "Pooling", "Normalize")


def classifier_of_texts(
    folder: Folder, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> Promise:
    """A signature with a label, and the steps: tokens, softmax, confidence.

    Args:
        folder: the settings.
        inputs: of the ONNX file.
        outputs: likewise.

    Raises:
        ConversionError: the file or the settings are of no classifier that is supported.
    """
    logits = _only(outputs, folder)
    count = logits.shape[-1] if len(logits.shape) == 2 else -1
    signature, post = scored(folder.config, logits.name, count)
    return Promise(
        {"inputs": [_INPUT], **signature}, {"pre": _tokens(folder, inputs), "post": post}
    )


def scored(config: Said, logits: str, count: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Outputs and value of a classifier's signature, and the steps after its engine.

    Args:
        config: with the names of the classes.
        logits: the output.
        count: its classes, -1 where the file does not say.

    Raises:
        ConversionError: there are fewer than two, or not as many as names.
    """
    labels = labels_of(config)
    count = len(labels or ()) if count < 1 else count
    if count < 2:
        raise ConversionError(
            f"{config.file}: the model gives {count} numbers; what ranks or measures (and does not "
            f"choose among classes) is not supported"
        )
    names = [str(number) for number in range(count)] if labels is None else [*labels]
    if len(names) != count:
        raise ConversionError(
            f"{config.file}: id2label names {len(names)} classes, the ONNX file gives {count}"
        )
    several = config.text("problem_type") == "multi_label_classification"
    signature = {
        "outputs": [{"name": "scores", "dtype": "float32", "shape": [count]}],
        "value": {"kind": "label", "scores": "scores", "labels": names},
    }
    post = [
        {"op": "first_row", "name": logits, "to": "scores"},
        {"op": "sigmoid" if several else "softmax", "name": "scores"},
        {"op": "max_confidence", "name": "scores"},
    ]
    return signature, post


def embedder_of_texts(
    folder: Folder, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> Promise:
    """A signature with a vector, and the steps: tokens, pooling, and a length of 1 where wanted.

    Raises:
        ConversionError: the vectors are made in a way that no step knows.
    """
    _refuse_prompts(folder)
    _refuse_case(folder)
    pooled = next((each for each in outputs if each.name == _POOLED), None)
    pre = _tokens(folder, inputs)
    if pooled is None:
        _refuse_modules(folder)
        vectors = _vectors(folder, outputs)
        name, length, post = vectors.name, vectors.shape[-1], _pooling(folder, vectors.name, pre)
    else:
        name, length = pooled.name, pooled.shape[-1]
        post = [{"op": "first_row", "name": name, "to": "embedding"}]
    if "Normalize" in folder.modules:
        post.append({"op": "unit_length", "name": "embedding"})
    signature = {
        "inputs": [_INPUT],
        "outputs": [{"name": "embedding", "dtype": "float32", "shape": [length]}],
        "value": {"kind": "embedding", "vector": "embedding"},
    }
    return Promise(signature, {"pre": pre, "post": post})


def longest(folder: Folder) -> int:
    """How many tokens a text may have, the special ones among them."""
    places = folder.config.count("max_position_embeddings")
    if places is not None and folder.config.text("model_type") in _PADDED_PLACES:
        places -= int(folder.config.number("pad_token_id") or 0) + 1
    said = (
        folder.tokenizer.count("model_max_length"),
        folder.sentences.count("max_seq_length"),
        places,
    )
    return min((each for each in said if each is not None), default=_MOST_TOKENS)


def _tokens(folder: Folder, inputs: Sequence[TensorSpec]) -> list[dict[str, Any]]:
    """The step that makes the inputs of a text."""
    if TOKENIZER not in folder.files:
        raise ConversionError(
            f"{folder.name} has no {TOKENIZER}: write one with transformers, "
            f"AutoTokenizer.from_pretrained({folder.name!r}).save_pretrained({folder.name!r})"
        )
    known = {each.name: each for each in inputs}
    unknown = sorted(known.keys() - {_IDS, _MASK, _TYPES})
    if _IDS not in known or unknown:
        raise ConversionError(
            f"the ONNX file takes {listed(sorted(known))}; "
            f"supported are {_IDS}, {_MASK} and {_TYPES}"
        )
    fixed = known[_IDS].shape[-1]
    step: dict[str, Any] = {
        "op": "token_ids",
        "name": "text",
        "to": _IDS,
        "length": fixed if fixed > 0 else longest(folder),
        "tokenizer": TOKENIZER,
        "dtype": known[_IDS].dtype,
    }
    step |= {key: name for key, name in (("mask", _MASK), ("types", _TYPES)) if name in known}
    if fixed > 0:
        step["padded"] = True
        pad = folder.config.number("pad_token_id")
        step |= {} if pad is None else {"pad": int(pad)}
    return [step]


def _pooling(folder: Folder, name: str, pre: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The steps that make one vector of those of the tokens."""
    chosen = [words for key, words in _POOLINGS.items() if folder.pooling.flag(key, default=False)]
    if not chosen and not folder.pooling:
        chosen = [_POOLINGS["pooling_mode_mean_tokens"]]
    if chosen == [_POOLINGS["pooling_mode_cls_token"]]:
        row = {"op": "first_row", "name": name, "to": "embedding"}
        return [row, {"op": "first_row", "name": "embedding"}]
    if chosen != [_POOLINGS["pooling_mode_mean_tokens"]]:
        raise ConversionError(
            f"{folder.pooling.file}: a vector made of {' and '.join(chosen) or 'nothing'} is not "
            f"supported; supported are the mean of the tokens, and the first token"
        )
    mask = {"mask": _MASK} if "mask" in pre[0] else {}
    return [
        {"op": "mean_pool", "name": name, **mask, "to": "pooled"},
        {"op": "first_row", "name": "pooled", "to": "embedding"},
    ]


def _vectors(folder: Folder, outputs: Sequence[TensorSpec]) -> TensorSpec:
    for each in outputs:
        if len(each.shape) == 3 and each.dtype == "float32" and "logits" not in each.name:
            return each
    raise ConversionError(
        f"{folder.name}: the ONNX file gives {listed([each.name for each in outputs])}, and no "
        f"vector for each token (float32 [rows, tokens, numbers]); export it as a feature extractor"
    )


def _refuse_prompts(folder: Folder) -> None:
    default = folder.prompts.text("default_prompt_name")
    if default:
        raise ConversionError(
            f"{folder.prompts.file}: the prompt {default!r} goes before every text, which no step "
            f"does; set default_prompt_name to null, and put it there yourself"
        )


def _refuse_case(folder: Folder) -> None:
    """Refuse an embedder that makes texts small before its tokenizer sees them."""
    wanted = folder.sentences.flag("do_lower_case", default=False)
    if wanted and not _makes_small(folder.words.part("normalizer")):
        raise ConversionError(
            f"{folder.sentences.file}: do_lower_case is true, and {TOKENIZER} keeps capitals; add "
            f"a normalizer Lowercase to it"
        )


def _makes_small(normalizer: Said) -> bool:
    kinds = [normalizer, *normalizer.parts("normalizers")]
    return any(
        each.text("type") == "Lowercase" or each.flag("lowercase", default=False) for each in kinds
    )


def _refuse_modules(folder: Folder) -> None:
    unknown = [name for name in folder.modules if name not in _SUPPORTED_MODULES]
    if unknown:
        raise ConversionError(
            f"modules.json has the steps {listed(unknown)}, which are not in the ONNX file; export "
            f"the whole embedder, with an output {_POOLED!r}"
        )


def _only(outputs: Sequence[TensorSpec], folder: Folder) -> TensorSpec:
    named = [each for each in outputs if each.name == "logits"] or [*outputs]
    if len(named) == 1 and len(named[0].shape) == 2 and named[0].dtype == "float32":
        return named[0]
    raise ConversionError(
        f"{folder.name}: the ONNX file gives "
        f"{listed([f'{each.name} {each}' for each in outputs])}; a classifier gives one output, "
        f"float32 [rows, classes]"
    )
