"""Micro-benchmarks of a pair on this machine: what the simulated iteration is made of."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from systems.compose.resident import resident_experts
from systems.contract.iterations import padded
from systems.contract.pair import ModelPair
from systems.methods.spec_moe_off.split_decoder import SplitDecoder
from systems.modeling.decoder import Decoder
from systems.modeling.experts import Mixer
from systems.runtime.continuation import continued
from systems.runtime.pair import Pair, loaded
from systems.tuning.iteration import Operators
from systems.tuning.lines import fit
from systems.tuning.texts import READ, Text, cut
from systems.tuning.tuner import Roofline
from systems.tuning.watches import ROUNDS, Stopwatch, Tap, median_time

_BANDWIDTH_BYTES = 2**28


@torch.inference_mode()
def measure_operators(
    model: ModelPair,
    prompts: Sequence[Sequence[int]],
    rows: Sequence[int],
    widths: Sequence[int],
    split: int,
    transfer: float,
) -> Operators:
    """Time attention, experts and the rest of a layer, and drafting, behind real prompts; fit a line to each.

    Args:
        rows: sizes of a batch, each at most the number of prompts.
        widths: positions per row that a verification computes.
        split: parts of the draft's batch.
        transfer: time of one expert over the link (s).

    Raises:
        BadInput: times that no line fits; see `systems.tuning.lines.fit`.
    """
    pair = loaded(model)
    with resident_experts(pair) as mixer:
        # Behind prompts that end alike, as those of one dataset do, all rows would choose the same few experts.
        longer = continued(pair, mixer, prompts, READ + max(widths))
        texts = [Text(tuple(row), len(prompt)) for row, prompt in zip(longer, prompts, strict=True)]
        found = [point for count in rows for point in _forwards(pair, mixer, texts[:count], widths)]
    first, later = (
        [_draft(pair, texts[:count], split, width, share) for count in rows for share in (1, 2)] for width in (2, 1)
    )
    return Operators(
        attention=fit("attention", [(point["reads"], point["attention"]) for point in found]),
        experts=fit("experts", [(point["tokens"], point["experts"]) for point in found]),
        dense=fit("dense", [(point["tokens"], point["dense"]) for point in found]),
        draft=fit("drafting", later),
        catch_up=fit("catching up", first),
        transfer=transfer,
        needed={int(point["tokens"]): point["needed"] for point in found[-len(widths) :]},
        layers=pair.decoder_layers,
    )


def roofline(
    pair: ModelPair, row_positions: int, host_memory: float, link_bandwidth: float, slots: int, processors: int
) -> Roofline:
    """Return what decides a large batch's settings before anything is simulated; times this machine's memory."""
    target = loaded(pair)
    row_bytes = row_positions * (target.position_bytes + (target.draft_position_bytes if pair.draft_bytes else 0))
    return Roofline(
        host_memory, row_bytes, host_bandwidth(), link_bandwidth, pair.num_experts, pair.top_k, slots, pair.num_layers,
        processors,
    )  # fmt: skip


def host_bandwidth() -> float:
    """Bytes per second at which this machine's processor reads its memory, one thread."""
    memory = torch.ones(_BANDWIDTH_BYTES // 4)
    return _BANDWIDTH_BYTES / median_time(lambda _: torch.sum(memory))


def _forwards(pair: Pair, mixer: Mixer, texts: Sequence[Text], widths: Sequence[int]) -> list[dict[str, float]]:
    """Verify `width` positions of each text: per layer medians in seconds, of experts the mean."""
    pair.port.mixer = tap = Tap(mixer)
    decoder = Stopwatch(pair.target, len(texts), max(len(text.tokens) for text in texts))
    for row, text in enumerate(texts):
        decoder.prefill(row, text.tokens)
    points, layers = [], pair.decoder_layers
    for width in widths:
        samples = [_timed(decoder, tap, *cut(texts, width, turn)) for turn in range(ROUNDS + 1)][1:]
        attention, experts, total, needed, reads = zip(*samples, strict=True)
        apart = [statistics.median(column) / layers for column in (attention, experts, total)]
        points.append(
            {
                "tokens": float(len(texts) * width),
                "reads": statistics.mean(reads),
                "attention": apart[0],
                "experts": apart[1],
                "dense": apart[2] - apart[1] - apart[0],
                "needed": statistics.mean(needed) / pair.num_layers,
            }
        )
    return points


def _timed(decoder: Stopwatch, tap: Tap, tokens: Tensor, starts: Sequence[int]) -> tuple[float, ...]:
    decoder.attention = tap.seconds = 0.0
    tap.experts = 0
    start = time.perf_counter()
    decoder.forward(tokens, starts)
    seconds = time.perf_counter() - start
    return decoder.attention, tap.seconds, seconds, float(tap.experts), float(tokens.shape[1] * sum(starts))


def _draft(pair: Pair, texts: Sequence[Text], split: int, width: int, share: int) -> tuple[float, float]:
    """Positions that a draft's forward of `width` tokens per row reads, behind 1 / `share` of each prompt, and its
    median time (s)."""
    make = partial(SplitDecoder, parts=split) if split > 1 else Decoder
    decoder = make(pair.draft, len(texts), max(len(text.tokens) for text in texts))
    for row, text in enumerate(texts):
        decoder.prefill(row, text.tokens)
    turns = [cut(texts, width, turn) for turn in range(ROUNDS + 1)]
    places = [(tokens, [start // share for start in starts]) for tokens, starts in turns]
    positions = statistics.mean(padded(starts, split) for _, starts in places)
    return positions, median_time(lambda turn: decoder.forward(*places[turn]))
