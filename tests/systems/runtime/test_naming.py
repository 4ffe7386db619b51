"""A hint asks a router for its largest logits only, where that tells whom it chooses."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from systems.modeling.routers import Router
from systems.runtime.naming import naming


class Counting(nn.Module):
    """A softmax router that counts how often it is run."""

    def __init__(self, bias: Tensor | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 6, generator=torch.Generator().manual_seed(1)))
        self.bias, self.runs = bias, 0

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        self.runs += 1
        scores = nn.functional.linear(hidden, self.weight).softmax(-1)
        chosen = scores if self.bias is None else scores + self.bias
        return scores, scores, chosen.topk(2).indices


def asked(module: nn.Module) -> Router:
    return Router(module, dims=2, others=(), place=2, experts=8, top_k=2)


@pytest.mark.parametrize("biased", [False, True])
@torch.inference_mode()
def test_naming_gives_what_the_router_chooses(biased: bool) -> None:
    router: Any = Counting(torch.tensor([9.0, *[0.0] * 7]) if biased else None)
    name = naming(asked(router))
    tried = router.runs
    for hidden in torch.randn(20, 1, 6, generator=torch.Generator().manual_seed(2)):
        assert name(hidden) == router(hidden)[2][0].tolist()
    runs = router.runs - tried - 20
    assert runs == (20 if biased else 0), "one that chooses otherwise is run as it is"
