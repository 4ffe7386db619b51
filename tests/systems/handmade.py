"""Traces written by hand, and what replaying them counts step by step."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from systems.api import Costs, HostCosts, LayerNeeds, LinkSpec, NullMeter, Request, SystemConfig, Traffic
from systems.replay.system import ReplayedSystem
from systems.replay.trace import NOTHING, Header, Record, Trace

RECORD = 1000
"""Bytes of an expert: on `LINK` a transfer takes three seconds."""
LINK = LinkSpec(bandwidth=RECORD / 3, latency=0.0, virtual=True)
COSTS = Costs({1: 2.0}, {1: 0.25}, transfer=3.0, call=0.0, host=HostCosts(0.5))
"""A layer takes a second, and its experts another; the host half a second for each of them."""
PROMPT = (1, 2)


def trace(routed: Sequence[Any], agreed: Sequence[int] = (), experts: int = 4, drafter: str = "model") -> Trace:
    """Of one request.

    Args:
        routed: per position, for the last token and each draft behind it, per layer the experts `[S][G + 1][L][k]`.
        agreed: how many drafts are right at each position.
    """
    paths = np.array(routed, np.int16)
    steps, width, layers, top_k = paths.shape
    tokens = np.arange(steps + width + 1, dtype=np.int32) + 10
    right = np.array(agreed or [0] * steps, np.int16)
    answers = np.stack([tokens[place + 1 : place + width + 1] for place in range(steps)])
    drafts = answers[:, : width - 1].copy()
    drafts[np.arange(width - 1) >= right[:, None]] = 0
    header = Header(
        drafter=drafter, draft_length=width - 1, layers=layers, experts=experts, top_k=top_k, decoder_layers=layers,
        draft_ordinals=list(range(layers)), depth=0, record_bytes=RECORD, draft_bytes=0, stop_tokens=[],
    )  # fmt: skip
    record = Record(
        prompt=np.array(PROMPT, np.int32),
        prompt_routed=np.repeat(paths[:1, 0], len(PROMPT), 0),
        first=int(tokens[0]),
        drafts=drafts,
        agreed=right,
        answers=answers,
        routed=paths,
        hinted=paths[:, : width - 1],
        confidences=np.zeros((steps, width - 1, layers, top_k), np.float32),
        ahead=np.full((*paths.shape[:3], 0, top_k), NOTHING, np.int16),
    )
    return Trace(header, {"hand": record})


class Steps(NullMeter):
    """Keeps what each decode step reports, and how many tokens it drafted and accepted."""

    def __init__(self, limit: int) -> None:
        super().__init__([limit])
        self.reports: list[Traffic] = []
        self.drafted: list[int] = []
        self.accepted: list[int] = []

    def traffic(self, traffic: Traffic) -> None:
        if traffic.phase == "decode":
            self.reports.append(traffic)

    def step(self, rows: Sequence[int], drafted: Sequence[int], accepted: Sequence[int]) -> None:
        self.drafted += drafted
        self.accepted += accepted

    def left(self, row: int) -> int:
        """A scenario is the middle of a longer request: none of its drafts is cut."""
        return 1000

    def of(self, name: str) -> list[int]:
        """A count of each step, of all layers where it is one of a layer."""
        steps = self.reports[: len(self.drafted)]
        if name in LayerNeeds.__dataclass_fields__ and name != "needed":
            return [sum(getattr(layer, name) for layer in step.layers) for step in steps]
        return [getattr(step, name) for step in steps]


def replay(
    config: SystemConfig,
    made: Trace,
    slots: int,
    link: LinkSpec = LINK,
    costs: Costs = COSTS,
    residents: Sequence[int] = (),
    warm: bool = False,
) -> tuple[Steps, ReplayedSystem]:
    """Replay the request, which finds these experts in the slots, after a warm-up with itself or without any; the
    system is returned for what it says of itself."""
    length = len(made.records["hand"].greedy)
    system = ReplayedSystem(config, made, slots * RECORD, link, costs)
    system.cache.install(residents)
    meter, request = Steps(length), Request("hand", PROMPT, length)
    if warm:
        system.calibrate([request])
    system.generate([request], meter)
    return meter, system
