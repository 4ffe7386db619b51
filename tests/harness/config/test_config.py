from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import pytest

from harness.config import schema
from harness.config.bench import BenchConfig, Emulated, budget_bytes, parse_budget
from harness.config.compose import bench_config, suite_configs
from harness.config.host import HostShape
from harness.measure import hardware
from systems.api import BadInput
from tests.harness.fake import FakePair

CONF = Path(__file__).parents[3] / "conf"


def plain(*overrides: str) -> dict[str, Any]:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from omegaconf import OmegaConf

    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed: Any = OmegaConf.to_container(hydra_compose("config", list(overrides)), resolve=True)
    return dict(composed)


def compose(*overrides: str) -> BenchConfig:
    return bench_config(plain(*overrides), [CONF], overrides)


def _options(group: str) -> list[str]:
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


@pytest.mark.parametrize("group", ["system", "model", "hardware", "tracking", "measure", "experiment"])
def test_every_file_in_conf_composes(group: str) -> None:
    for name in _options(group):
        compose(f"{group}={name}")


@pytest.mark.parametrize("name", ["humaneval", "exercises"])
def test_every_dataset_composes(name: str) -> None:
    assert compose(f"dataset={name}").dataset.name == name


def test_files_are_named_after_what_they_hold() -> None:
    for group in ("system", "model", "dataset", "hardware", "tracking"):
        for name in _options(group):
            own = '""' if name == "reference" else name  # its name is its folder's, or that of another target
            assert re.search(rf"^name: {own}$", (CONF / group / f"{name}.yaml").read_text(), re.MULTILINE), name


def test_the_command_line_is_frozen() -> None:
    """What users type. Changing this is a breaking change: say so in the changelog."""
    assert set(compose().identity()) == {
        "systems", "model", "dataset", "hardware", "measure", "budget", "kv_budget", "replay", "reference", "timed_by",
    }  # fmt: skip
    assert {"offload", "resident", "sd_offload", "sp_moe"} <= set(_options("system"))
    assert {"coarse", "fine_grained", "local"} <= set(_options("hardware"))
    assert {"exercises", "humaneval", "jsonl"} <= set(_options("dataset"))
    assert {"none", "wandb"} <= set(_options("tracking"))
    assert {"bench", "bench_all", "cutoff", "baselines", "hit_rate", "ablation", "draft_length", "budget"} <= set(
        _options("experiment")
    )


def test_make_bench_is_what_the_readme_says() -> None:
    config = compose("experiment=bench")
    assert list(config.systems) == ["resident", "offload", "sd_offload", "sp_moe"]
    assert (config.dataset.name, config.dataset.limit, config.measure.max_new_tokens) == ("humaneval", 32, 64)
    assert (config.hardware.name, config.budget, config.output) == ("fine_grained", 0.3333, "results/bench")


def _bases(experiment: str) -> set[str]:
    return {system.name for system in compose(f"experiment={experiment}").systems.values()}


def test_make_bench_batch_has_the_systems_that_are_made_for_batches() -> None:
    assert {"caching", "overlap", "spec_moe", "spec_moe_off", "spec_moe_off_plain"} <= _bases("bench_batch")


def test_make_bench_all_is_every_system_in_both_profiles() -> None:
    fine, coarse = suite_configs(plain("experiment=bench_all"), [CONF], ["experiment=bench_all"]).values()
    assert (fine.hardware.name, coarse.hardware.name) == ("fine_grained", "coarse")
    assert set(fine.systems) == set(coarse.systems) == set(_options("system"))
    assert (fine.dataset.name, fine.dataset.limit, fine.measure.max_new_tokens) == ("humaneval", 20, 40)
    assert fine.measure.repeats == coarse.measure.repeats == 1
    assert fine.output == coarse.output == "results/bench-all"
    assert {fine.systems[name].residency["part"] for name in fine.baselines} & {
        "all",
        "belady",
        "none",
        "peer",
    } == set()
    assert all(fine.systems[name].lossless for name in fine.baselines)


def _swept(experiment: str) -> dict[str, str]:
    """The parameters that `--multirun experiment=NAME` goes through."""
    from omegaconf import OmegaConf

    found: Any = OmegaConf.select(OmegaConf.load(CONF / "experiment" / f"{experiment}.yaml"), "hydra.sweeper.params")
    return dict(found)


def test_sweeps_go_through_what_they_say() -> None:
    assert _swept("draft_length") == {"system.drafter.draft_length": "range(1,9)"}
    assert _swept("budget") == {"budget": ",".join(f"{tenth / 10:.1f}" for tenth in range(1, 11))}
    assert set(_swept("hit_rate")["budget"].split(",")) == set(plain("experiment=hit_rate")["define"]["slots"])


