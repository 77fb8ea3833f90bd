"""Tokens by a `tokenizer.json`, against WordPiece and BPE written a second time."""

from __future__ import annotations

import json
import subprocess
import sys
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherever_contracts.errors import EngineError, ManifestError, MissingExtraError, PackageError
from wherever_contracts.manifest import StepEntry, Variant
from wherever_edge.pipelines.pipeline import StepContext, compile_steps

PIECES = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "un",
    "##aff",
    "##able",
    "the",
    "film",
    "##s",
    "é",
    "e",
]
PIECES += ["##e", "a", "##a", "b", "##b", ",", ".", "'", "!", "中", "文", "##中", "1", "##1", "-"]
WORDPIECE = {piece: number for number, piece in enumerate(PIECES)}
SPECIAL = {name: WORDPIECE[name] for name in ("[PAD]", "[UNK]", "[CLS]", "[SEP]")}
SPLIT = {"type": "Split", "behavior": "Isolated", "invert": False}
ALPHABET = "unaffablethefilmsabe1 \t\n\0\x07.,!'-ÉéÀà中文字\u200b\u0301\ufeff😀ß_"
LETTERS = {letter: number for number, letter in enumerate("abcdef<|>")}
MERGES = [("a", "b"), ("ab", "c"), ("c", "d"), ("b", "c"), ("ab", "ab"), ("e", "f"), ("cd", "ef")]
BPE = {**LETTERS, **{one + other: 9 + n for n, (one, other) in enumerate(MERGES)}}


def added(name, number):
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": name, "special": True, **flags}


def sequence(*parts):
    """Of a template: `("[CLS]", 0)` is a special token, `("A", 0)` the first text."""
    kinds = {True: "SpecialToken", False: "Sequence"}
    return [{kinds[name in SPECIAL]: {"id": name, "type_id": type_}} for name, type_ in parts]


def bert(**changes):
    single = [("[CLS]", 0), ("A", 0), ("[SEP]", 0)]
    template = {
        "type": "TemplateProcessing",
        "single": sequence(*single),
        "pair": sequence(*single, ("B", 1), ("[SEP]", 1)),
        "special_tokens": {
            name: {"id": name, "ids": [number], "tokens": [name]}
            for name, number in SPECIAL.items()
        },
    }
    model = {
        "type": "WordPiece",
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
        "vocab": WORDPIECE,
    }
    described = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [added(name, number) for name, number in SPECIAL.items()],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": template,
        "decoder": None,
        "model": model,
    }
    return json.dumps({**described, **changes}).encode()


def template(**changes):
    return json.loads(bert())["post_processor"] | changes


def bpe():
    model = {"type": "BPE", "vocab": BPE, "merges": [list(pair) for pair in MERGES]}
    split = {"type": "WhitespaceSplit"}
    return json.dumps({"version": "1.0", "pre_tokenizer": split, "model": model}).encode()


def compiled(file=None, shape=(1, -1), **parameters):
    names = ("ids", "mask", "types")
    variant = Variant.model_validate(
        {
            "id": "v",
            "format": "onnx",
            "precision": "float32",
            "files": [{"path": "m.onnx", "sha256": "0" * 64, "bytes": 0}],
            "tensors": {
                "inputs": [{"name": n, "dtype": "int64", "shape": list(shape)} for n in names],
                "outputs": [{"name": "y", "dtype": "float32", "shape": [1, 2]}],
            },
        }
    )
    context = StepContext(None, variant, {"tokenizer.json": file or bert()}.__getitem__)
    all_ = {"name": "text", "to": "ids", "mask": "mask", "types": "types", "length": 12}
    entry = StepEntry.model_validate({"op": "token_ids", **all_, **parameters})
    (step,) = compile_steps([entry], context, "variants.v.pipeline.pre")
    return step


def run(text, other=None, file=None, **parameters):
    state = {"text": text, "other": other}
    compiled(file, **parameters)(state)
    return [state[name] for name in ("ids", "mask", "types") if name in state]


