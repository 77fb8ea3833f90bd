"""The tokenizer of TensorFlow Lite's text models, against one written a second time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_contracts.errors import ManifestError, PackageError
from wherever_contracts.manifest import StepEntry, Variant
from wherever_edge.pipelines.pipeline import StepContext, compile_steps
from wherever_edge.pipelines.words import read_vocabulary

VOCABULARY = b"<PAD> 0\n<START> 1\n<UNKNOWN> 2\nthe 3\nfilm 4\nisn't 5\na_b 6\nk 7\n42 8\nFilm 9\n"
IDS = {
    word: int(number) for word, number in (x.split() for x in VOCABULARY.decode().split("\n")[:-1])
}
LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDLIKE = set(LETTERS + LETTERS.upper() + "0123456789_'")
# words that are known, pieces of them, and everything that may stand between
TEXTS = st.lists(
    st.one_of(
        st.sampled_from(sorted(IDS)), st.text(max_size=5), st.sampled_from(" \n\t\0.,;-—'\u212a😀é")
    )
).map("".join)


def compiled(files=None, shape=(1, 8), **parameters):
    files = {"vocab.txt": VOCABULARY, **(files or {})}
    variant = Variant.model_validate(
        {
            "id": "v",
            "format": "tflite",
            "precision": "float32",
            "files": [{"path": "m.tflite", "sha256": "0" * 64, "bytes": 0}],
            "tensors": {
                "inputs": [{"name": "ids", "dtype": "int32", "shape": list(shape)}],
                "outputs": [{"name": "y", "dtype": "float32", "shape": [1, 2]}],
            },
        }
    )
    context = StepContext(None, variant, files.__getitem__)
    given_ = {"name": "text", "to": "ids", "vocabulary": "vocab.txt", "length": 8, **parameters}
    entry = StepEntry.model_validate({"op": "word_ids", **given_})
    (step,) = compile_steps([entry], context, "variants.v.pipeline.pre")
    return step


def run(text, **arguments):
    state = {"text": text}
    compiled(**arguments)(state)
    assert state["ids"].dtype == np.int32
    return state["ids"]


def written_again(text, length):
    """Letter by letter, with the special words' numbers written out."""
    words, word = [], ""
    for letter in [*text, " "]:
        if letter in WORDLIKE:
            word += letter
        elif word:
            words.append(word)
            word = ""
    lowered = [
        "".join(LETTERS[LETTERS.upper().find(c)] if c in LETTERS.upper() else c for c in w)
        for w in words
    ]
    return ([1] + [IDS.get(word, 2) for word in lowered] + [0] * length)[:length]


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("", [1, 0, 0, 0, 0, 0, 0, 0]),
        (" ...!? \n", [1, 0, 0, 0, 0, 0, 0, 0]),
        ("The film", [1, 3, 4, 0, 0, 0, 0, 0]),
        ("the FILM, it isn't: a_b 42", [1, 3, 4, 2, 5, 6, 8, 0]),
        ("the the the the the the the the film", [1, 3, 3, 3, 3, 3, 3, 3]),
        ("th\0e film", [1, 2, 2, 4, 0, 0, 0, 0]),
        ("😀the😀", [1, 3, 0, 0, 0, 0, 0, 0]),
        ("thé", [1, 2, 0, 0, 0, 0, 0, 0]),
        ("\u212a", [1, 0, 0, 0, 0, 0, 0, 0]),  # the Kelvin sign, of which lower() makes a k
        ("<START> <PAD>", [1, 2, 2, 0, 0, 0, 0, 0]),
    ],
)
def test_words_become_their_numbers(text, ids):
    assert run(text).tolist() == [ids]


@given(TEXTS)
def test_any_text_has_the_numbers_that_the_rule_gives_it(text):
    assert run(text).tolist() == [written_again(text, 8)]


def test_calls_do_not_write_into_each_other():
    step, first, second = compiled(), {"text": "the film the film"}, {"text": "k"}
    step(first)
    step(second)
    assert first["ids"].tolist() == [[1, 3, 4, 3, 4, 0, 0, 0]]
    assert second["ids"].tolist() == [[1, 7, 0, 0, 0, 0, 0, 0]]


def test_of_a_very_long_text_the_first_words_count():
    assert run("the film " * 100_000).tolist() == [[1, 3, 4, 3, 4, 3, 4, 3]]


def test_the_start_the_case_and_the_letters_of_words_can_be_chosen():
    assert run("the Film", start=None).tolist() == [[3, 4, 0, 0, 0, 0, 0, 0]]
    assert run("Film film", lower=False).tolist() == [[1, 9, 4, 0, 0, 0, 0, 0]]
    assert run("isn't a-b", keep="").tolist() == [[1, 2, 2, 2, 2, 0, 0, 0]]
    files = {"vocab.txt": VOCABULARY + b"a-b 10\n]^ 11\n"}
    assert run("a-b ]^ the", files=files, keep="-]^").tolist() == [[1, 10, 11, 3, 0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("vocabulary", "words"),
    [
        (b"", "a word, a space, a number"),
        (b"the\n", "a word, a space, a number"),
        (b"the -1\n", "line 1: expected a word, a space, a number"),
        (b"the 1\nfilm 99999999999\n", "line 2"),
        (b"the 4294967296", "line 1"),
        (b"the 1\nthe 2\n", "line 2: expected each word once"),
        (b"\xff 1\n", "UTF-8"),
        (b"the 1\n", "the word '<UNKNOWN>'"),
        (bytes(16 * 1024 * 1024 + 1), "at most 16777216 bytes"),
    ],
)
def test_a_file_that_is_no_vocabulary_is_refused_with_its_line(vocabulary, words):
    with pytest.raises(PackageError, match=words) as caught:
        compiled({"vocab.txt": vocabulary})
    assert caught.value.file == "vocab.txt"


def test_a_vocabulary_may_end_its_lines_in_both_ways_and_hold_odd_words():
    assert read_vocabulary("a 1\r\n\u2028 2\r\nb c 3".encode(), "v") == {
        "a": 1,
        "\u2028": 2,
        "b c": 3,
    }


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"length": 1}, "2 or more"),
        ({"length": 9}, r"takes \[1, 8\], not \[1, 9\]"),
        ({"more": 1}, "more"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(parameters, words):
    with pytest.raises(ManifestError, match=words):
        compiled(**parameters)
