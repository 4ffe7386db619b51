"""All that the harness and the systems share.

A system turns requests into tokens and tells a `Meter` what happened; it never reads the clock, counts
tokens or trims them. The harness implements `Meter`, owns the clock and decides when a request is done, so
that our systems and other people's are measured by the same code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

if TYPE_CHECKING:
    from systems.tuning.iteration import Operators
    from systems.tuning.tuner import Roofline, Tuner

Phase = Literal["prefill", "decode"]
SpanName = Literal["prefill", "draft", "verify", "transfer", "host"]
"""Where time goes. Spans nest and are exclusive: a `transfer` wait inside `verify` counts as `transfer` only."""


class DidNotFit(Exception):
    """The system cannot run within the memory budget; the message says what would fit."""


class BadInput(Exception):
    """A file, field or value that the user can mend; the message names it and says how."""


class WorkerDied(RuntimeError):
    """A background thread of the runtime failed; the original exception is its cause."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen. `temperature` 0 is greedy; `top_k` 0 and `top_p` 1 switch truncation off."""

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt to continue. `prompt` holds token ids; `max_new_tokens` bounds the KV cache, not the count."""

    id: str
    prompt: tuple[int, ...]
    max_new_tokens: int
    sampling: Sampling = Sampling()


@dataclass(slots=True)
class LayerNeeds:
    """Unique experts one layer needed in one forward, classified when the expert kernel would start.

    `needed` is counted by the router and the others as each need is met, so that
    `needed = resident + on_time + late + demand + elsewhere` is a check and not a tautology.
    """

    needed: int = 0
    resident: int = 0
    on_time: int = 0
    late: int = 0
    demand: int = 0
    elsewhere: int = 0


@dataclass(slots=True)
class Traffic:
    """Expert needs and transfers since the previous report of the same phase.

    Bytes satisfy `moved = demand + useful + late + wasted` once a generation has ended: a prefetch counts as
    wasted when it is evicted unused, or unused at the end of the generation that issued it.
    `link_busy` is the time in seconds that the link spent moving them.
    """

    phase: Phase
    layers: list[LayerNeeds] = field(default_factory=list)
    moved_bytes: int = 0
    demand_bytes: int = 0
    useful_bytes: int = 0
    late_bytes: int = 0
    wasted_bytes: int = 0
    prefetched: int = 0
    cancelled: int = 0
    evictions: int = 0
    link_busy: float = 0.0


@dataclass(frozen=True, slots=True)
class Transfer:
    """One expert over the link, from `start` to `end` in seconds of the system's clock."""

    layer: int
    expert: int
    prefetch: bool
    start: float
    end: float


class Meter(Protocol):
    """What a system reports to. Rows are positions in the batch that was passed to `System.generate`."""

    def span(self, name: SpanName) -> AbstractContextManager[None]:
        """Attribute the time spent inside to `name`, less the time of spans nested in it."""

    def commit(self, row: int, tokens: Sequence[int]) -> bool:
        """Hand over tokens of a row as they are final; True when the row wants no more."""

    def step(self, rows: Sequence[int], drafted: Sequence[int], accepted: Sequence[int]) -> None:
        """Close one draft-verify cycle: per row of `rows`, tokens drafted and drafts accepted."""

    def traffic(self, traffic: Traffic) -> None:
        """Report expert needs and transfers since the last report."""


class NullMeter:
    """Measures nothing and stops each row after its own number of tokens: the no-op side of overhead tests."""

    def __init__(self, limits: Sequence[int], stop_tokens: frozenset[int] = frozenset()) -> None:
        self.tokens: list[list[int]] = [[] for _ in limits]
        self._limits = limits
        self._stop = stop_tokens
        self._span = _NullSpan()

    def span(self, name: SpanName) -> AbstractContextManager[None]:
        """Return a context that does nothing."""
        return self._span

    def commit(self, row: int, tokens: Sequence[int]) -> bool:
        """Collect tokens up to the limit or the first stop token."""
        kept = self.tokens[row]
        for token in tokens:
            if len(kept) >= self._limits[row]:
                break
            kept.append(token)
            if token in self._stop:
                return True
        return len(kept) >= self._limits[row]

    def step(self, rows: Sequence[int], drafted: Sequence[int], accepted: Sequence[int]) -> None:
        """Ignore the step."""

    def traffic(self, traffic: Traffic) -> None:
        """Ignore the report."""


