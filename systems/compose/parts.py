"""The parts that systems are composed of, by name, each with its own options and nothing else; read from YAML."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from systems.cache.options import InLineOptions
from systems.compose.options.computing import AdaptiveGatingOptions, ChunkedAttentionOptions, ExpertBudgetOptions
from systems.compose.options.drafters import (
    CachedSelfOptions,
    CascadeOptions,
    ModelDrafterOptions,
    PromptLookupOptions,
    QuantisedSelfOptions,
    ResidentSelfOptions,
    RooflineOptions,
)
from systems.compose.options.prefetching import (
    ActivationMatrixOptions,
    CutoffPrefetchOptions,
    DraftAndGatesOptions,
    DraftAttentionOptions,
    IdleLinkOptions,
    InOrderOptions,
    LayerStreamOptions,
    LookaheadBufferOptions,
    MissedOptions,
    NextGateOptions,
    NextLayersOptions,
    NextNeedsOptions,
    PhasesOptions,
    PriorityOptions,
    RehearsalOptions,
    RowCountersPredictorOptions,
)
from systems.compose.options.residency import ActivationAwareOptions, AllResidentOptions, BeladyOptions, Int4Options
from systems.contract.config import SystemConfig
from systems.contract.errors import BadInput
from systems.contract.options import NoPart
from systems.methods.adapmoe.adaptive_layers import AdaptiveLayersOptions
from systems.methods.arbiter.arbitration import ArbitratedOptions
from systems.methods.arbiter.value import ValueOptions
from systems.methods.moe_infinity.visit_count import VisitCountOptions
from systems.methods.moe_spac.row_counters import RowCountersOptions
from systems.methods.moe_speq.lookahead import LookaheadOptions
from systems.methods.spec_moe.repinning import PinnedOptions
from systems.methods.spec_moe_off.streaming import StreamingOptions
from systems.peers.options import (
    AccelerateOffloadOptions,
    LlamaCppDraftOptions,
    LlamaCppOptions,
    PeerResidencyOptions,
    TransformersAssistedOptions,
    TransformersOptions,
)
from systems.policies.placement import CpuOptions
from systems.policies.residency import LruOptions, StaticHotOptions

PARTS: dict[str, dict[str, type[Any]]] = {
    "drafter": {
        "none": NoPart,
        "model": ModelDrafterOptions,
        "prompt_lookup": PromptLookupOptions,
        "quantised_self": QuantisedSelfOptions,
        "resident_self": ResidentSelfOptions,
        "cached_self": CachedSelfOptions,
    },
    "governor": {"none": NoPart, "roofline": RooflineOptions, "cascade": CascadeOptions},
    "predictor": {
        "none": NoPart,
        "draft_attention": DraftAttentionOptions,
        "draft_and_gates": DraftAndGatesOptions,
        "next_gate": NextGateOptions,
        "activation_matrix": ActivationMatrixOptions,
        "lookahead_buffer": LookaheadBufferOptions,
        "rehearsal": RehearsalOptions,
        "next_needs": NextNeedsOptions,
        "missed": MissedOptions,
        "row_counters": RowCountersPredictorOptions,
        "layer_stream": LayerStreamOptions,
    },
    "prefetch": {
        "none": NoPart,
        "cutoff": CutoffPrefetchOptions,
        "next_layers": NextLayersOptions,
        "priority": PriorityOptions,
        "phases": PhasesOptions,
        "in_order": InOrderOptions,
        "arbitrated": ArbitratedOptions,
        "idle_link": IdleLinkOptions,
    },
    "placement": {"none": NoPart, "cpu": CpuOptions},
    "transfer": {"beside": NoPart, "in_line": InLineOptions},
    "gating": {"none": NoPart, "adaptive": AdaptiveGatingOptions, "expert_budget": ExpertBudgetOptions},
    "attention": {"none": NoPart, "chunked": ChunkedAttentionOptions},
    "engine": {
        "composed": NoPart,
        "transformers": TransformersOptions,
        "transformers_assisted": TransformersAssistedOptions,
        "accelerate_offload": AccelerateOffloadOptions,
        "llama_cpp": LlamaCppOptions,
        "llama_cpp_draft": LlamaCppDraftOptions,
    },
    "residency": {
        "none": NoPart,
        "lru": LruOptions,
        "static_hot": StaticHotOptions,
        "value": ValueOptions,
        "adaptive_layers": AdaptiveLayersOptions,
        "activation_aware": ActivationAwareOptions,
        "visit_count": VisitCountOptions,
        "lookahead": LookaheadOptions,
        "belady": BeladyOptions,
        "streaming": StreamingOptions,
        "pinned": PinnedOptions,
        "row_counters": RowCountersOptions,
        "all": AllResidentOptions,
        "int4": Int4Options,
        "peer": PeerResidencyOptions,
    },
}


@dataclass(frozen=True, slots=True)
class Options:
    """The options of every group of one composed system."""

    drafter: Any
    governor: Any
    predictor: Any
    prefetch: Any
    residency: Any
    placement: Any
    transfer: Any
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
    if get_origin(hint) is dict:
        kinds = get_args(hint)
        return type(value) is dict and all(
            _fits(v, k) for item in value.items() for v, k in zip(item, kinds, strict=True)
        )
    return type(value) is hint or (hint is float and type(value) is int)
