"""What the three trainings minimise: next tokens, routing that is balanced and local, and the target's distribution."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from models.transformer import Trace


@dataclass(frozen=True)
class RoutingWeights:
    """Weights of the auxiliary losses on the target's routers, per layer.

    `reuse_goal` is the temporal reuse (share of a token's experts that the previous token used) up to which locality
    is asked for. Beyond it the locality loss is off: routing that never changes would make every cache look good.
    """

    balance: float = 0.01
    z: float = 1e-4
    locality: float = 0.02
    reuse_goal: float = 0.40


def next_token_loss(hidden: Tensor, targets: Tensor, weights: Tensor, embedding: Tensor) -> Tensor:
    """Weighted mean cross-entropy in nats; `hidden` `[batch, seq, hidden]`, `targets` and `weights` `[batch, seq]`."""
    logits = F.linear(hidden, embedding).flatten(0, 1).float()
    losses = F.cross_entropy(logits, targets.flatten(), reduction="none")
    return (losses * weights.flatten()).sum() / weights.sum()


def routing_loss(traces: list[Trace], weights: RoutingWeights) -> tuple[Tensor, float, float]:
    """Auxiliary loss, temporal reuse, and the load share of the busiest expert (1 / experts when balanced).

    Balance is Switch's `experts * sum_e load_e * probability_e` over the whole batch, so that a sequence may use few
    experts. Locality is the probability that a token gives to the experts which the previous token chose.
    """
    total = torch.zeros((), device=traces[0].features.device)
    reuses: list[float] = []
    busiest: list[float] = []
    for trace in traces:
        assert trace.logits is not None
        assert trace.chosen is not None
        experts, top_k = trace.logits.shape[-1], trace.chosen.shape[-1]
        probabilities = trace.logits.softmax(-1)
        used = F.one_hot(trace.chosen, experts).sum(-2).float()
        load = used.mean((0, 1)) / top_k
        total = total + weights.balance * experts * (load * probabilities.mean((0, 1))).sum()
        total = total + weights.z * trace.logits.logsumexp(-1).square().mean()
        reuse = float((used[:, 1:] * used[:, :-1]).sum(-1).mean()) / top_k
        if reuse < weights.reuse_goal:
            total = total - weights.locality * (used[:, :-1] * probabilities[:, 1:]).sum(-1).mean()
        reuses.append(reuse)
        busiest.append(float(load.max()))
    return total, sum(reuses) / len(reuses), max(busiest)


def distillation_loss(hidden: Tensor, weights: Tensor, embedding: Tensor, target_logits: Tensor) -> Tensor:
    """Weighted mean Kullback-Leibler divergence of the draft from the target's next-token distribution, in nats."""
    draft = F.linear(hidden, embedding).flatten(0, 1).float().log_softmax(-1)
    target = target_logits.flatten(0, 1).float().log_softmax(-1)
    divergences = F.kl_div(draft, target, log_target=True, reduction="none").sum(-1)
    return (divergences * weights.flatten()).sum() / weights.sum()


def router_agreement_loss(features: list[Tensor], traces: list[Trace], router: Tensor) -> Tensor:
    """Cross-entropy of the target's routing as its gates would decide it on the draft's `features`, mean over layers.

    This keeps the draft's feed-forward inputs readable by the target's gates, which is what SP-MoE predicts from.
    """
    total = torch.zeros((), device=router.device)
    for mine, trace, gate in zip(features, traces, router, strict=True):
        assert trace.logits is not None
        predicted = F.linear(mine, gate).float().log_softmax(-1)
        total = total - (trace.logits.softmax(-1) * predicted).sum(-1).mean()
    return total / len(traces)