class _NullSpan(AbstractContextManager[None]):
    def __exit__(self, *error: object) -> None:
        return None


class System(Protocol):
    """A built system, ready to generate."""

    fast_bytes: int
    """Fast memory it holds beyond the target's non-expert weights and KV: slots, draft, copies, staging."""

    def generate(self, requests: Sequence[Request], meter: Meter, at_once: int | None = None) -> None:
        """Generate for a batch until `meter.commit` has returned True for every row.

        Args:
            at_once: rows decoded at once at most; further requests wait, and join as rows leave. None: all.

        Raises:
            BadInput: there is no request.
        """

    def kv_bytes(self, requests: Sequence[Request], at_once: int | None = None) -> int:
        """Bytes of keys and values that such a generation keeps, draft models' included; the budget is beyond them."""

    def calibrate(self, requests: Sequence[Request]) -> None:
        """Run the given warm-up requests unmeasured, then fix whatever is chosen from a profile (e.g. cutoff)."""

    def rehearse(self, requests: Sequence[Request], at_once: int | None = None) -> None:
        """Called untimed right before each measured `generate`, with its arguments: a bound records there what it
        needs to know, everybody else does nothing."""

    def now_ns(self) -> int:
        """The time in nanoseconds on the clock that the system runs on: the machine's, or a virtual one."""

    def describe(self) -> dict[str, Any]:
        """What was chosen or derived: slots, cutoff, bytes; plain JSON values."""

    def close(self) -> None:
        """Stop threads and free memory. Idempotent."""


@dataclass(frozen=True, slots=True)
class Overheads:
    """What a live run adds to the times of its layers and transfers; fitted to one by `harness.calibrate`.

    `scale` multiplies computing times. `fetch` and `hint` are seconds that computing takes longer for every record
    that crosses the link beside it (a copy by another core, the bookkeeping, a cold cache) and for every time that a
    predictor is asked. They hold on a virtual clock only: on the machine's they are there by themselves.
    """

    scale: float = 1.0
    fetch: float = 0.0
    hint: float = 0.0


@dataclass(frozen=True, slots=True)
class Costs:
    """Times measured on this machine, in seconds, that analytic policies are fed with.

    `target_layer[w]` and `draft_layer[w]` are the time of one layer at a forward of `w` positions, all experts
    resident; `transfer` is the time of one expert record over the link, `call` the fixed part of it per I/O call.
    """

    target_layer: Mapping[int, float]
    draft_layer: Mapping[int, float]
    transfer: float
    call: float
    overheads: Overheads = Overheads()

    @staticmethod
    def at(table: Mapping[int, float], width: int) -> float:
        """Read a table at any width: linear between measured widths, flat outside them."""
        known = sorted(table)
        below = max((w for w in known if w <= width), default=known[0])
        above = min((w for w in known if w >= width), default=known[-1])
        share = (width - below) / (above - below) if above > below else 0.0
        return table[below] + share * (table[above] - table[below])


@dataclass(frozen=True, slots=True)
class LinkSpec:
    """A paced link: `bandwidth` in bytes/s and `latency` in seconds per I/O call. None stands for the real one.

    `remote_token` is the time in seconds that slow memory's processor takes for one token of one expert. On a
    `virtual` link nothing takes real time: transfers follow their due times and computation the table of costs, so
    that the same run gives the same counts, always.
    """

    bandwidth: float
    latency: float
    remote_token: float = 0.0
    virtual: bool = False


