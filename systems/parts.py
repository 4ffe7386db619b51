"""The parts that systems are composed of, by name, each with its own options and nothing else."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from systems.api import BadInput, SystemConfig
from systems.policies.lookahead import LookaheadOptions, Schedule
from systems.policies.placement import CpuOptions
from systems.policies.repinning import PinnedOptions
from systems.policies.residency import AdaptiveLayersOptions, LruOptions, StaticHotOptions
from systems.policies.streaming import StreamingOptions

INT4_GROUPS = (32, 64, 128, 256)
"""Weights to a scale that the INT4 kernel knows."""


@dataclass(frozen=True, slots=True)
class NoPart:
    """The part `none`."""


@dataclass(frozen=True, slots=True)
class ModelDrafterOptions:
    """`drafter.part: model`: the pair's draft model proposes `draft_length` tokens per step.

    It computes the rows of a batch in `split` parts at the same time, each in a thread of its own.
    """

    draft_length: int = 2
    split: int = 1

    def __post_init__(self) -> None:
        expected = "at least 1; drafter.part=none drafts nothing"
        _require(self.draft_length >= 1, "drafter.draft_length", self.draft_length, expected)
        _require(self.split >= 1, "drafter.split", self.split, "at least 1")


@dataclass(frozen=True, slots=True)
class QuantisedSelfOptions:
    """`drafter.part: quantised_self`: the target with INT4 experts, `group` weights to a scale, drafts for itself.

    With `governor` every step drafts as many tokens as MoE-SpeQ's roofline wants, at most `draft_length`, and where
    `latency` is given no more than what fits a cycle of so many seconds; without, always `draft_length`.
    """

    draft_length: int = 4
    group: int = 128
    governor: bool = True
    latency: float | None = None

    def __post_init__(self) -> None:
        expected = "at least 1; drafter.part=none drafts nothing"
        _require(self.draft_length >= 1, "drafter.draft_length", self.draft_length, expected)
        _require(self.group in INT4_GROUPS, "drafter.group", self.group, "32, 64, 128 or 256")
        _require(self.latency is None or self.latency > 0, "drafter.latency", self.latency, "positive (seconds)")


@dataclass(frozen=True, slots=True)
class ResidentSelfOptions:
    """`drafter.part: resident_self`: the target with its pinned experts only drafts for itself.

    `routing` chooses who stands in for an expert that is not pinned: the one with the nearest weights, or any.
    """

    draft_length: int = 4
    routing: Literal["affinity", "random"] = "affinity"

    def __post_init__(self) -> None:
        expected = "at least 1; drafter.part=none drafts nothing"
        _require(self.draft_length >= 1, "drafter.draft_length", self.draft_length, expected)


@dataclass(frozen=True, slots=True)
class PromptLookupOptions:
    """`drafter.part: prompt_lookup`: what followed the row's last n-gram before, n at most `longest`."""

    draft_length: int = 4
    longest: int = 3

    def __post_init__(self) -> None:
        expected = "at least 1; drafter.part=none drafts nothing"
        _require(self.draft_length >= 1, "drafter.draft_length", self.draft_length, expected)
        _require(self.longest >= 1, "drafter.longest", self.longest, "at least 1")


@dataclass(frozen=True, slots=True)
class PredictorOptions:
    """What every predictor can do: `shuffled` hands over as many hints at the same moments, for other experts."""

    shuffled: bool = False


@dataclass(frozen=True, slots=True)
class DraftAttentionOptions(PredictorOptions):
    """`predictor.part: draft_attention`: SP-MoE's predictor."""


@dataclass(frozen=True, slots=True)
class NextGateOptions(PredictorOptions):
    """`predictor.part: next_gate`: AdapMoE's predictor."""


@dataclass(frozen=True, slots=True)
class ActivationMatrixOptions(PredictorOptions):
    """`predictor.part: activation_matrix`: MoE-Infinity's predictor."""


@dataclass(frozen=True, slots=True)
class LookaheadBufferOptions(PredictorOptions):
    """`predictor.part: lookahead_buffer`: MoE-SpeQ's, the routing of the quantised draft."""


@dataclass(frozen=True, slots=True)
class LayerStreamOptions(PredictorOptions):
    """`predictor.part: layer_stream`: the next layers' experts, all of them as SpecMoEOff streams them, or with
    `recent` those that a layer needed in as many forwards before."""

    recent: int | None = None

    def __post_init__(self) -> None:
        _require(self.recent is None or self.recent >= 1, "predictor.recent", self.recent, "at least 1, or null")


@dataclass(frozen=True, slots=True)
class RehearsalOptions(PredictorOptions):
    """`predictor.part: rehearsal`: the oracle's; the same requests are run before, unmeasured."""


