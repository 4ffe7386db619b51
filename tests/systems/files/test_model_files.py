"""Completions read as they do behind their prompt, whatever the tokenizer drops or joins at the start of a text."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from systems.files.model_files import Tokenized

PROMPT, COMPLETION = "def add(a, b):\n", "    return a + b\n"
BYTES = [f"<0x{value:02X}>" for value in range(256)]


def sentence_pieces() -> Tokenizer:
    """As Llama's, Mixtral's and Phi's: spaces are letters, one is put in front, and decoding takes it away."""
    made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.pre_tokenizer = pre_tokenizers.Split("\n", "isolated")
    special = ["<unk>", "<s>", "</s>", *BYTES]
    made.train_from_iterator([PROMPT + COMPLETION], trainers.BpeTrainer(vocab_size=400, special_tokens=special))
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    made.decoder = decoders.Sequence(parts)
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return made


def metaspace() -> Tokenizer:
    """As T5's and XLNet's, where one part does all of that."""
    made = Tokenizer(models.BPE(unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    made.decoder = decoders.Metaspace(prepend_scheme="first")
    trainer = trainers.BpeTrainer(vocab_size=60, special_tokens=["<unk>"], max_token_length=4)
    made.train_from_iterator([PROMPT + COMPLETION], trainer)
    return made


def bytes_of_text() -> Tokenizer:
    """As GPT-2's, where nothing is lost."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    letters = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator([PROMPT], trainers.BpeTrainer(vocab_size=256, initial_alphabet=letters))
    return made


@pytest.mark.parametrize("make", [sentence_pieces, metaspace, bytes_of_text])
def test_a_completion_keeps_the_space_it_begins_with(make: Callable[[], Tokenizer]) -> None:
    text = Tokenized(make())
    prompt, whole = text.encode(PROMPT), text.encode(PROMPT + COMPLETION)
    assert whole[: len(prompt)] == prompt, "no token of this test spans the border"
    assert text.decode(whole[len(prompt) :], prompt) == COMPLETION
    assert text.decode([], prompt) == ""


@pytest.mark.parametrize("kind", ["PreTrainedTokenizerFast", "LlamaTokenizer"])
def test_so_it_does_as_transformers_loads_the_tokenizer(kind: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    sentence_pieces().save(str(tmp_path / "tokenizer.json"))
    words = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": kind, **words}))
    text = Tokenized(AutoTokenizer.from_pretrained(tmp_path, local_files_only=True).backend_tokenizer)
    prompt, whole = text.encode(PROMPT), text.encode(PROMPT + COMPLETION)
    assert text.decode(whole[len(prompt) :], prompt) == COMPLETION


def test_words_are_parted_as_they_are_in_the_whole_text() -> None:
    """WordPiece marks what continues a word, and decoding parts the others by a space, but for the first."""
    made = Tokenizer(models.WordPiece({"a": 0, "b": 1, "##c": 2}, unk_token="a"))
    made.decoder = decoders.WordPiece()
    text = Tokenized(made)
    assert (text.decode([1], [0]), text.decode([2, 1], [0])) == (" b", "c b")


def test_a_character_whose_bytes_lie_on_both_sides_is_whole() -> None:
    text = Tokenized(bytes_of_text())
    start, *rest = text.encode("é!")
    assert text.decode(rest, [*text.encode("x"), start]) == "é!"
    assert text.decode(rest).endswith("\ufffd!"), "alone it is broken"
