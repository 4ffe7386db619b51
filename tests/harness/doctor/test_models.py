"""The entries of `conf/model`, and what the command says of folders."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.config import compose
from harness.config.bench import parse_budget
from harness.doctor import models
from systems.api import BadInput, FolderReport, inspect_folder
from tests.systems.tiny import FAMILIES, save_draft, save_target, save_tokenizer

ROOT = Path(__file__).parents[3]
PUBLISHED: dict[str, tuple[str, dict[str, Any]]] = {
    "mixtral_8x7b": ("mixtral", {"num_hidden_layers": 32}),
    "phi_3_5_moe": ("phimoe", {"attention_bias": True, "lm_head_bias": True}),
    "deepseek_v2_lite": (
        "deepseek_v2",
        {
            "vocab_size": 102400, "hidden_size": 2048, "intermediate_size": 10944, "moe_intermediate_size": 1408,
            "num_hidden_layers": 27, "num_attention_heads": 16, "num_key_value_heads": 16, "n_shared_experts": 2,
            "n_routed_experts": 64, "kv_lora_rank": 512, "q_lora_rank": None, "first_k_dense_replace": 1,
        },
    ),
    "qwen1_5_moe": ("qwen2_moe", {"hidden_size": 2048, "num_hidden_layers": 24}),
    "olmoe": ("olmoe", {"intermediate_size": 1024, "num_experts": 64}),
    "qwen3_30b_a3b": (
        "qwen3_moe",
        {"num_hidden_layers": 48, "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128},
    ),
    "gpt_oss_20b": ("gpt_oss", {"num_hidden_layers": 24, "num_local_experts": 32}),
    "glm_4_5_air": (
        "glm4_moe",
        {
            "hidden_size": 4096, "intermediate_size": 10944, "moe_intermediate_size": 1408, "num_hidden_layers": 46,
            "num_attention_heads": 96, "num_key_value_heads": 8, "head_dim": 128, "attention_bias": True,
            "n_routed_experts": 128, "n_shared_experts": 1, "first_k_dense_replace": 1,
        },
    ),
}  # fmt: skip
"""What the published configs set beside their families' defaults."""
DRAFTS: dict[str, tuple[str, dict[str, Any]]] = {
    "mixtral_8x7b": ("mistral", {}),
    "qwen1_5_moe": (
        "qwen2",
        {"hidden_size": 2048, "intermediate_size": 5504, "num_hidden_layers": 24, "num_attention_heads": 16,
         "num_key_value_heads": 16},
    ),
    "qwen3_30b_a3b": (
        "qwen3",
        {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16,
         "num_key_value_heads": 8, "head_dim": 128, "tie_word_embeddings": True},
    ),
}  # fmt: skip
STORED_PLAINLY = ("mixtral_8x7b", "phi_3_5_moe", "deepseek_v2_lite", "qwen1_5_moe", "olmoe", "qwen3_30b_a3b")


