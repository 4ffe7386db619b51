"""Checkpoints as people have them: what runs emits what stock transformers does, what does not is refused by name."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from systems.api import BadInput, ModelConfig, Request, Sampling, SystemConfig, load_pair
from systems.runtime.pair import Pair
from tests.systems.peers.test_peers import PEERS
from tests.systems.test_exactness import run
from tests.systems.tiny import SYSTEMS, VOCABULARY, requests, save_draft, save_target, save_tokenizer

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SLOTS = 12


def save(root: Path, target: dict[str, Any] | None = None, draft: dict[str, Any] | None = None) -> None:
    """Save a pair that shares most weights, with changes to the config of either."""
    save_draft(root / "draft", save_target(root / "target", **(target or {})), **(draft or {}))
    save_tokenizer(root)


def load(root: Path, **values: Any) -> Pair:
    pair = load_pair(
        ModelConfig(**{"name": "", "target": "target", "draft": "draft", "tokenizer": None} | values), root
    )
    assert isinstance(pair, Pair)
    return pair


def stock(folder: Path, request: Request, dtype: str = "float32", **options: Any) -> list[int]:
    """What `generate` of transformers emits greedily."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, experts_implementation="eager", dtype=getattr(torch, dtype))
    prompt = torch.tensor([request.prompt])
    output = model.eval().generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=request.max_new_tokens,
        do_sample=False,
        pad_token_id=0,
        **options,
    )
    return list(output[0, len(request.prompt) :].tolist())


def emitted(system: str | SystemConfig, pair: Pair, batch: list[Request]) -> list[list[int]]:
    config = SYSTEMS[system] if isinstance(system, str) else system
    meter, _ = run(config, pair, batch, SLOTS)
    return meter.tokens


def as_downloaded(hub: Path, folder: Path, repo: str, commit: str = COMMIT) -> None:
    """Put a folder's files where the hub's cache keeps them: content by hash, and links to it in a snapshot."""
    home = hub / f"models--{repo.replace('/', '--')}"
    snapshot = home / "snapshots" / commit
    for part in (home / "blobs", home / "refs", snapshot):
        part.mkdir(parents=True, exist_ok=True)
    (home / "refs" / "main").write_text(commit)
    for file in folder.iterdir():
        blob = home / "blobs" / hashlib.sha256(file.read_bytes()).hexdigest()
        shutil.copy(file, blob)
        (snapshot / file.name).symlink_to(os.path.relpath(blob, snapshot))


@pytest.mark.parametrize("store", ["pack", "checkpoint"])
def test_the_hubs_cache_is_read_through_its_links(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path)
    shutil.copy(tmp_path / "tokenizer.json", tmp_path / "target")
    for role in ("target", "draft"):
        as_downloaded(tmp_path / "cache" / "hub", tmp_path / role, f"tiny/{role}")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    named = {"target": f"hf://tiny/target@{COMMIT}", "draft": "hf://tiny/draft"}
    pair = load(tmp_path, **named, store=store, cache_dir=str(tmp_path / "packs"))
    assert pair.name == "target"
    (request,) = requests(1)
    assert emitted("sd_offload", pair, [request]) == [stock(tmp_path / "target", request)]
    pair.close()


@pytest.mark.parametrize("store", ["pack", "checkpoint"])
def test_folders_may_have_spaces_and_any_letters(store: str, tmp_path: Path) -> None:
    root = tmp_path / "modèles à moi" / "Mixtral 8×7B, дом"
    save(root)
    pair = load(root, target=str(root / "target"), store=store, cache_dir=str(root / "packs"))
    assert pair.name == "Mixtral 8×7B, дом"
    (request,) = requests(1)
    assert emitted("sd_offload", pair, [request]) == [stock(root / "target", request)]
    pair.close()


@pytest.mark.parametrize("store", ["pack", "checkpoint"])
def test_an_experts_matrices_may_lie_in_different_files(store: str, tmp_path: Path) -> None:
    save(tmp_path)
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tmp_path / "target")
    (tmp_path / "target" / "model.safetensors").unlink()
    model.save_pretrained(tmp_path / "target", max_shard_size="10KB")
    files = json.loads((tmp_path / "target" / "model.safetensors.index.json").read_text())["weight_map"]
    owners: dict[str, set[str]] = {}
    for name, file in files.items():
        owners.setdefault(name.rsplit(".", 2)[0], set()).add(file)
    assert max(len(owner) for name, owner in owners.items() if "experts." in name) > 1, "some expert is divided"
    pair = load(tmp_path, store=store, cache_dir=str(tmp_path / "packs"))
    (request,) = requests(1)
    assert emitted("offload", pair, [request]) == [stock(tmp_path / "target", request)]
    pair.close()


STOPS: dict[str, tuple[Any, str | None, set[int]]] = {
    "several": ([3, 5], None, {3, 5}),
    "one": (4, None, {4}),
    "of the tokenizer alone": (None, "c", {3}),
    "of both": ([5], "c", {3, 5}),
    "none": (None, None, set()),
}