class ModelPair(Protocol):
    """A loaded target (experts in slow memory) and its draft, shared by the systems of one run."""

    name: str
    vocab_size: int
    context_length: int
    num_layers: int
    """Number of MoE layers of the target."""
    num_experts: int
    top_k: int
    record_bytes: int
    """Bytes of one expert as stored and moved."""
    expert_bytes: int
    """Bytes of all experts of the target."""
    draft_bytes: int
    """Bytes of the draft's weights; 0 without a draft."""
    non_expert_bytes: int
    device: str

    def encode(self, text: str) -> list[int]:
        """Token ids of a prompt."""

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of token ids, special tokens skipped."""

    @property
    def stop_tokens(self) -> frozenset[int]:
        """Ids that end a sequence."""

    def describe(self) -> dict[str, Any]:
        """Hashes, shapes and dtypes for the record."""

    def close(self) -> None:
        """Free weights and files."""


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """`conf/model/*.yaml`. Paths are relative to the repository root or absolute; `hub:` ids are never fetched here.

    `store` is where experts live: `ram` (a slab in host memory), `pack` (one aligned file next to
    `cache_dir`, rebuilt when stale) or `checkpoint` (byte ranges of the original safetensors). `top_k` is how many
    experts a token uses, where it is not to be the model's own number.
    """

    name: str
    target: str
    draft: str | None
    tokenizer: str
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    store: Literal["ram", "pack", "checkpoint"] = "ram"
    cache_dir: str = ".cache/experts"
    top_k: int | None = None
    device: str = "cpu"


@dataclass(frozen=True, slots=True)
class SystemConfig:
    """`conf/system/*.yaml`: parts chosen by name, each with its own options (DESIGN: a system is a composition).

    Every part is a mapping with the key `part`; the other keys are the options of that part. `engine` is
    `composed`, made of the other parts, or the name of a peer, which has none.
    """

    name: str
    source: str
    lossless: bool = True
    drafter: Mapping[str, Any] = field(default_factory=lambda: {"part": "none"})
    predictor: Mapping[str, Any] = field(default_factory=lambda: {"part": "none"})
    prefetch: Mapping[str, Any] = field(default_factory=lambda: {"part": "none"})
    residency: Mapping[str, Any] = field(default_factory=lambda: {"part": "lru"})
    placement: Mapping[str, Any] = field(default_factory=lambda: {"part": "none"})
    gating: Mapping[str, Any] = field(default_factory=lambda: {"part": "none"})
    attention: Mapping[str, Any] = field(default_factory=lambda: {"part": "none"})
    engine: Mapping[str, Any] = field(default_factory=lambda: {"part": "composed"})


@dataclass(frozen=True, slots=True)
class DraftShape:
    """A draft in numbers: weights in bytes (0: those of the target in INT4), layers, and how well it foretells.

    `active_bytes` are those that one token reads (0: all). `recall` is the share of a token's experts that it names,
    `acceptance` the chance that its next token is right.
    """

    recall: float
    acceptance: float
    bytes: int = 0
    layers: int = 0
    active_bytes: int = 0

    def __post_init__(self) -> None:
        for name in ("bytes", "layers", "active_bytes"):
            if getattr(self, name) < 0:
                raise BadInput(f"`shape.draft.{name}` is {getattr(self, name)}; a positive number is needed")
        for name in ("recall", "acceptance"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadInput(f"`shape.draft.{name}` is {getattr(self, name)}; a share in [0, 1] is needed")


@dataclass(frozen=True, slots=True)
class ModelShape:
    """`conf/shape/*.yaml`: a model in numbers, for predictions without weights; 16 bits per weight.

    `other_bytes` are all weights but routed experts and the draft. `statistics` are those of the routing: `skew`,
    `request_skew`, `reuse` and `ahead` of `systems.replay.statistics.Statistics`.
    """

    name: str
    source: str
    layers: int
    moe_layers: int
    experts: int
    top_k: int
    hidden: int
    intermediate: int
    other_bytes: int
    statistics: Mapping[str, Any]
    draft: DraftShape
    self_draft: DraftShape

    def __post_init__(self) -> None:
        for name in ("layers", "moe_layers", "experts", "top_k", "hidden", "intermediate", "other_bytes"):
            if getattr(self, name) <= 0:
                raise BadInput(f"`shape.{name}` is {getattr(self, name)}; a positive number is needed")
        if self.top_k > self.experts or self.moe_layers > self.layers:
            raise BadInput("`shape.top_k` and `shape.moe_layers` must not exceed `shape.experts` and `shape.layers`")

    @property
    def expert_bytes(self) -> int:
        """Bytes of one expert."""
        return 3 * self.hidden * self.intermediate * 2


def load_pair(config: ModelConfig, root: Path) -> ModelPair:
    """Load target, draft and tokenizer.

    Raises:
        BadInput: a file is missing, truncated or corrupted, or draft and target do not match.
    """
    from systems.runtime.pair import load

    return load(config, root)


def next_logits(pair: ModelPair, texts: Sequence[Sequence[int]]) -> list[list[float]]:
    """Return the target's logits `(V,)` after each text of token ids, by plain transformers; see `runtime.scoring`."""
    from systems.runtime.scoring import next_logits as score

    return score(cast("Any", pair), texts)