def basic_words(text):
    """BERT's "basic tokenizer" in lower case."""
    spaced = ""
    for letter in text:
        kind = unicodedata.category(letter)
        if letter in "\t\n\r":
            spaced += " "
        elif letter in "\0\ufffd" or kind.startswith("C"):
            continue
        elif "\u4e00" <= letter <= "\u9fff":
            spaced += f" {letter} "
        else:
            spaced += " " if kind == "Zs" else letter
    plain = [c for c in unicodedata.normalize("NFD", spaced) if unicodedata.category(c) != "Mn"]
    split = ""
    for letter in "".join(plain).lower():
        stands_alone = unicodedata.category(letter).startswith("P")
        split += f" {letter} " if stands_alone else letter
    return split.split()


def pieces_of(word):
    """The longest piece that is known, again and again; unknown where there is none."""
    found, rest = [], word
    while rest:
        prefix = "##" if found else ""
        sizes = [n for n in range(len(rest), 0, -1) if prefix + rest[:n] in WORDPIECE]
        if not sizes:
            return [SPECIAL["[UNK]"]]
        found.append(WORDPIECE[prefix + rest[: sizes[0]]])
        rest = rest[sizes[0] :]
    return found


def wordpiece_again(text, length):
    ids = [number for word in basic_words(text) for number in pieces_of(word)]
    return [SPECIAL["[CLS]"], *ids[: length - 2], SPECIAL["[SEP]"]]


def bpe_again(text):
    """In each word, the pair of the lowest rank is joined, the leftmost first, again and again."""
    ids = []
    for word in text.split():
        parts = [letter for letter in word if letter in LETTERS]
        while pairs := [
            (MERGES.index(p), at) for at, p in enumerate(pairwise(parts)) if p in MERGES
        ]:
            _, at = min(pairs)
            parts[at : at + 2] = ["".join(parts[at : at + 2])]
        ids += [BPE[part] for part in parts]
    return ids


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", []),
        ("  \n\t", []),
        ("Unaffable films", ["un", "##aff", "##able", "film", "##s"]),
        ("THE FILM.", ["the", "film", "."]),
        ("Éa", ["e", "##a"]),
        ("中文", ["中", "文"]),
        ("th\0e", ["the"]),
        ("😀 the", ["[UNK]", "the"]),
    ],
)
def test_wordpieces_of_known_texts(text, pieces):
    ids, mask, types = run(text)
    assert ids.tolist() == [[2, *(WORDPIECE[piece] for piece in pieces), 3]]
    assert mask.tolist() == [[1] * ids.shape[1]]
    assert types.tolist() == [[0] * ids.shape[1]]
    assert {ids.dtype, mask.dtype, types.dtype} == {np.dtype(np.int64)}


@given(st.text(ALPHABET, max_size=40))
def test_any_text_has_the_wordpieces_that_the_algorithm_gives_it(text):
    ids, _, _ = run(text)
    assert ids.tolist() == [wordpiece_again(text, 12)]


@given(st.text("abcdef  \n", max_size=60))
def test_any_text_has_the_byte_pairs_that_the_algorithm_gives_it(text):
    ids, mask, _ = run(text, file=bpe(), length=100)
    assert ids.tolist() == [bpe_again(text)]
    assert mask.shape == ids.shape


@settings(max_examples=30)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200), st.booleans())
def test_no_text_makes_a_row_longer_or_a_padded_one_shorter(text, padded):
    ids, mask, types = run(text, padded=padded)
    assert ids.shape == mask.shape == types.shape
    assert ids.shape == (1, 12) if padded else ids.shape[1] <= 12
    assert mask.sum() == (ids != 0).sum()


def test_a_padded_row_is_full_and_its_mask_tells_where():
    ids, mask, types = run("the film", padded=True, dtype="int32")
    assert ids.tolist() == [[2, 7, 8, 3, 0, 0, 0, 0, 0, 0, 0, 0]]
    assert mask.tolist() == [[1] * 4 + [0] * 8]
    assert types.tolist() == [[0] * 12]
    assert ids.dtype == np.int32


def test_truncation_keeps_the_special_tokens_at_both_ends():
    ids, _, _ = run("the " * 50, length=5)
    assert ids.tolist() == [[2, 7, 7, 7, 3]]


