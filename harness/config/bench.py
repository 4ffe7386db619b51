"""What a run is asked to do. Config is inert: building it reads no file and touches no device."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from harness.config.host import HostShape
from systems.api import BadInput, ModelConfig, ModelPair, Sampling, SystemConfig

_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_LABEL = re.compile(r"[A-Za-z0-9_.@+-]+")


@dataclass(frozen=True, slots=True)
class DatasetConfig:
    """`conf/dataset/*.yaml`: which prompts.

    `limit` so many are drawn by `seed` and measured, in the dataset's own order (null: all that the warm-up leaves);
    prompts to warm up on are drawn from the others. `skip_too_long` leaves out prompts that do not fit the context
    with their new tokens, by name; without it such a prompt is an error. `path` is for `jsonl`; generated prompts
    are made by `seed`, too.
    """

    name: str
    limit: int | None = None
    skip_too_long: bool = False
    path: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise BadInput(f"`dataset.limit` is {self.limit}; 1 or more is needed, or null for all")


@dataclass(frozen=True, slots=True)
class Emulated:
    """A named environment, reduced to what decides whether a transfer can hide behind compute.

    `bandwidth` (bytes/s) is that of whole copies of `expert_bytes`; `call_latency` (s) is the fixed part of
    each. `layer_seconds` is one decoder layer of the named model at one position, experts resident. `host` may compute
    experts where they lie.
    """

    expert_bytes: int
    bandwidth: float
    call_latency: float
    layer_seconds: float
    host: HostShape

    @property
    def ratio(self) -> float:
        """Time of one expert transfer : time of one layer."""
        return self.expert_bytes / self.bandwidth / self.layer_seconds

    @property
    def latency_share(self) -> float:
        """Fixed part of a transfer."""
        return self.call_latency / (self.expert_bytes / self.bandwidth)


@dataclass(frozen=True, slots=True)
class HardwareConfig:
    """`conf/hardware/*.yaml`. Without `emulate` experts cross this machine's own link, unpaced."""

    name: str
    source: str
    emulate: Emulated | None = None


@dataclass(frozen=True, slots=True)
class MeasureConfig:
    """`conf/measure/*.yaml`: how it is measured.

    `batch` requests are decoded at once; `queue` more are handed over with them and join as rows leave.
    `warmup` prompts per system are run unmeasured, and the system fixes what it derives from a profile on
    them. A cell is `noisy` when half its TPOT interval exceeds `noisy_above` times the TPOT. What costs
    and links rest on is timed for `calibration_seconds` each, but for copies to a device, of which a number is timed;
    null: as long as the device asks for.
    """

    repeats: int = 1
    warmup: int = 2
    batch: int = 1
    queue: int = 0
    max_new_tokens: int = 64
    threads: int = 1
    seed: int = 0
    noisy_above: float = 0.25
    calibration_seconds: float | None = None
    sampling: Sampling = field(default_factory=Sampling)

    def __post_init__(self) -> None:
        if self.max_new_tokens < 2:
            raise BadInput(
                f"`measure.max_new_tokens` is {self.max_new_tokens}; TPOT is a time between tokens and needs 2 or more"
            )
        for name in ("repeats", "batch", "threads"):
            if getattr(self, name) < 1:
                raise BadInput(f"`measure.{name}` is {getattr(self, name)}; 1 or more is needed")
        for name in ("warmup", "queue"):
            if getattr(self, name) < 0:
                raise BadInput(f"`measure.{name}` is {getattr(self, name)}; 0 or more is needed")
        if self.calibration_seconds is not None and not self.calibration_seconds > 0:
            raise BadInput(f"`measure.calibration_seconds` is {self.calibration_seconds}; a time above 0 is needed")


@dataclass(frozen=True, slots=True)
class TrackingConfig:
    """`conf/tracking/*.yaml`: where results are mirrored; files on disk stay the truth.

    `text` puts outputs into the table of requests, `steps` every draft-verify cycle into the history.
    """

    name: Literal["none", "wandb"] = "none"
    project: str = "spmoe-bench"
    mode: Literal["offline", "online", "disabled"] = "offline"
    group: str | None = None
    text: bool = False
    steps: bool = False

    @property
    def tracks(self) -> bool:
        """Whether anything is mirrored at all."""
        return self.name != "none" and self.mode != "disabled"