@dataclass(frozen=True, slots=True)
class NextNeedsOptions(PredictorOptions):
    """`predictor.part: next_needs`: the next layer's needs, known from a rehearsal: Pre-gated MoE made oracular."""


@dataclass(frozen=True, slots=True)
class PrefetchOptions:
    """How prefetches travel: `worker` lets transfers run beside the computation; without it prefetching waits for
    them. `batch_io` is the most records in one I/O call."""

    worker: bool = True
    batch_io: int = 4

    def __post_init__(self) -> None:
        _require(self.batch_io >= 1, "prefetch.batch_io", self.batch_io, "at least 1")


@dataclass(frozen=True, slots=True)
class CutoffPrefetchOptions(PrefetchOptions):
    """`prefetch.part: cutoff`: fetch what is predicted for the first `cutoff` MoE layers.

    `cutoff` counts layers: 0 is none, `auto` asks the latency model after warm-up.
    """

    cutoff: int | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        PrefetchOptions.__post_init__(self)
        valid = self.cutoff == "auto" or (isinstance(self.cutoff, int) and self.cutoff >= 0)
        _require(valid, "prefetch.cutoff", self.cutoff, "auto or a number of layers from 0")


@dataclass(frozen=True, slots=True)
class NextLayersOptions(PrefetchOptions):
    """`prefetch.part: next_layers`: fetch what is predicted for the layers ahead, `depth` of them at most."""

    depth: int = 2

    def __post_init__(self) -> None:
        PrefetchOptions.__post_init__(self)
        _require(self.depth >= 1, "prefetch.depth", self.depth, "at least 1")


@dataclass(frozen=True, slots=True)
class PriorityOptions(PrefetchOptions):
    """`prefetch.part: priority`: fetch by priority, planned anew after every layer; each plan names the `share` of
    all slots at most."""

    share: float = 0.5

    def __post_init__(self) -> None:
        PrefetchOptions.__post_init__(self)
        _require(0 < self.share <= 1, "prefetch.share", self.share, "in (0, 1]")


@dataclass(frozen=True, slots=True)
class PhasesOptions(PrefetchOptions):
    """`prefetch.part: phases`: MoE-SpeQ's scheduler; see `systems.policies.lookahead.ThreePhases`."""

    schedule: Schedule = "three_phase"


@dataclass(frozen=True, slots=True)
class InOrderOptions(PrefetchOptions):
    """`prefetch.part: in_order`: fetch what is needed next, as far ahead as there are slots."""


@dataclass(frozen=True, slots=True)
class AllResidentOptions:
    """`residency.part: all`: every expert has a slot, whatever the budget says: the upper bound."""


@dataclass(frozen=True, slots=True)
class Int4Options:
    """`residency.part: int4`: an INT4 copy of every expert, `group` weights to a scale, is all there is (lossy)."""

    group: int = 128

    def __post_init__(self) -> None:
        _require(self.group in INT4_GROUPS, "residency.group", self.group, "32, 64, 128 or 256")


@dataclass(frozen=True, slots=True)
class ActivationAwareOptions:
    """`residency.part: activation_aware`: MoE-Infinity's."""


@dataclass(frozen=True, slots=True)
class BeladyOptions:
    """`residency.part: belady`: the oracle's; needs predictor.part=rehearsal."""


@dataclass(frozen=True, slots=True)
class AdaptiveGatingOptions:
    """`gating.part: adaptive`: leave out experts with little weight (lossy); see `systems.runtime.gating`."""

    tolerance: float = 0.005

    def __post_init__(self) -> None:
        _require(self.tolerance > 0, "gating.tolerance", self.tolerance, "positive")


@dataclass(frozen=True, slots=True)
class ChunkedAttentionOptions:
    """`attention.part: chunked`: verification attends on the host, keys and values read once for all drafted tokens.

    The rows are cut into `micro_batches`, so that the attention of one runs beside the experts of another; each is a
    need of its own in the counts of experts.
    """

    micro_batches: int = 2

    def __post_init__(self) -> None:
        _require(self.micro_batches >= 1, "attention.micro_batches", self.micro_batches, "at least 1")


@dataclass(frozen=True, slots=True)
class ExpertBudgetOptions:
    """`gating.part: expert_budget`: verifications read at most `experts` per layer (lossy); see
    `systems.runtime.expert_budget`."""

    experts: int = 4

    def __post_init__(self) -> None:
        _require(self.experts >= 1, "gating.experts", self.experts, "at least 1")


@dataclass(frozen=True, slots=True)
class PeerResidencyOptions:
    """`residency.part: peer`: the engine itself decides what stays, within the budget; not for `composed`."""


@dataclass(frozen=True, slots=True)
class TransformersOptions:
    """`engine.part: transformers`: generation by transformers itself, all experts resident."""


