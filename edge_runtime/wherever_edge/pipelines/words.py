"""A step for models of words: the tokenizer that TensorFlow Lite's text models are trained with."""

from __future__ import annotations

import re
from itertools import islice

import numpy as np

from wherever_contracts.errors import PackageError
from wherever_contracts.tensors import shape_fits
from wherever_edge.pipelines.pipeline import State, Step, StepContext, StepFactory

_MAX_BYTES = 16 * 1024 * 1024
_MAX_ID = 2**31 - 1


def word_ids(
    context: StepContext,
    *,
    name: str,
    to: str,
    vocabulary: str,
    length: int,
    start: str | None = "<START>",
    unknown: str = "<UNKNOWN>",
    pad: str = "<PAD>",
    keep: str = "'",
    lower: bool = True,
) -> Step:
    r"""Turn text into the numbers of its words.

    It is the "regex tokenizer" of TensorFlow Lite's metadata, with its usual separator `[^\w\']+`.

    Formula:
        A word is a run, as long as possible, of the characters a-z, A-Z, 0-9, `_` and those of
        `keep`; every other character, each that is not ASCII among them, stands between words. The
        row begins with the number of `start`; then comes the number of each word, or of `unknown`
        where the vocabulary lacks it, until the row is full; the rest is the number of `pad`.
        Words are compared exactly, after A-Z became a-z with `lower`.

    Cost:
        About 6 us for a sentence of 20 words, 60 us for 256 words; what comes after the last word
        that fits costs nothing.

    Args:
        context: the variant, and the package's files.
        name: the input, a text.
        to: where to leave int32 [1, length].
        vocabulary: a file of the package, with a word, a space and the word's number in each line.
        length: of the row.
        start: the word that every row begins with; None for none.
        unknown: the word that stands for those that the vocabulary lacks.
        pad: the word that fills the row.
        keep: characters, beside letters, digits and `_`, that words are made of.
        lower: whether the vocabulary's words are in lower case.

    Raises:
        PackageError: the file is not listed, or is no vocabulary, or lacks one of the three words.
        ValueError: a parameter is not one of those.
    """
    if length < 2:
        raise ValueError(f"length must be 2 or more, not {length}")
    _check_shape(context, to, length)
    numbers = read_vocabulary(context.read(vocabulary), vocabulary)
    other, fill = (_special(numbers, word, vocabulary) for word in (unknown, pad))
    row = np.full((1, length), fill, np.int32)
    first = 0
    if start is not None:
        row[0, 0] = _special(numbers, start, vocabulary)
        first = 1
    find = re.compile(rf"[\w{re.escape(keep)}]+", re.ASCII).finditer
    number_of = numbers.get

    def step(state: State) -> None:
        words = [match[0] for match in islice(find(state[name]), length - first)]
        if lower:
            words = [word.lower() for word in words]
        ids = row.copy()
        ids[0, first : first + len(words)] = [number_of(word, other) for word in words]
        state[to] = ids

    return step


def read_vocabulary(data: bytes, file: str) -> dict[str, int]:
    """Word -> number, out of lines that hold both with a space between them.

    Args:
        data: the file's bytes, UTF-8.
        file: what to call it in errors.

    Raises:
        PackageError: it is too large, or a line is something else, or a word comes twice.
    """
    if len(data) > _MAX_BYTES:
        raise PackageError(file, "", f"at most {_MAX_BYTES} bytes", f"{len(data)}")
    try:
        lines = data.decode().replace("\r\n", "\n").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise PackageError(file, "", "text in UTF-8", f"{error}") from error
    numbers: dict[str, int] = {}
    for position, line in enumerate(lines, start=1):
        word, _, number = line.rpartition(" ")
        if not (word and re.fullmatch("[0-9]{1,10}", number) and int(number) <= _MAX_ID):
            raise PackageError(file, f"line {position}", "a word, a space, a number", repr(line))
        if numbers.setdefault(word, int(number)) != int(number):
            raise PackageError(file, f"line {position}", "each word once", f"{word!r} again")
    return numbers


def _special(numbers: dict[str, int], word: str, file: str) -> int:
    if word not in numbers:
        raise PackageError(file, "", f"the word {word!r}", f"{len(numbers)} other words")
    return numbers[word]


def _check_shape(context: StepContext, to: str, length: int) -> None:
    for entry in context.variant.tensors.inputs:
        if entry.name == to and not shape_fits(entry.shape, (1, length)):
            raise ValueError(f"the variant takes {list(entry.shape)}, not [1, {length}]")


STEPS: dict[str, StepFactory] = {"word_ids": word_ids}