def weights(family: str, changes: dict[str, Any]) -> tuple[int, int]:
    """Weights in the routed experts, and all others, of a model that transformers builds without memory."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **changes))
    experts = [module for module in model.modules() if type(module).__name__.endswith("Experts")]
    routed = sum(p.numel() for module in experts for p in module.parameters())
    return routed, sum(p.numel() for p in model.parameters()) - routed


@pytest.mark.parametrize("name", PUBLISHED)
def test_sizes_are_those_of_the_published_shape(name: str) -> None:
    card = models.entries()[name].card
    assert card is not None
    experts, others = weights(*PUBLISHED[name])
    assert (card.experts, card.others) == (2 * experts, 2 * others)
    draft = sum(weights(*DRAFTS[name])) if name in DRAFTS else 0
    assert card.draft == 2 * draft
    if name in STORED_PLAINLY:
        assert card.disk == card.experts + card.others


def test_every_entry_but_ours_has_a_card_a_commit_and_a_budget_that_fits() -> None:
    entries = models.entries()
    assert set(entries) == {"reference", "smollm2_moe", *PUBLISHED}
    for name in PUBLISHED:
        config = entries[name]
        card = config.card
        assert card is not None
        assert config.name == name
        assert all(model.pinned for model in config.downloads(ROOT)), name
        budget = parse_budget(card.budget)
        fast = 8 * 10**9 if name == "olmoe" else 24 * 10**9
        assert card.draft < budget < card.experts, name
        assert fast - 3.6e9 < card.others + budget <= fast - 2.4e9, name
        assert isinstance(config.chat, bool), name


@pytest.mark.parametrize("file", sorted((compose.CONF / "shape").glob("*.yaml")), ids=lambda file: file.stem)
def test_sizes_are_those_that_predictions_use(file: Path) -> None:
    from omegaconf import OmegaConf

    entry = models.entries().get(file.stem)
    if entry is None or entry.card is None:
        pytest.skip("no entry of that name")
    shape = OmegaConf.load(file)
    experts = 6 * shape.hidden * shape.intermediate * shape.experts * shape.moe_layers
    assert entry.card.experts == experts
    assert entry.card.others == pytest.approx(shape.other_bytes, rel=0.01)


def make(root: Path, family: str, **changes: Any) -> Any:
    model = save_target(root / "target", family, **changes)
    save_tokenizer(root)
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_is_told_without_loading_it(family: str, tmp_path: Path) -> None:
    model = make(tmp_path, family)
    report = inspect_folder(tmp_path / "target")
    routed = [p for name, p in model.named_parameters() if ".experts." in name]
    assert report.refusals == ()
    assert (report.family, report.experts, report.top_k) == (family, 8, 2 if family in ("mixtral", "phimoe") else 3)
    assert report.moe_layers == (3 if family == "deepseek_v2" else 4)
    assert report.expert_bytes == 4 * sum(p.numel() for p in routed)
    assert report.other_bytes == 4 * sum(p.numel() for p in model.parameters()) - report.expert_bytes
    assert dict(report.dtypes) == {"F32": report.expert_bytes + report.other_bytes}
    assert (report.vocabulary, report.tokens, report.hidden, report.chat) == (16, 16, 32, False)


@pytest.mark.parametrize("family", ["gpt_oss", "granitemoe"])
def test_experts_that_are_stored_together_are_counted(family: str, tmp_path: Path) -> None:
    sizes = {"num_local_experts": 8, "num_experts_per_tok": 2, "intermediate_size": 32, "head_dim": 8}
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from tests.systems.tiny import SIZES

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **{**SIZES, **sizes}))
    model.save_pretrained(tmp_path)
    modules = [module for module in model.modules() if type(module).__name__.endswith("Experts")]
    report = inspect_folder(tmp_path)
    assert (report.moe_layers, report.experts, report.top_k) == (4, 8, 2)
    assert report.expert_bytes == 4 * sum(p.numel() for module in modules for p in module.parameters())


def test_layers_beyond_the_models_are_not_counted(tmp_path: Path) -> None:
    make(tmp_path, "qwen3_moe")
    before = inspect_folder(tmp_path / "target")
    file = tmp_path / "target" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"num_hidden_layers": 3}))
    after = inspect_folder(tmp_path / "target")
    assert after.moe_layers == 3
    assert after.unread_bytes > before.expert_bytes // 4
    assert after.unread_bytes + after.expert_bytes + after.other_bytes == before.expert_bytes + before.other_bytes


BROKEN = {
    "no config": (lambda f: (f / "config.json").unlink(), "cannot be read"),
    "odd kind": (lambda f: (f / "config.json").write_text('{"model_type": "x"}'), "does not know"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "is missing"),
    "short weights": (
        lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-9]), "truncated",
    ),
    "quantised": (
        lambda f: (f / "config.json").write_text(
            json.dumps(json.loads((f / "config.json").read_text()) | {"quantization_config": {"quant_method": "awq"}})
        ),
        "quantised by awq",
    ),
    "odd numbers": (
        lambda f: (f / "config.json").write_text('{"model_type": "mixtral", "hidden_size": "x"}'), "cannot read",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole")
    save_draft(root / "draft", make(root, "mixtral"))
    return root


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_folder_is_refused_with_the_reason(case: str, whole: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(whole / "target", tmp_path / "target"))
    breaks, reason = BROKEN[case]
    breaks(folder)
    report = inspect_folder(folder)
    assert any(reason in refusal for refusal in report.refusals), report.refusals
    works, reasons = models.verdicts(report, None)
    assert not works
    assert list(reasons) == ["the target cannot be run"]


def test_a_dense_model_is_a_draft_and_no_target(whole: Path) -> None:
    draft, target = inspect_folder(whole / "draft", whole / "target"), inspect_folder(whole / "target")
    assert draft.problems == ()
    assert "no routed experts" in draft.refusals[0]
    alone, without = models.verdicts(target, None)
    works, reasons = models.verdicts(target, draft)
    assert {"offload", "prompt_lookup", "resident", "transformers"} <= set(alone)
    assert {"sd_offload", "sp_moe", "transformers_assisted"} <= set(works) - set(alone)
    assert "sd_offload" in without["needs a draft of the same vocabulary: model.draft=FOLDER"]
    assert "int4" in next(names for reason, names in reasons.items() if "INT4 copies in groups of 128" in reason)


def test_what_a_draft_lacks_is_said(whole: Path, tmp_path: Path) -> None:
    save_draft(tmp_path / "narrow", hidden_size=16, num_hidden_layers=2)
    target = inspect_folder(whole / "target")
    works, reasons = models.verdicts(target, inspect_folder(tmp_path / "narrow", whole / "target"))
    assert "sd_offload" in works
    wanted = "needs a draft of 4 layers and 32 hidden units; this one has 2 and 16"
    assert "sp_moe" in reasons[wanted]
    shutil.copy(whole / "tokenizer.json", tmp_path / "target.json")
    other = json.loads((whole / "tokenizer.json").read_text())
    other["model"]["vocab"] |= {"a": 2, "b": 1}
    (tmp_path / "narrow" / "tokenizer.json").write_text(json.dumps(other))
    shutil.copytree(whole / "target", tmp_path / "target")
    shutil.copy(whole / "tokenizer.json", tmp_path / "target")
    works, reasons = models.verdicts(target, inspect_folder(tmp_path / "narrow", tmp_path / "target"))
    assert "sd_offload" not in works
    assert any("different tokenizers" in reason for reason in reasons)


def test_a_folder_that_is_none_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is no folder"):
        inspect_folder(tmp_path / "nowhere")


@pytest.mark.parametrize(("count", "text"), [(999, "999 B"), (2_500, "2.5 kB"), (90_194_313_216, "90.2 GB")])
def test_sizes_are_read_by_people(count: int, text: str) -> None:
    assert models.size(count) == text


def test_the_command_shows_a_folder_and_the_entries(
    whole: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["models", *arguments])
        return models.main()

    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("HF_HUB_CACHE", str(whole / "empty"))
    assert run(str(whole / "target"), "--draft", str(whole / "draft")) == 0
    shown = capsys.readouterr().out
    for text in ("mixtral", "8 a layer, 2 for a token", "works: ", "sp_moe", "does not: "):
        assert text in shown, text
    assert run(str(whole / "draft")) == 1
    assert run(str(whole / "nowhere")) == 2
    assert run("olmoe") == 2
    assert "hf download allenai/OLMoE-1B-7B-0924" in capsys.readouterr().err
    assert run("reference") == 0
    own = capsys.readouterr().out
    assert "16 a layer, 2 for a token" in own
    missing = "the pair that ships works with everything that is installed"
    assert own.count("does not") == own.count("pip install"), missing
    assert run() == 0
    listed = capsys.readouterr().out
    assert "hf download Qwen/Qwen3-0.6B --revision c1899de289a04d12100db370d81485cdf75e47ca" in listed


def listed(width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    monkeypatch.setattr(sys, "argv", ["models"])
    monkeypatch.setenv("COLUMNS", str(width))
    assert models.main() == 0
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_the_names_to_type_are_whole_in_every_terminal(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = listed(width, monkeypatch, capsys)
    shown = lines[: next(place for place, line in enumerate(lines) if line.startswith("To get"))]
    assert max(map(len, shown)) <= width
    assert "…" not in "".join(shown)
    for name in models.entries():
        assert any(line.startswith(f"{name} ") for line in shown), name
    words = " ".join(" ".join(shown).split())
    assert all(heading in words for heading in models.HEADINGS)


@pytest.mark.parametrize("made", [False, True])
def test_a_model_without_a_card_is_here_if_its_folders_are(
    made: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(models, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "empty"))
    if made:
        for name in ("target", "draft"):
            (tmp_path / "models" / "checkpoints" / "smollm2" / name).mkdir(parents=True)
    lines = listed(80, monkeypatch, capsys)
    here = {line.split()[0]: line.split()[1] for line in lines if line.split()[1:2] in (["yes"], ["no"])}
    assert here["smollm2_moe"] == ("yes" if made else "no")
    assert here["reference"] == "no"
    assert lines.count("  python -m models.smollm2") == (not made)


def test_the_error_of_a_model_that_is_not_made_names_its_command(tmp_path: Path) -> None:
    entry = models.entries()["smollm2_moe"]
    with pytest.raises(BadInput, match=r"smollm2.target does not exist(.|\n)*python -m models\.smollm2\n"):
        entry.check_here(tmp_path)
    for name in ("target", "draft"):
        (tmp_path / "models" / "checkpoints" / "smollm2" / name).mkdir(parents=True)
    entry.check_here(tmp_path)


def test_reports_of_nothing_say_unknown() -> None:
    assert ("family", "unknown") in list(models.facts(FolderReport()))