def test_two_texts_are_told_apart_by_their_types_and_the_longer_is_cut():
    ids, _, types = run("the film", "a b", pair="other")
    assert ids.tolist() == [[2, 7, 8, 3, 13, 15, 3]]
    assert types.tolist() == [[0, 0, 0, 0, 1, 1, 1]]
    ids, _, _ = run("the " * 50, "a b", pair="other", length=7)
    assert ids.tolist() == [[2, 7, 7, 3, 13, 15, 3]]


def test_what_the_file_says_of_padding_holds_and_of_truncation_does_not():
    own = {"direction": "Left", "pad_id": 1, "pad_type_id": 1, "pad_token": "[UNK]"}
    padding = {**own, "strategy": {"Fixed": 3}, "pad_to_multiple_of": None}
    truncation = {"direction": "Left", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    file = bert(padding=padding, truncation=truncation)
    assert run("the film", file=file)[0].tolist() == [[2, 7, 8, 3]]
    ids, mask, types = run("the film", file=file, padded=True, length=6)
    assert (ids.tolist(), mask.tolist()) == ([[1, 1, 2, 7, 8, 3]], [[0, 0, 1, 1, 1, 1]])
    assert types.tolist() == [[1, 1, 0, 0, 0, 0]]
    assert run("the", file=file, padded=True, length=4, pad=9)[0].tolist() == [[9, 2, 7, 3]]


def test_only_so_many_characters_are_looked_at():
    assert run("film the", max_characters=4)[0].tolist() == [[2, 8, 3]]


def test_only_what_is_asked_for_is_left():
    state = {"text": "the"}
    compiled(mask=None, types=None)(state)
    assert set(state) == {"text", "ids"}


def test_many_threads_share_one_tokenizer():
    step = compiled()
    texts = [f"{'the ' * (n % 7)}film{'s' * (n % 2)}" for n in range(400)]

    def one(text):
        state = {"text": text}
        step(state)
        return state["ids"].tolist()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, texts)) == [[wordpiece_again(text, 12)] for text in texts]


@pytest.mark.parametrize(
    "file",
    [
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b"{}",
        b"[" * 100_000,
        b'{"model": {"type": "Nonsense"}}',
        bert(model={"type": "WordPiece", "vocab": {"a": -1}}),
        bert(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
        bert(post_processor=template(special_tokens={})),  # the library panics when it is used
        bytes(64 * 1024 * 1024 + 1),
    ],
    ids=range(11),
)
def test_a_file_that_is_no_tokenizer_is_refused(file):
    with pytest.raises(PackageError) as caught:
        compiled(file)
    assert caught.value.file == "tokenizer.json"


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"dtype": "float32"}, "int64, int32"),
        ({"length": 2}, "more than the 2 special tokens"),
        ({"length": 3, "pair": "other"}, "more than the 3 special tokens"),
        ({"max_characters": 0}, "1 or more"),
        ({"padded": True, "shape": (1, 9)}, r"takes \[1, 9\], not \[1, 12\]"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(parameters, words):
    with pytest.raises(ManifestError, match=words):
        compiled(**parameters)


@pytest.mark.parametrize(
    "changes",
    [
        # it goes back and forth until the library's limit, which ends in a panic
        {"pre_tokenizer": {**SPLIT, "pattern": {"Regex": "(a+)+$"}}},
        {"model": {"type": "Unigram", "unk_id": None, "vocab": [["a", 0.0]]}},
    ],
    ids=["panic", "exception"],
)
def test_a_text_on_which_the_library_fails_fails_its_own_call_alone(changes, capfd):
    step = compiled(bert(**changes))
    state = {"text": "a" * 40 + "!"}
    with pytest.raises(EngineError, match=r"tokenizer\.json fails on this text: ."):
        step(state)
    step({"text": "a"})
    capfd.readouterr()  # a panic is also told on standard error


def test_without_the_library_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(MissingExtraError, match=r"wherever\[text\]"):
        compiled()


def test_the_library_is_loaded_by_the_step_alone():
    modules = "sys, wherever, wherever_edge.pipelines.tokens"
    code = f"import {modules}; sys.exit('tokenizers' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