@pytest.mark.parametrize("case", STOPS)
def test_any_stop_token_ends_wherever_it_is_named(case: str, tmp_path: Path) -> None:
    named, word, expected = STOPS[case]
    save(tmp_path)
    file = tmp_path / "target" / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"eos_token_id": named}))
    settings = tmp_path / "tokenizer_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | ({"eos_token": word} if word else {})))
    pair = load(tmp_path)
    assert pair.stop_tokens == expected
    pair.close()


def test_outputs_end_where_those_of_transformers_do(tmp_path: Path) -> None:
    save(tmp_path)
    (request,) = requests(1, 24)
    whole = stock(tmp_path / "target", request)
    stops = sorted({whole[4], whole[9]})
    file = tmp_path / "target" / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"eos_token_id": stops}))
    pair = load(tmp_path)
    from systems.api import NullMeter

    meter = NullMeter([24], pair.stop_tokens)
    meter.commit(0, whole)
    assert meter.tokens == [stock(tmp_path / "target", request)], "several stop tokens, as `generate` takes them"
    assert len(meter.tokens[0]) <= 5
    pair.close()


EVERYBODY = ("offload", "sd_offload", "moe_speq", PEERS["transformers"], PEERS["transformers_assisted"])


@pytest.mark.parametrize(
    ("target", "draft", "systems"),
    [
        (24, 20, EVERYBODY),
        (20, 24, ("sd_offload", PEERS["transformers_assisted"])),
        (16, 18, ("sd_offload",)),
        (20, 16, ("sd_offload",)),
    ],
    ids=["draft shorter", "draft longer", "draft alone padded", "target alone padded"],
)
def test_vocabularies_may_differ_by_padding(
    target: int, draft: int, systems: tuple[str | SystemConfig, ...], tmp_path: Path
) -> None:
    save_target(tmp_path / "target", vocab_size=target)
    save_tokenizer(tmp_path)
    save_draft(tmp_path / "draft", vocab_size=draft)
    pair = load(tmp_path)
    assert pair.vocab_size == VOCABULARY
    batch = requests(2)
    padding = list(range(VOCABULARY, target))
    expected = [stock(tmp_path / "target", request, suppress_tokens=padding or None) for request in batch]
    if target > VOCABULARY:
        free = [stock(tmp_path / "target", request) for request in batch]
        assert max(map(max, free)) >= VOCABULARY, "nothing would show a missing mask"
    for system in systems:
        assert emitted(system, pair, batch) == expected, system
    sampled = [Request("s", (1, 2, 3), 30, Sampling(1.0, seed=seed)) for seed in range(2)]
    assert max(map(max, emitted("sd_offload", pair, sampled))) < VOCABULARY
    pair.close()


def test_a_draft_that_lacks_tokens_is_refused(tmp_path: Path) -> None:
    save(tmp_path)
    save_draft(tmp_path / "draft", vocab_size=VOCABULARY - 1)
    with pytest.raises(BadInput, match="draft knows 15 tokens, the target 16, of which the tokenizer has 16"):
        load(tmp_path)


