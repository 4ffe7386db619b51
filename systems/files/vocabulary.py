"""Whether draft and target speak the same tokens, and which ids both may use.

Models pad their embeddings, each to a size of its own, with rows that stand for no token. Where a pair's sizes differ,
neither model is asked for an id that the tokenizer does not have: the logits of both end where the tokenizer ends.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from systems.contract.errors import BadInput

TOKENIZER = "tokenizer.json"


def check_tokenizers(target: Path, draft: Path) -> None:
    """Refuse a draft whose folder has a tokenizer in which an id stands for another token than in the target's.

    What a tokenizer does to texts may differ, and so may the files: only ids pass between the models. A folder without
    a tokenizer is taken to speak the other's tokens.

    Raises:
        BadInput: an id that both have differs.
    """
    second = _tokens(draft)
    first = _tokens(target) if second else {}
    for token, number in first.items():
        if (other := second.get(token, number)) != number:
            raise BadInput(
                f"draft and target have different tokenizers: {token!r} is {number} in {target / TOKENIZER} and {other}"
                f" in {draft / TOKENIZER}; speculative decoding needs one vocabulary, choose another `model.draft`"
            )
    names = {number: token for token, number in first.items()}
    for token, number in second.items():
        if (other_name := names.get(number, token)) != token:
            raise BadInput(
                f"draft and target have different tokenizers: {number} is {other_name!r} in {target / TOKENIZER} and"
                f" {token!r} in {draft / TOKENIZER}; choose another `model.draft`"
            )


def shared_ids(target: Any, draft: Any, tokenizer: Tokenizer) -> int:
    """Return how many ids, from 0 on, the models of a pair may choose from.

    Args:
        target: the target's config, and `draft` the draft's.
        tokenizer: the one that texts are read with.

    Raises:
        BadInput: the tokenizer has ids that only the target can read.
    """
    sizes = [config.get_text_config().vocab_size for config in (target, draft)]
    if sizes[0] == sizes[1]:
        return int(sizes[0])
    known = min(1 + max(tokenizer.get_vocab().values()), sizes[0])
    if sizes[1] < known:
        raise BadInput(
            f"the draft knows {sizes[1]} tokens, the target {sizes[0]}, of which the tokenizer has {known}: more than"
            " padding differs, and speculative decoding needs one vocabulary; choose another `model.draft`"
        )
    return int(known)


def end_logits(model: Any, ids: int) -> None:
    """Let a causal language model give logits `(..., ids)` from now on, without those of higher ids."""
    if ids < model.config.get_text_config().vocab_size:
        model.get_output_embeddings().register_forward_hook(lambda module, inputs, logits: logits[..., :ids])


def _tokens(folder: Path) -> dict[str, int]:
    """Return ids by token, the added ones too; none where the folder has no tokenizer."""
    file = folder / TOKENIZER
    if not file.is_file():
        return {}
    try:
        known = Tokenizer.from_file(str(file)).get_vocab(with_added_tokens=True)
        return dict(sorted(known.items(), key=lambda item: item[1]))
    except Exception as error:  # the library raises nothing narrower
        raise BadInput(f"the tokenizer in {folder} cannot be read ({error}); restore it") from error
