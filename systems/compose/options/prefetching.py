"""Which experts are foretold, and which of those are fetched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from systems.contract.options import PrefetchOptions, require
from systems.methods.moe_infinity.traces import CAPACITY, DISTANCE, MATCHES
from systems.methods.moe_spac.row_counters import HIGHEST
from systems.methods.moe_speq.lookahead import Schedule


@dataclass(frozen=True, slots=True)
class PredictorOptions:
    """What every predictor can do: `shuffled` hands over as many hints at the same moments, for other experts."""

    shuffled: bool = False


@dataclass(frozen=True, slots=True)
class DraftAttentionOptions(PredictorOptions):
    """`predictor.part: draft_attention`: SP-MoE's predictor."""


@dataclass(frozen=True, slots=True)
class DraftAndGatesOptions(PredictorOptions):
    """`predictor.part: draft_and_gates`: two predictors together. With `draft` the draft's attention names experts
    while it drafts, and during every forward the gates of the next `ahead` layers do; 0: they do not."""

    draft: bool = True
    ahead: int = 2

    def __post_init__(self) -> None:
        require(self.ahead >= 0, "predictor.ahead", self.ahead, "at least 0")


@dataclass(frozen=True, slots=True)
class NextGateOptions(PredictorOptions):
    """`predictor.part: next_gate`: AdapMoE's predictor. It orders experts `when` that `pays` by what the warm-up has
    shown, or `always`, as the released code does."""

    when: Literal["pays", "always"] = "pays"


@dataclass(frozen=True, slots=True)
class ActivationMatrixOptions(PredictorOptions):
    """`predictor.part: activation_matrix`: MoE-Infinity's predictor.

    `traces` says where the activation matrices of earlier sequences are from: `model`, the file that the model's config
    names (`activations`; where it names none, the warm-up), or `warm_up` in any case. At most `capacity` of them are
    kept. The `matches` nearest ones predict together, those within `distance` (one less the mean cosine over layers).
    """

    traces: Literal["model", "warm_up"] = "model"
    capacity: int = CAPACITY
    matches: int = MATCHES
    distance: float = DISTANCE

    def __post_init__(self) -> None:
        require(self.capacity >= 1, "predictor.capacity", self.capacity, "at least 1")
        require(self.matches >= 1, "predictor.matches", self.matches, "at least 1")
        require(0 <= self.distance <= 1, "predictor.distance", self.distance, "from 0 to 1")


@dataclass(frozen=True, slots=True)
class LookaheadBufferOptions(PredictorOptions):
    """`predictor.part: lookahead_buffer`: MoE-SpeQ's, the routing of the quantised draft."""


@dataclass(frozen=True, slots=True)
class LayerStreamOptions(PredictorOptions):
    """`predictor.part: layer_stream`: the next layers' experts, all of them as SpecMoEOff streams them, or with
    `recent` those that a layer needed in as many forwards before."""

    recent: int | None = None

    def __post_init__(self) -> None:
        require(self.recent is None or self.recent >= 1, "predictor.recent", self.recent, "at least 1, or null")


@dataclass(frozen=True, slots=True)
class MissedOptions(PredictorOptions):
    """`predictor.part: missed`: what a layer has just missed and computed in slow memory will be needed again."""


@dataclass(frozen=True, slots=True)
class RowCountersPredictorOptions(PredictorOptions):
    """`predictor.part: row_counters`: MoE-SpAc's; experts whose counter has reached the `threshold` are wanted."""

    threshold: int = 1

    def __post_init__(self) -> None:
        require(1 <= self.threshold <= HIGHEST, "predictor.threshold", self.threshold, f"from 1 to {HIGHEST}")


@dataclass(frozen=True, slots=True)
class RehearsalOptions(PredictorOptions):
    """`predictor.part: rehearsal`: the oracle's; the same requests are run before, unmeasured."""


@dataclass(frozen=True, slots=True)
class NextNeedsOptions(PredictorOptions):
    """`predictor.part: next_needs`: the next layer's needs, known from a rehearsal: Pre-gated MoE made oracular."""


@dataclass(frozen=True, slots=True)
class CutoffPrefetchOptions(PrefetchOptions):
    """`prefetch.part: cutoff`: fetch what is predicted for the first `cutoff` MoE layers.

    `cutoff` counts layers: 0 is none, `auto` takes the one at which the warm-up, played over, is fastest.
    """

    cutoff: int | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        PrefetchOptions.__post_init__(self)
        valid = self.cutoff == "auto" or (isinstance(self.cutoff, int) and self.cutoff >= 0)
        require(valid, "prefetch.cutoff", self.cutoff, "auto or a number of layers from 0")


@dataclass(frozen=True, slots=True)
class NextLayersOptions(PrefetchOptions):
    """`prefetch.part: next_layers`: fetch what is predicted for the layers ahead, `depth` of them at most."""

    depth: int = 2

    def __post_init__(self) -> None:
        PrefetchOptions.__post_init__(self)
        require(self.depth >= 1, "prefetch.depth", self.depth, "at least 1")


@dataclass(frozen=True, slots=True)
class IdleLinkOptions(PrefetchOptions):
    """`prefetch.part: idle_link`: fetch `most` experts per layer and forward, and none while the link is busy."""

    most: int = 2

    def __post_init__(self) -> None:
        PrefetchOptions.__post_init__(self)
        require(self.most >= 1, "prefetch.most", self.most, "at least 1")


@dataclass(frozen=True, slots=True)
class PriorityOptions(PrefetchOptions):
    """`prefetch.part: priority`: fetch by the predictor's priority. For `activation_matrix` it is planned anew after
    every layer, what an idle link has time for and what is worth it (`IdleLink`); for
    `row_counters` between two forwards, all that its counters want."""


@dataclass(frozen=True, slots=True)
class PhasesOptions(PrefetchOptions):
    """`prefetch.part: phases`: MoE-SpeQ's scheduler; see `systems.methods.moe_speq.lookahead.Phases`."""

    schedule: Schedule = "three_phase"


@dataclass(frozen=True, slots=True)
class InOrderOptions(PrefetchOptions):
    """`prefetch.part: in_order`: fetch what is needed next, as far ahead as there are slots."""