def test_a_tokenizer_saved_again_is_the_same(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    save(tmp_path)
    shutil.copy(tmp_path / "tokenizer.json", tmp_path / "target")
    AutoTokenizer.from_pretrained(tmp_path, local_files_only=True).save_pretrained(tmp_path / "draft")
    file = tmp_path / "draft" / "tokenizer.json"
    plain = json.loads(file.read_text())
    plain["truncation"] = {"direction": "Right", "max_length": 9, "strategy": "LongestFirst", "stride": 0}
    file.write_text(json.dumps(plain, indent=4, sort_keys=True))
    assert file.read_bytes() != (tmp_path / "target" / "tokenizer.json").read_bytes()
    load(tmp_path).close()


@pytest.mark.parametrize("change", [{"a": 2, "b": 1}, {"ä": 1}])
def test_a_tokenizer_of_other_ids_is_refused_by_token(change: dict[str, int], tmp_path: Path) -> None:
    save(tmp_path)
    own = json.loads((tmp_path / "tokenizer.json").read_text())
    if "ä" in change:
        del own["model"]["vocab"]["a"]
    own["model"]["vocab"] |= change
    (tmp_path / "draft" / "tokenizer.json").write_text(json.dumps(own))
    with pytest.raises(BadInput, match=r"different tokenizers: ('a' is 1|1 is 'a')"):
        load(tmp_path)


def test_a_draft_without_a_tokenizer_takes_the_targets(tmp_path: Path) -> None:
    save(tmp_path)
    assert not list((tmp_path / "draft").glob("tokenizer*"))
    pair = load(tmp_path)
    (request,) = requests(1)
    assert emitted("sd_offload", pair, [request]) == [stock(tmp_path / "target", request)]
    pair.close()


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe"])
def test_tied_embeddings_are_there_once(family: str, tmp_path: Path) -> None:
    untied, tied = tmp_path / "untied", tmp_path / "tied"
    sizes = []
    for root, tie in ((untied, False), (tied, True)):
        save_target(root / "target", family, tie_word_embeddings=tie)
        save_tokenizer(root)
        pair = load(root, draft=None)
        sizes.append(pair.non_expert_bytes)
        (request,) = requests(1)
        assert emitted("offload", pair, [request]) == [stock(root / "target", request)]
        pair.close()
    assert sizes[0] - sizes[1] == VOCABULARY * 32 * 4, "one matrix of embeddings less"


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("loaded", ["as stored", "float32"])
def test_halves_are_computed_as_they_are_or_widened(dtype: str, loaded: str, tmp_path: Path) -> None:
    save(tmp_path)
    for role in ("target", "draft"):
        file = tmp_path / role / "model.safetensors"
        halves = {name: tensor.to(getattr(torch, dtype)) for name, tensor in load_file(file).items()}
        save_file(halves, file, {"format": "pt"})
    wanted = dtype if loaded == "as stored" else "float32"
    pair = load(tmp_path, dtype=wanted)
    batch = requests(2)
    expected = [stock(tmp_path / "target", request, wanted) for request in batch]
    assert [emitted("offload", pair, [request])[0] for request in batch] == expected
    pair.close()


QUANTISED: dict[str, tuple[dict[str, Any], str]] = {
    "gptq": ({"quant_method": "gptq", "bits": 4, "group_size": 128}, r"gptq \(4 bits\)"),
    "awq": ({"quant_method": "awq", "bits": 4, "zero_point": True}, r"awq \(4 bits\)"),
    "bitsandbytes": ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes"),
    "old bitsandbytes": ({"load_in_8bit": True}, "bitsandbytes"),
    "compressed": ({"quant_method": "compressed-tensors", "format": "pack-quantized"}, "compressed-tensors"),
    "unnamed": ({"bits": 3}, "an unnamed method"),
}


@pytest.mark.parametrize("role", ["target", "draft"])
@pytest.mark.parametrize("case", QUANTISED)
def test_quantised_weights_are_refused_by_method(case: str, role: str, tmp_path: Path, whole: Path) -> None:
    shutil.copytree(whole, tmp_path / "pair")
    settings, message = QUANTISED[case]
    file = tmp_path / "pair" / role / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"quantization_config": settings}))
    with pytest.raises(BadInput, match=f"{role}: the weights are quantised by {message}.*use the checkpoint"):
        load(tmp_path / "pair")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole")
    save(root)
    return root


def _as_bin(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _as_gguf(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-Q4_K_M.gguf")


def _dangling(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to("../../blobs/gone")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_as_bin, r"only safetensors are read, and .* has pytorch_model\.bin"),
        (_as_gguf, r"only safetensors are read, and .* has model-Q4_K_M\.gguf"),
        (_dangling, r"it is a link to \.\./\.\./blobs/gone, which is gone: download the model again"),
    ],
)
def test_weights_in_another_form_are_named(
    change: Callable[[Path], None], message: str, tmp_path: Path, whole: Path
) -> None:
    shutil.copytree(whole, tmp_path / "pair")
    change(tmp_path / "pair" / "target")
    with pytest.raises(BadInput, match=message):
        load(tmp_path / "pair")


def test_a_changed_checkpoint_never_meets_the_pack_of_the_old_one(tmp_path: Path) -> None:
    """Not even where name, size and time of the file are what they were."""
    save(tmp_path)
    file = tmp_path / "target" / "model.safetensors"
    (request,) = requests(1)
    outputs = []
    for seed in (0, 5):
        if seed:
            times, size = file.stat(), file.stat().st_size
            save_target(tmp_path / "target", seed=seed)
            os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
            assert (file.stat().st_size, file.stat().st_mtime_ns) == (size, times.st_mtime_ns)
        pair = load(tmp_path, draft=None, store="pack", cache_dir=str(tmp_path / "packs"))
        outputs += emitted("offload", pair, [request])
        assert outputs[-1] == stock(tmp_path / "target", request)
        pair.close()
    assert outputs[0] != outputs[1]
    assert len(list((tmp_path / "packs").iterdir())) == 2


def test_the_same_checkpoint_elsewhere_shares_its_pack(tmp_path: Path) -> None:
    save(tmp_path)
    shutil.copytree(tmp_path / "target", tmp_path / "copy")
    for target in ("target", "copy"):
        load(tmp_path, target=target, draft=None, store="pack", cache_dir=str(tmp_path / "packs")).close()
    assert len(list((tmp_path / "packs").iterdir())) == 1


def test_a_pointer_of_git_lfs_is_told_from_weights(tmp_path: Path) -> None:
    save_target(tmp_path / "target")
    save_tokenizer(tmp_path)
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 12\n"
    (tmp_path / "target" / "model.safetensors").write_text(pointer)
    with pytest.raises(BadInput, match=r"model\.safetensors is a pointer of Git LFS; .*git lfs pull"):
        load_pair(ModelConfig("tiny", "target", None, "."), tmp_path)
