"""Muon for the matrices that dominate the dense model, Adam for embeddings, norms, routers and experts.

Muon (Jordan et al. 2024) replaces a matrix's momentum by its nearest semi-orthogonal matrix. It needs clearly fewer
tokens than Adam on small decoders, which is what counts here: tokens are the budget. Experts take Adam instead: their
orthogonalisation alone would cost as much as the step.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.transformer import Decoder

NEWTON_SCHULZ = ((4.0848, -6.8946, 2.9270), (3.9505, -6.3029, 2.6377), (3.7418, -5.5913, 2.3037),
                 (2.8769, -3.1427, 1.2046), (2.8366, -3.0525, 1.2012))  # fmt: skip
MUON_MATRICES = ("query_key_value", "output", "gate_up", "down")
MOMENTUM = 0.95


def orthogonalised(matrices: Tensor) -> Tensor:
    """Nearest semi-orthogonal matrices to `matrices` `[..., rows, columns]`, by five Newton-Schulz steps."""
    x = matrices.flatten(0, -3)
    tall = x.shape[-2] > x.shape[-1]
    x = x.transpose(-2, -1) if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) * 1.01 + 1e-7)
    for a, b, c in NEWTON_SCHULZ:
        gram = x @ x.transpose(-2, -1)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.transpose(-2, -1) if tall else x).reshape(matrices.shape)


class Optimizer:
    """Both optimizers behind one schedule: `step(scale)` multiplies every learning rate by `scale`."""

    def __init__(self, model: Decoder, muon_rate: float, adam_rate: float) -> None:
        dense = model.arch.experts == 0
        named = dict(model.named_parameters())
        matrices = [n for n in MUON_MATRICES if dense or n not in ("gate_up", "down")]
        self.matrices: list[nn.Parameter] = [named[name] for name in matrices]
        self.momenta = [torch.zeros_like(matrix) for matrix in self.matrices]
        self.muon_rate, self.adam_rate = muon_rate, adam_rate
        rest = [p for name, p in named.items() if name not in matrices and p.numel()]
        self.adam = torch.optim.AdamW(rest, lr=adam_rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True)

    @torch.no_grad()
    def step(self, scale: float) -> None:
        """Apply the gradients and drop them."""
        self.adam.param_groups[0]["lr"] = self.adam_rate * scale
        self.adam.step()
        self.adam.zero_grad()
        for matrix, momentum in zip(self.matrices, self.momenta, strict=True):
            assert matrix.grad is not None
            momentum.lerp_(matrix.grad, 1 - MOMENTUM)
            update = orthogonalised(matrix.grad.lerp(momentum, MOMENTUM))
            growth = max(1.0, matrix.shape[-2] / matrix.shape[-1]) ** 0.5
            matrix.add_(update, alpha=-self.muon_rate * scale * growth)
            matrix.grad = None

    def state(self) -> dict[str, object]:
        """Everything a resumed run needs."""
        return {"adam": self.adam.state_dict(), "momenta": self.momenta}

    def load(self, state: dict[str, object]) -> None:
        """Continue from `state()` of an optimizer over the same model."""
        self.adam.load_state_dict(state["adam"])  # type: ignore[arg-type]
        for mine, saved in zip(self.momenta, state["momenta"], strict=True):  # type: ignore[call-overload]
            mine.copy_(saved)
