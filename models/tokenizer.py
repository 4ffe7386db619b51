"""The pair's tokenizer: byte-level byte-pair encoding, trained on the corpus."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

END = "<|endoftext|>"

# A newline stands alone: prompts end in one, and were it merged with the indentation behind it, as in training text,
# the token that ends a prompt would be one that the model never saw there. One leading space belongs to a word.
# Everything else (words, single digits, punctuation, indentation) is split so that merges stay inside a kind.
PIECES = r"\r?\n| ?[^\W\d]+| ?\d| ?[^\s\w]+|[ ]+|[^\S\n]+"


def train(texts: Iterable[str], vocab: int) -> PreTrainedTokenizerFast:
    """Train a tokenizer of exactly `vocab` entries, `END` among them (end of text and padding)."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(texts, trainer)
    return wrap(inner)


def wrap(inner: Tokenizer) -> PreTrainedTokenizerFast:
    """The transformers tokenizer around a `tokenizers` one. Text is never cleaned up: decoding is exact."""
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token=END, pad_token=END, clean_up_tokenization_spaces=False
    )


def load(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer that `train` made and `save_pretrained` wrote into `folder`."""
    return wrap(Tokenizer.from_file(str(folder / "tokenizer.json")))
