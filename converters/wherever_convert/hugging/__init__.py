"""Folders as Hugging Face's tools write them: from settings to a signature and steps. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from wherever_convert.hugging.said import Said


class Promise(NamedTuple):
    """What a model promises, and the steps around its file, as plain data."""

    signature: dict[str, Any]
    pipeline: dict[str, Any]


@dataclass(frozen=True)
class Folder:
    """What a folder says of its model.

    Attributes:
        name: of the folder.
        files: the paths of all files in it, with forward slashes.
        config: of the model (config.json).
        tokenizer: settings of the tokenizer (tokenizer_config.json).
        images: how images are prepared (preprocessor_config.json).
        sentences: of a sentence embedder (sentence_bert_config.json).
        prompts: what sentence embedders put before texts (config_sentence_transformers.json).
        words: the tokenizer itself (tokenizer.json).
        pooling: how one vector is made of those of the tokens (1_Pooling/config.json).
        modules: the steps of a sentence embedder, by their types; empty when none are listed.
    """

    name: str
    files: frozenset[str]
    config: Said
    tokenizer: Said
    images: Said
    sentences: Said
    prompts: Said
    words: Said
    pooling: Said
    modules: tuple[str, ...] = ()
