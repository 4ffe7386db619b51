"""A profile of a few steps of SP-MoE on the reference pair, as torch sees them: what overlaps, and what waits."""

from __future__ import annotations

from harness.gpu_bench.micro import Keep
from harness.gpu_bench.stages import Setup
from harness.records import provenance
from systems import api

SYSTEM = api.SystemConfig(
    "sp_moe",
    "",
    drafter={"part": "model", "draft_length": 2},
    predictor={"part": "draft_attention"},
    prefetch={"part": "cutoff", "cutoff": 8},
)
NO_COSTS = api.Costs({1: 0.0}, {1: 0.0}, 0.0, 0.0)
"""None of its parts asks what things cost."""
TOKENS, REHEARSED = 12, 3
PROMPT = 'def mean(numbers):\n    """Return the mean of numbers."""\n'


def profile(setup: Setup, keep: Keep) -> None:
    """Generate once to warm up and once under the profiler; write the trace to OUTPUT/profile.json."""
    from torch import profiler
    from torch.profiler import ProfilerActivity

    pair = api.load_pair(_model(setup.device), provenance.ROOT)
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * setup.device.startswith("cuda")
    tokens = REHEARSED if setup.tiny else TOKENS
    request = api.Request("0", tuple(pair.encode(PROMPT)), tokens)
    try:
        system = api.build_system(SYSTEM, pair, pair.expert_bytes // 3, None, NO_COSTS)
        try:
            system.generate([request], api.NullMeter([tokens], pair.stop_tokens))
            with profiler.profile(activities=activities) as seen:
                system.generate([request], api.NullMeter([tokens], pair.stop_tokens))
        finally:
            system.close()
    finally:
        pair.close()
    unfinished = setup.output / "profile.json.partial"
    seen.export_chrome_trace(str(unfinished))
    unfinished.replace(setup.output / "profile.json")
    averages = sorted(seen.key_averages(), key=lambda row: -row.self_cpu_time_total)[:20]
    keep("operators", [{"name": row.key, "calls": row.count, "cpu_us": row.self_cpu_time_total} for row in averages])


def _model(device: str) -> api.ModelConfig:
    folder = "models/reference"
    return api.ModelConfig("reference", f"{folder}/target", f"{folder}/draft", tokenizer=None, device=device)
