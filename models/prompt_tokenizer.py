"""Tokenizers of prompts, which know where in the text each token stands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import Encoding, Tokenizer

from fastdiff.models.json_file import read_object

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

FILE, SETTINGS = "tokenizer.json", "tokenizer_config.json"
NEEDED = {"model_max_length", "pad_token", "unk_token"}  # of SETTINGS


@dataclass(frozen=True)
class PromptTokenizer:
    """A tokenizer of the library tokenizers, which pads and cuts every text to `length` tokens."""

    tokenizer: Tokenizer
    length: int
    unknown: int | None  # the id of letters that it does not know

    def encode(self, texts: Sequence[str]) -> list[Encoding]:
        """The encodings of texts; what was cut from one is in its `overflowing`."""
        return self.tokenizer.encode_batch(list(texts))


def is_plain(folder: Path) -> bool:
    """True if FILE and SETTINGS say all that `read_tokenizer` needs."""
    files = (folder / FILE, folder / SETTINGS)
    return all(file.is_file() for file in files) and read_object(files[1]).keys() >= NEEDED


def read_tokenizer(folder: Path, most: int | None = None) -> PromptTokenizer:
    """The tokenizer in FILE, by SETTINGS beside it, for at most `most` tokens."""
    settings, tokenizer = read_object(folder / SETTINGS), Tokenizer.from_file(str(folder / FILE))
    padding, unknown = (_text(settings, name) for name in ("pad_token", "unk_token"))
    return _limited(tokenizer, int(settings["model_max_length"]), most, padding, tokenizer.token_to_id(unknown))


def of_transformers(given: "PreTrainedTokenizerFast", most: int | None = None) -> PromptTokenizer:
    """The tokenizer inside one of transformers, for at most `most` tokens."""
    return _limited(given.backend_tokenizer, given.model_max_length, most, str(given.pad_token), given.unk_token_id)


def _limited(tokenizer: Tokenizer, own: int, most: int | None, padding: str, unknown: int | None) -> PromptTokenizer:
    length = own if most is None else min(own, most)
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(length=length, pad_id=tokenizer.token_to_id(padding), pad_token=padding)
    return PromptTokenizer(tokenizer, length, unknown)


def _text(settings: Mapping[str, Any], name: str) -> str:
    """A token, which some settings hold with how it is stripped."""
    token = settings[name]
    return str(token["content"] if isinstance(token, dict) else token)