@dataclass(frozen=True, slots=True)
class TransformersAssistedOptions:
    """`engine.part: transformers_assisted`: the same, the pair's draft assisting with `draft_length` tokens."""

    draft_length: int = 2

    def __post_init__(self) -> None:
        expected = "at least 1; engine.part=transformers drafts nothing"
        _require(self.draft_length >= 1, "engine.draft_length", self.draft_length, expected)


@dataclass(frozen=True, slots=True)
class AccelerateOffloadOptions:
    """`engine.part: accelerate_offload`: transformers' generation, experts offloaded by accelerate's hooks."""


PARTS: dict[str, dict[str, type[Any]]] = {
    "drafter": {
        "none": NoPart,
        "model": ModelDrafterOptions,
        "prompt_lookup": PromptLookupOptions,
        "quantised_self": QuantisedSelfOptions,
        "resident_self": ResidentSelfOptions,
    },
    "predictor": {
        "none": NoPart,
        "draft_attention": DraftAttentionOptions,
        "next_gate": NextGateOptions,
        "activation_matrix": ActivationMatrixOptions,
        "lookahead_buffer": LookaheadBufferOptions,
        "rehearsal": RehearsalOptions,
        "next_needs": NextNeedsOptions,
        "layer_stream": LayerStreamOptions,
    },
    "prefetch": {
        "none": NoPart,
        "cutoff": CutoffPrefetchOptions,
        "next_layers": NextLayersOptions,
        "priority": PriorityOptions,
        "phases": PhasesOptions,
        "in_order": InOrderOptions,
    },
    "placement": {"none": NoPart, "cpu": CpuOptions},
    "gating": {"none": NoPart, "adaptive": AdaptiveGatingOptions, "expert_budget": ExpertBudgetOptions},
    "attention": {"none": NoPart, "chunked": ChunkedAttentionOptions},
    "engine": {
        "composed": NoPart,
        "transformers": TransformersOptions,
        "transformers_assisted": TransformersAssistedOptions,
        "accelerate_offload": AccelerateOffloadOptions,
    },
    "residency": {
        "none": NoPart,
        "lru": LruOptions,
        "static_hot": StaticHotOptions,
        "adaptive_layers": AdaptiveLayersOptions,
        "activation_aware": ActivationAwareOptions,
        "lookahead": LookaheadOptions,
        "belady": BeladyOptions,
        "streaming": StreamingOptions,
        "pinned": PinnedOptions,
        "all": AllResidentOptions,
        "int4": Int4Options,
        "peer": PeerResidencyOptions,
    },
}


@dataclass(frozen=True, slots=True)
class Options:
    """The options of every group of one composed system."""

    drafter: Any
    predictor: Any
    prefetch: Any
    residency: Any
    placement: Any
    gating: Any
    attention: Any

    @classmethod
    def of(cls, config: SystemConfig) -> Options:
        """Read them from a system's YAML; see `part`."""
        return cls(**{field.name: part(field.name, getattr(config, field.name)) for field in fields(cls)})


def part(group: str, config: Mapping[str, Any]) -> Any:
    """Return the options object of a part named in a system's YAML.

    Raises:
        BadInput: an unknown part, option, or value of the wrong type; the nearest valid name is suggested.
    """
    options = dict(config)
    kind = _lookup(f"{group}.part", str(options.pop("part", "none")), PARTS[group])
    known = {field.name for field in fields(kind)}
    for name in options:
        if name not in known:
            raise BadInput(
                f"{group}.{name} is not an option of {group}.part={config.get('part')}{_nearest(name, known)}"
            )
    hints = get_type_hints(kind)
    for name, value in options.items():
        _check_type(f"{group}.{name}", value, hints[name])
    return kind(**options)


def _lookup(key: str, name: str, table: Mapping[str, type[Any]]) -> type[Any]:
    if name not in table:
        raise BadInput(f"{key}={name} is unknown{_nearest(name, set(table))}")
    return table[name]


def _nearest(name: str, known: set[str]) -> str:
    if not known:
        return "; it has no options"
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]}?" if close else ";"
    return f"{hint} There are: {', '.join(sorted(known))}"


def _check_type(key: str, value: Any, hint: Any) -> None:
    if not _fits(value, hint):
        alternatives = get_args(hint) or (hint,)
        raise BadInput(f"{key}={value!r} is not {' or '.join(getattr(a, '__name__', repr(a)) for a in alternatives)}")


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value from YAML has the type of an option: exactly, but an integer may stand for a float."""
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(value, option) for option in get_args(hint))
    return type(value) is hint or (hint is float and type(value) is int)


def _require(valid: bool, key: str, value: object, expected: str) -> None:
    if not valid:
        raise BadInput(f"{key}={value} must be {expected}")