def measure_costs(pair: ModelPair, link: LinkSpec | None, widths: Sequence[int]) -> Costs:
    """Time layers and transfers of a pair on this machine, with all experts resident."""
    from systems.runtime.calibration import measure

    return measure(pair, link, widths)


def build_system(
    config: SystemConfig, pair: ModelPair, budget_bytes: int, link: LinkSpec | None, costs: Costs
) -> System:
    """Compose a system from its parts.

    Raises:
        BadInput: an unknown part or option, with the nearest valid one.
        DidNotFit: the budget cannot hold the draft and one layer's top-k experts.
    """
    from systems.build import build

    return build(config, pair, budget_bytes, link, costs)


def log_likelihood(system: System, tokens: Sequence[int]) -> list[float]:
    """Return how likely a built system finds each token but the first, given those before (log-probability, nats).

    Raises:
        BadInput: a peer or a replay, which tells no probabilities.
    """
    read = getattr(system, "log_likelihood", None)
    if read is None:
        raise BadInput("a peer or a replay tells no probabilities; leave it out of `systems`")
    found: list[float] = read(tokens)
    return found


def watch_transfers(system: System, hear: Callable[[Transfer], None]) -> None:
    """Tell `hear` of every transfer of a built system from now on, in order of start; any thread may call it.

    Raises:
        BadInput: a peer, whose transfers nobody sees.
    """
    cache = getattr(system, "cache", None)
    if cache is None:
        raise BadInput("a peer does not tell of its transfers; watch a composed system")
    cache.watch(hear)


def routing(pair: ModelPair, requests: Sequence[Request]) -> Any:
    """Decode greedily, and return where the target routes every decoded token: integers `(tokens, layers, k)`, the
    requests one behind the other.

    Raises:
        BadInput: a request that is not greedy.
    """
    from systems.replay.record import decoded_routing

    return decoded_routing(cast("Any", pair), requests)


def dense_forward_times(
    pair: ModelPair, sizes: Sequence[tuple[int, int]], context: int
) -> dict[tuple[int, int], float]:
    """Time forwards (s) of `(rows, tokens each)` behind `context` positions, of a dense model with random weights that
    has the target's shape and as many active weights."""
    from systems.runtime.dense_control import forward_times

    return forward_times(cast("Any", pair), sizes, context)


class Traces(Protocol):
    """A recording that systems can be replayed from."""

    costs: Costs
    """Measured on the machine that recorded; computations take as long in a replay."""


def record_traces(
    pair: ModelPair, systems: Sequence[SystemConfig], requests: Sequence[Request], costs: Costs, folder: Path
) -> None:
    """Run the models over greedy requests and keep all that replaying `systems`, and others like them, needs."""
    from systems.replay.store import longest_drafters, record_folder

    record_folder(cast("Any", pair), longest_drafters(systems), requests, costs, folder)


class Recording(Traces, Protocol):
    """A recording of models that ran."""

    @property
    def record_bytes(self) -> int:
        """Bytes of one expert."""

    @property
    def expert_bytes(self) -> int:
        """Bytes of all experts."""

    @property
    def requests(self) -> list[Request]:
        """The requests that it holds, in order, each as long as it became; those of the warm-up come last."""


def load_traces(folder: Path, pair: ModelPair | None = None) -> Recording:
    """Open a recording, of a pair where one is given.

    Raises:
        BadInput: there is none; a trace of it is broken, or of other models (said when it is asked for).
    """
    from systems.replay.store import TraceFolder

    return TraceFolder(folder, None if pair is None else pair.describe())


def write_costs(folder: Path, costs: Costs, **facts: Any) -> None:
    """Put costs into a recording, in place of those measured with it; `facts` say where they are from."""
    from systems.replay.costs import write

    write(folder, costs, **facts)


def plain_costs(costs: Costs) -> dict[str, Any]:
    """Return costs as JSON values."""
    from systems.replay.costs import plain

    return plain(costs)


