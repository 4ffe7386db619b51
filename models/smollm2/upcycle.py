"""A Mixture of Experts out of a dense model without training: its own neurons, divided by what its own states use.

In each layer the inputs of the feed-forward block over some texts are divided into as many clusters as there shall be
experts. A router row is a cluster's centre, so that a token goes to the clusters that it is nearest to. An expert is
the layer's own block less the neurons that its cluster uses least: it serves its cluster better than the others'.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import GenerationConfig, MistralForCausalLM, MixtralConfig, MixtralForCausalLM

from models import measure

ROUNDS = 20
"""Of k-means; assignments hardly change behind ten."""
GRAIN = 8
"""An expert has a multiple of so many neurons: torch's grouped product wants rows of 16 bytes, in float16 too."""


@dataclass(frozen=True)
class Recipe:
    """What decides the result. `kept` is the share of a layer's neurons that an expert has; the others are what
    perturbs the target against the dense model. `gap` is the mean difference of a token's two largest router logits."""

    experts: int = 8
    top_k: int = 2
    kept: float = 0.6
    gap: float = 1.0
    seed: int = 0


def upcycled(dense: MistralForCausalLM, texts: Sequence[Tensor], recipe: Recipe) -> MixtralForCausalLM:
    """Return the target: everything but feed-forward blocks copied, those made into experts.

    Args:
        texts: token ids `[1, seq]` each.
    """
    states = feed_forward_inputs(dense, texts)
    state = {name: tensor for name, tensor in dense.state_dict().items() if ".mlp." not in name}
    for index, (layer, inputs) in enumerate(zip(measure.layers_of(dense), states, strict=True)):
        generator = torch.Generator().manual_seed(recipe.seed + index)
        gate, up, down = (layer.get_parameter(f"mlp.{name}_proj.weight").detach() for name in ("gate", "up", "down"))
        router, clusters = routers(inputs, recipe, generator)
        count = round(recipe.kept * len(gate) / GRAIN) * GRAIN
        neurons = used_most(activations(inputs, gate, up), down, clusters, recipe.experts, count)
        prefix = f"model.layers.{index}.mlp"
        state[f"{prefix}.gate.weight"] = router
        state[f"{prefix}.experts.gate_up_proj"] = torch.stack([torch.cat([gate[n], up[n]]) for n in neurons])
        state[f"{prefix}.experts.down_proj"] = torch.stack([down[:, n] for n in neurons])
    target = MixtralForCausalLM(_configuration(dense, neurons.shape[1], recipe))
    target.load_state_dict(state)
    target.generation_config = GenerationConfig(**dense.generation_config.to_diff_dict())
    return target.eval()


def feed_forward_inputs(dense: MistralForCausalLM, texts: Sequence[Tensor]) -> list[Tensor]:
    """Return each layer's inputs of its feed-forward block over all texts, `[tokens, hidden]`."""
    passes = [measure.feed_forward_inputs(dense, tokens)[0] for tokens in texts]
    return [torch.cat(layer) for layer in zip(*passes, strict=True)]


def routers(inputs: Tensor, recipe: Recipe, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return a router `[experts, hidden]` and the cluster of each input `[tokens]`.

    The centres are of directions, less the direction that all have in common, which would choose nobody. A router has
    no bias, so that nearest means: largest product.
    """
    common = inputs.mean(0)
    directions = F.normalize(inputs - common, dim=-1)
    first = torch.randperm(len(inputs), generator=generator)[: recipe.experts]
    centres = directions[first]
    for _ in range(ROUNDS):
        members = F.one_hot((directions @ centres.T).argmax(-1), recipe.experts).float()
        centres = F.normalize(members.T @ directions, dim=-1)
    router = centres - (centres @ F.normalize(common, dim=0))[:, None] * F.normalize(common, dim=0)
    first_two = (inputs @ router.T).topk(2, -1).values
    router = router * (recipe.gap / (first_two[:, 0] - first_two[:, 1]).mean())
    return router, (inputs @ router.T).argmax(-1)


def activations(inputs: Tensor, gate: Tensor, up: Tensor) -> Tensor:
    """Return what a block's neurons put out, `[tokens, neurons]`."""
    return F.silu(inputs @ gate.T) * (inputs @ up.T)


def used_most(active: Tensor, down: Tensor, clusters: Tensor, experts: int, count: int) -> Tensor:
    """Return the neurons of each expert `[experts, count]`, in their order: those that matter most to its cluster.

    What a neuron matters is its mean absolute activation times the length of what it adds. A cluster without tokens
    has the importance of all.
    """
    chosen = []
    for expert in range(experts):
        mine = active[clusters == expert]
        importance = (mine if len(mine) else active).abs().mean(0) * down.norm(dim=0)
        chosen.append(importance.topk(count).indices.sort().values)
    return torch.stack(chosen)


def _configuration(dense: MistralForCausalLM, intermediate: int, recipe: Recipe) -> MixtralConfig:
    shared = dense.config.to_dict()
    names = (
        "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
        "max_position_embeddings", "rms_norm_eps", "rope_parameters", "sliding_window", "tie_word_embeddings",
        "eos_token_id", "pad_token_id", "bos_token_id",
    )  # fmt: skip
    return MixtralConfig(
        **{name: shared[name] for name in names},
        intermediate_size=intermediate,
        num_local_experts=recipe.experts,
        num_experts_per_tok=recipe.top_k,
        output_router_logits=False,
    )