@dataclass(frozen=True, slots=True)
class AccuracyConfig:
    """`accuracy`: what may be done to judge outputs; see `harness.accuracy.consent`."""

    allow_code_execution: bool = False


@dataclass(frozen=True, slots=True)
class BenchConfig:
    """One comparison: systems by label, measured interleaved on the same prompts.

    `budget` is a share of the target's expert bytes in (0, 1] or a size such as `24MiB`. `kv_budget` is what keys and
    values of a batch may take besides, as a size; null: there is no limit. Speedups are over
    the `baselines` that take part, else over the first system. `runs` keeps the records of every cell;
    `output`, when given, receives summary, table and provenance of this comparison. `replay`, when given, is a
    folder of traces that systems are replayed from instead of running; `timed_by` is then the provenance.json of a live
    run whose layer times stand for those of the traces, with `#PROFILE` where it has several.
    """

    systems: Mapping[str, SystemConfig]
    model: ModelConfig
    dataset: DatasetConfig
    hardware: HardwareConfig
    measure: MeasureConfig = field(default_factory=MeasureConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    accuracy: AccuracyConfig = field(default_factory=AccuracyConfig)
    budget: float | str = 1 / 3
    kv_budget: str | None = None
    baselines: tuple[str, ...] = ("offload", "sd_offload")
    runs: str = "results/runs"
    output: str | None = None
    replay: str | None = None
    timed_by: str | None = None
    resume: bool = True
    dry_run: bool = False
    fail_fast: bool = False
    reference: SystemConfig | None = field(default=None, repr=False)
    """The system whose greedy tokens are the reference; null switches the correctness check off."""

    def __post_init__(self) -> None:
        parse_budget(self.budget)
        if self.kv_budget is not None:
            size_bytes("kv_budget", self.kv_budget)
        if self.timed_by is not None and self.replay is None:
            raise BadInput("`timed_by` is about replays; set `replay` to a folder of traces, or leave it out")
        for label in self.systems:
            if not _LABEL.fullmatch(label):
                raise BadInput(f"system label {label!r} is no file name; use letters, digits and _.@+-")

    def identity(self) -> dict[str, Any]:
        """Return what decides the numbers, as plain data: not where they go."""
        plain = asdict(self)
        for name in ("tracking", "accuracy", "runs", "output", "resume", "dry_run", "fail_fast", "baselines"):
            del plain[name]
        for name in ("card", "made_by"):
            del plain["model"][name]
        return plain

    def key(self, *fingerprints: str) -> str:
        """Return the hash that names this comparison; `fingerprints` stand for code, weights and prompts."""
        # Traces and times count by content, however they are called.
        named = self.identity() | {"replay": self.replay is not None}
        del named["timed_by"]
        text = json.dumps([named, fingerprints], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def size_bytes(key: str, text: str) -> int:
    """Return the bytes of a size such as `24MiB`.

    Raises:
        BadInput: it is none.
    """
    size = _bytes(text)
    if size is None:
        raise BadInput(f"`{key}` is {text!r}; a size such as 24MiB or 12GB is needed")
    return size


def parse_budget(budget: float | str) -> float | int:
    """Return a share in (0, 1] as float, or bytes as int.

    Raises:
        BadInput: neither.
    """
    text = str(budget).strip()
    if size := _bytes(text):
        return size
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if 0 < share <= 1:
        return share
    raise BadInput(f"`budget` is {text!r}; a share of the expert bytes in (0, 1] or e.g. 24MiB is needed")


def _bytes(text: str) -> int | None:
    """Return the bytes that a number with a unit stands for, None where it has none."""
    match = re.fullmatch(r"([0-9]*\.?[0-9]+)\s*([A-Za-z]+)", text.strip())
    if match is None or match[2].upper() not in _UNITS:
        return None
    return int(float(match[1]) * _UNITS[match[2].upper()])


def budget_bytes(budget: float | str, pair: ModelPair) -> int:
    """Return the fast memory of every system in bytes."""
    parsed = parse_budget(budget)
    return parsed if isinstance(parsed, int) else int(parsed * pair.expert_bytes)
