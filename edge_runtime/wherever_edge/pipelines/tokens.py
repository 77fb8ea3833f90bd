"""A step for models that bring a `tokenizer.json`: BERT's, GPT's, T5's and their kin."""

from __future__ import annotations

from typing import Any

import numpy as np

from wherever_contracts.errors import EngineError, PackageError, missing_extra
from wherever_contracts.tensors import shape_fits
from wherever_edge.pipelines.pipeline import State, Step, StepContext, StepFactory

_MAX_BYTES = 64 * 1024 * 1024
_DTYPES = ("int64", "int32")


def token_ids(
    context: StepContext,
    *,
    name: str,
    to: str,
    length: int,
    pair: str | None = None,
    mask: str | None = None,
    types: str | None = None,
    tokenizer: str = "tokenizer.json",
    padded: bool = False,
    pad: int | None = None,
    dtype: str = "int64",
    max_characters: int = 65536,
) -> Step:
    """Turn text into the numbers of its tokens by a `tokenizer.json`.

    Formula:
        What the library `tokenizers` makes of the first `max_characters` characters by the file:
        normalised, split, looked up, with the special tokens that its template adds. Of more than
        `length` tokens the last ones of the text are dropped (of a pair: of the longer text), the
        special tokens stay. `mask` is 1 for each token and 0 for padding; `types` is 0, and 1 for
        the second text and the special token after it, as the template says. What the file itself
        says of truncation is not heeded; of its padding, the side and the numbers are. A special
        token's name within the text counts as that token.

    Cost:
        About 35 us for a sentence of 20 words with a WordPiece vocabulary, and 1.5 us for each
        word more, whether or not its tokens are dropped then; 20 ms for 65536 characters.

    Args:
        context: the variant, and the package's files.
        name: the input, a text.
        to: where to leave the tokens' numbers, [1, n].
        length: the most tokens, the special ones among them.
        pair: a second input, for models that take two texts at once.
        mask: where to leave the attention mask, of the same shape.
        types: where to leave the token types, of the same shape.
        tokenizer: a file of the package.
        padded: whether every row is filled up to `length`; otherwise n is as long as need be.
        pad: the number that fills a row; by default what the file says, or 0.
        dtype: of all three: "int64" or "int32".
        max_characters: of each text; what comes after them is not looked at.

    Raises:
        PackageError: the file is not listed, or is no tokenizer that works.
        ValueError: a parameter is not one of those.
        MissingExtraError: the library `tokenizers` is not installed.
    """
    if dtype not in _DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(_DTYPES)}, not {dtype!r}")
    if max_characters < 1:
        raise ValueError(f"max_characters must be 1 or more, not {max_characters}")
    outputs = {"ids": to, "attention_mask": mask, "type_ids": types}
    wanted = [(attribute, output) for attribute, output in outputs.items() if output is not None]
    if padded:
        _check_shapes(context, [output for _, output in wanted], length)
    tool = read_tokenizer(context.read(tokenizer), tokenizer, pair=pair is not None)
    _prepare(tool, length, padded=padded, pad=pad, pair=pair is not None)
    encode = tool.encode  # safe to be called by many threads at once

    def step(state: State) -> None:
        second = None if pair is None else state[pair][:max_characters]
        try:
            encoding = encode(state[name][:max_characters], second)
        except BaseException as error:
            _raise_unless_failed(error)
            # what went wrong is told with the text by some of the library's errors
            raise EngineError(f"{tokenizer} fails on this text: {type(error).__name__}") from error
        for attribute, output in wanted:
            state[output] = np.array([getattr(encoding, attribute)], dtype)

    return step


def read_tokenizer(data: bytes, file: str, *, pair: bool = False) -> Any:
    """The `tokenizers.Tokenizer` that a `tokenizer.json` describes; nothing is fetched for it.

    Args:
        data: the file's bytes.
        file: what to call it in errors.
        pair: whether it is to take two texts at once.

    Raises:
        PackageError: it is too large, or the library cannot make anything of it, or with it.
        MissingExtraError: the library is not installed.
    """
    try:
        from tokenizers import Tokenizer  # noqa: PLC0415 (15 ms, and an extra)
    except ImportError as error:
        raise missing_extra("reading a tokenizer.json", "text") from error
    if len(data) > _MAX_BYTES:
        raise PackageError(file, "", f"at most {_MAX_BYTES} bytes", f"{len(data)}")
    try:
        tool: Any = Tokenizer.from_buffer(data)
        tool.encode("a", "a" if pair else None)
    except BaseException as error:
        _raise_unless_failed(error)
        raise PackageError(file, "", "a tokenizer in JSON", f"{error}") from error
    return tool


def _prepare(tool: Any, length: int, *, padded: bool, pad: int | None, pair: bool) -> None:
    """Set how the tokenizer truncates and fills rows."""
    special = tool.num_special_tokens_to_add(pair)
    if length <= special:
        raise ValueError(f"length must be more than the {special} special tokens, not {length}")
    tool.enable_truncation(length)
    said: dict[str, Any] = tool.padding or {}
    if not padded:
        tool.no_padding()
        return
    number = said.get("pad_id", 0) if pad is None else pad
    tool.enable_padding(
        direction=said.get("direction", "right"),
        pad_id=number,
        pad_type_id=said.get("pad_type_id", 0),
        pad_token=tool.id_to_token(number) or "",
        length=length,
    )


def _raise_unless_failed(error: BaseException) -> None:
    """Let nothing but a failure of the library be handled; its panics are no `Exception`s."""
    if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
        raise error


def _check_shapes(context: StepContext, names: list[str], length: int) -> None:
    for entry in context.variant.tensors.inputs:
        if entry.name in names and not shape_fits(entry.shape, (1, length)):
            raise ValueError(f"the variant takes {list(entry.shape)}, not [1, {length}]")


STEPS: dict[str, StepFactory] = {"token_ids": token_ids}