def read_costs(facts: dict[str, Any]) -> Costs:
    """Return costs from their JSON values.

    Raises:
        KeyError, TypeError, ValueError: a number is missing or not positive.
    """
    from systems.replay.costs import costs_of

    return costs_of(facts)


class Imagination(Traces, Protocol):
    """A recording that was generated."""

    @property
    def requests(self) -> list[Request]:
        """The requests that it holds, in order."""

    def draft_bytes(self, drafter: str) -> int:
        """Fast memory of the draft of a drafter part."""


def imagine_traces(
    shape: ModelShape, costs: Costs, draft_length: int, requests: int, prompt_tokens: int, new_tokens: int, seed: int
) -> Imagination:
    """Generate a recording of a model that is not at hand; computations take what `costs` says.

    Raises:
        BadInput: statistics that cannot be.
    """
    from systems.replay.imagined import Imagined, Texts

    return Imagined(shape, costs, Texts(requests, prompt_tokens, new_tokens, draft_length, seed))


def build_replay(config: SystemConfig, traces: Traces, budget_bytes: int, link: LinkSpec, costs: Costs) -> System:
    """Compose a system whose models are a recording; its times are predictions.

    Raises:
        BadInput: as `build_system`, or the recording does not hold what the system asks.
        DidNotFit: as `build_system`.
    """
    from systems.replay.system import ReplayedSystem

    trace = cast("Any", traces).of(config.drafter["part"])
    return ReplayedSystem(config, trace, budget_bytes, link, costs)


def attention_kernels() -> Mapping[str, Callable[[Any], Any]]:
    """Return the kernels that compute attention of drafted tokens on the host, by name, `chunked` among them.

    Each takes what `attention_work` makes.
    """
    from systems.runtime.attention_kernels import KERNELS

    return KERNELS


def attention_work(
    rows: int, heads: int, key_heads: int, dim: int, prefix: int, drafted: int, seed: int, dtype: str
) -> Any:
    """Draw queries, keys and values of one layer: `rows` requests, `drafted` tokens behind `prefix` positions."""
    from systems.runtime.attention_kernels import make_work

    return make_work(rows, heads, key_heads, dim, prefix, drafted, seed, dtype)


def attention_error(work: Any, kernel: str) -> float:
    """Return the greatest difference between a kernel's result and the same in double precision."""
    from systems.runtime.attention_kernels import KERNELS, error

    return error(work, KERNELS[kernel])


def measure_operators(
    pair: ModelPair,
    prompts: Sequence[Sequence[int]],
    rows: Sequence[int],
    widths: Sequence[int],
    split: int,
    transfer: float,
) -> Operators:
    """Time the operators of an iteration of a large batch over real prompts; see `systems.tuning.measuring`.

    Raises:
        BadInput: times that no line fits.
    """
    from systems.tuning.measuring import measure_operators

    return measure_operators(cast("Any", pair), prompts, rows, widths, split, transfer)


def make_tuner(
    operators: Operators, rows: int, micro_batches: int, prefix: float, accepted: Sequence[int], longest: int
) -> Tuner:
    """Return what predicts iterations of a batch for every draft length up to `longest`.

    Args:
        prefix: mean positions before the drafted ones.
        accepted: drafts accepted per row and step in a run with drafts of `longest`.

    Raises:
        BadInput: an empty batch, or no steps.
    """
    from systems.tuning.iteration import Setting
    from systems.tuning.tuner import Tuner, gains

    return Tuner(operators, Setting(rows, micro_batches, longest, prefix), gains(accepted, longest))


def roofline(
    pair: ModelPair, row_positions: int, host_memory: float, link_bandwidth: float, slots: int, processors: int
) -> Roofline:
    """Return what decides a large batch's settings before anything is simulated; times this machine's memory."""
    from systems.tuning.measuring import host_bandwidth
    from systems.tuning.tuner import Roofline

    loaded = cast("Any", pair)
    row_bytes = row_positions * (loaded.position_bytes + (loaded.draft_position_bytes if pair.draft_bytes else 0))
    return Roofline(
        host_memory, row_bytes, host_bandwidth(), link_bandwidth, pair.num_experts, pair.top_k, slots, pair.num_layers,
        processors,
    )  # fmt: skip