@pytest.mark.parametrize("budget", _swept("hit_rate")["budget"].split(","))
def test_lru_has_the_slots_that_moe_speq_has_left(budget: str) -> None:
    """Of the reference pair: what the budget holds beside the INT4 copy (a 4-bit code per weight; a bf16 scale and
    zero point per group).
    """
    shape = json.loads((CONF.parent / "models" / "reference" / "target" / "config.json").read_text())
    config = compose("experiment=hit_rate", f"budget={budget}")
    weights = 3 * shape["hidden_size"] * shape["intermediate_size"]
    experts = shape["num_hidden_layers"] * shape["num_local_experts"]
    copy = experts * (weights // 2 + weights // config.systems["speculative"].drafter["group"] * 4)
    left = (int(parse_budget(budget)) - copy) // (4 * weights)
    assert config.systems["lru"].residency["slots"] == left
    assert config.systems["lru_scaled"].residency["slots"] is None


def test_config_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        compose().measure.batch = 4  # type: ignore[misc]


def test_what_is_known_of_a_model_does_not_decide_the_key() -> None:
    made = compose("model=smollm2_moe")
    assert made.model.made_by
    assert not {"card", "made_by"} & set(made.identity()["model"])
    assert replace(made, model=replace(made.model, made_by=None)).key() == made.key()


def test_where_results_go_does_not_decide_the_key() -> None:
    config = compose()
    assert config.key("x") == replace(config, output="o", runs="r", resume=False, baselines=()).key("x")
    assert config.key("x") != config.key("y")
    assert config.key("x") != replace(config, budget=0.2).key("x")
    assert config.key("x") != replace(config, model=replace(config.model, operators="stock")).key("x")


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        (0.3333, 0.3333),
        ("0.5", 0.5),
        (1, 1.0),
        ("24MiB", 24 * 2**20),
        ("8 GiB", 8 * 2**30),
        ("1.5MB", 1_500_000),
    ],
)
def test_budget(text: Any, parsed: float) -> None:
    assert parse_budget(text) == parsed
    assert isinstance(parse_budget(text), int) == (parsed > 1)


@pytest.mark.parametrize("text", ["0", "1.1", "-1", "", "MiB", "3 parsecs", "1.2.3", "12"])
def test_not_a_budget(text: str) -> None:
    with pytest.raises(BadInput, match="`budget` is"):
        parse_budget(text)


def test_a_share_is_of_the_expert_bytes() -> None:
    assert budget_bytes(0.25, FakePair()) == 4000  # type: ignore[arg-type]
    assert budget_bytes("3KiB", FakePair()) == 3072  # type: ignore[arg-type]


def test_the_profiles_have_the_ratios_that_their_environments_have() -> None:
    def emulate(name: str) -> Emulated:
        found = compose(f"hardware={name}").hardware.emulate
        assert found is not None
        return found

    fine, coarse = emulate("fine_grained"), emulate("coarse")
    assert fine.ratio == pytest.approx(1.06, abs=0.01)
    assert coarse.ratio == pytest.approx(15.7, abs=0.1)
    assert fine.latency_share == pytest.approx(10e-6 / 0.69e-3, rel=0.01)
    assert (coarse.host.bandwidth, fine.host.bandwidth) == (197e9, 357e9)


def test_pacing_reproduces_ratio_and_latency_share() -> None:
    named = HostShape("host", "", bandwidth=1e7, compute=2e7)
    emulate = Emulated(expert_bytes=1000, bandwidth=1e6, call_latency=1e-4, layer_seconds=5e-4, host=named)
    link = hardware.pace(emulate, record_bytes=300, layer_seconds=0.02)
    transfer = link.latency + 300 / link.bandwidth
    assert transfer == pytest.approx(0.04)  # two layers, as there
    assert link.latency == pytest.approx(0.004)  # a tenth, as there
    # There 1e-4 s to read, 5e-5 per row of products, 2e-4 for two crossings; a layer here takes 40 times as long.
    there = hardware.host(emulate, layer_seconds=0.02, top_k=2)
    assert there.at(1) == there.at(2) == pytest.approx(40 * 3e-4)
    assert there.at(5) == pytest.approx(40 * (2e-4 + 5 * 5e-5))
    one = hardware.host(emulate, layer_seconds=0.02, top_k=1)
    assert one.at(1) == one.at(2) == pytest.approx(40 * 3e-4), "half a layer takes 2.5e-4 s there"
    slow = replace(emulate, layer_seconds=1.6e-3)
    assert hardware.host(slow, 1.6e-3, top_k=2).at(1) == pytest.approx(4e-4), "never faster than the device"


def test_suggestions_take_the_nearest_and_list_all() -> None:
    options: Sequence[str] = ["offload", "sp_moe"]
    assert schema.suggest("of_load", options) == "did you mean `offload`? there are: offload, sp_moe"
    assert schema.suggest("zzz", options) == "there are: offload, sp_moe"
