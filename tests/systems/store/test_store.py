"""Every store serves the bytes of the checkpoint; damage is found, and mended where it can be."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from systems.api import BadInput, ModelConfig, load_pair
from systems.runtime.pair import Pair
from systems.store.checkpoint import ExpertShape
from systems.store.store import ExpertStore, RamStore
from tests.systems.tiny import make_pair, save_draft, save_target, save_tokenizer


def records(store: ExpertStore, first: int, count: int) -> list[torch.Tensor]:
    """The numbers of records, part by part and row by row, however they lie."""
    buffers = [torch.empty(store.shape.record_bytes(store.dtype), dtype=torch.uint8) for _ in range(count)]
    store.read(range(first, first + count), buffers)
    parts = [store.shape.split(buffer.view(store.dtype)) for buffer in buffers]
    return [torch.cat([part.flatten() for part in record]) for record in parts]


def opened(root: Path, kind: str, dtype: str = "float32", family: str = "mixtral", changes: Any = None) -> ExpertStore:
    """The store of a target, which is made where there is none."""
    if not (root / "target").exists():
        save_target(root / "target", family, **(changes or {}))
        save_tokenizer(root)
    pair = load_pair(ModelConfig(family, "target", None, ".", dtype, kind, "cache"), root)  # type: ignore[arg-type]
    assert isinstance(pair, Pair)
    return pair.store


@pytest.mark.parametrize("kind", ["ram", "pack", "checkpoint"])
@pytest.mark.parametrize("family", ["mixtral", "olmoe"])
def test_records_are_gate_up_down_of_the_checkpoint(kind: str, family: str, tmp_path: Path) -> None:
    store = opened(tmp_path, kind, family=family)
    tensors = load_file(tmp_path / "target" / "model.safetensors")
    names = ("w1", "w3", "w2") if family == "mixtral" else ("gate_proj", "up_proj", "down_proj")
    for offset, record in enumerate(records(store, first=7, count=3)):
        layer, expert = divmod(7 + offset, 8)
        stem = next(key for key in tensors if f"layers.{layer}." in key and f"experts.{expert}." in key).rsplit(".", 2)[
            0
        ]
        assert torch.equal(record, torch.cat([tensors[f"{stem}.{name}.weight"].flatten() for name in names]))
    store.close()


@pytest.mark.parametrize("by_inputs", [False, True])
def test_matrices_lie_as_the_shape_says_and_biases_as_ever(by_inputs: bool) -> None:
    parts = (("gate_up_proj", (6, 4)), ("gate_up_proj_bias", (6,)), ("down_proj", (4, 3)))
    store = RamStore(ExpertShape((0, 1), 2, 4, 3, parts, by_inputs=by_inputs), torch.float32)
    given = [torch.randn(2, *size) for _, size in parts]
    for part, weights in enumerate(given):
        store.put(1, part, weights)
    for expert in range(2):
        found = store.shape.split(store.record(2 + expert).view(torch.float32))
        assert all(torch.equal(own, weights[expert]) for own, weights in zip(found, given, strict=True))
        assert found[0].stride() == ((1, 6) if by_inputs else (4, 1))


def test_all_stores_serve_the_same_records_of_more_experts_than_have_one_digit(tmp_path: Path) -> None:
    """Experts are in the order of their numbers, not of their names."""
    stores = [opened(tmp_path, kind, changes={"num_local_experts": 12}) for kind in ("ram", "pack", "checkpoint")]
    first, *others = [records(store, 0, store.shape.count) for store in stores]
    assert first[2].ne(first[10]).any()
    for other in others:
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(first, other, strict=True))


def test_experts_that_are_not_stored_as_the_model_has_them_are_refused_by_the_checkpoint_store(tmp_path: Path) -> None:
    save_target(tmp_path / "target", "granitemoe", num_local_experts=8, num_experts_per_tok=2, intermediate_size=24)
    save_tokenizer(tmp_path)
    assert opened(tmp_path, "pack").shape.experts == 8
    rewritten = load_file(tmp_path / "target" / "model.safetensors")
    assert any("input_linear" in name for name in rewritten), "the hub's names"
    assert torch.equal(records(opened(tmp_path, "ram"), 3, 1)[0], records(opened(tmp_path, "checkpoint"), 3, 1)[0])


def test_a_pack_can_hold_another_dtype_and_the_checkpoint_cannot(tmp_path: Path) -> None:
    exact = records(opened(tmp_path, "ram"), 3, 1)[0]
    assert torch.equal(records(opened(tmp_path, "pack", "bfloat16"), 3, 1)[0], exact.bfloat16())
    with pytest.raises(BadInput, match=r"model\.store=pack"):
        opened(tmp_path, "checkpoint", "bfloat16")


def test_a_damaged_pack_is_rebuilt(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = records(opened(tmp_path, "pack"), 5, 1)[0]
    (pack,) = (tmp_path / "cache").iterdir()
    data = bytearray(pack.read_bytes())
    data[-100] ^= 0xFF
    pack.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        after = records(opened(tmp_path, "pack"), 5, 1)[0]
    assert "damaged at expert 31" in caplog.text
    assert torch.equal(before, after)


def test_an_intact_pack_is_reused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        caplog.clear()
        opened(tmp_path, "pack").close()
    assert not caplog.text


def test_a_full_disk_names_the_pack_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    save_target(tmp_path / "target")
    save_tokenizer(tmp_path)
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(BadInput, match=r"No space left.*model.cache_dir"):
        opened(tmp_path, "pack")
    assert not list((tmp_path / "cache").iterdir())


def broken(root: Path, damage: str) -> None:
    save_draft(root / "draft", save_target(root / "target"))
    save_tokenizer(root)
    weights = root / "target" / "model.safetensors"
    data = weights.read_bytes()
    if damage == "missing":
        weights.unlink()
    elif damage == "truncated":
        weights.write_bytes(data[:-1000])
    elif damage == "header":
        weights.write_bytes(data[:8] + b"\xff" * 100 + data[108:])
    elif damage == "checksum":
        (root / "target" / "SHA256SUMS").write_text("0" * 64 + "  model.safetensors\n")
    elif damage == "vocabulary":
        save_draft(root / "draft", vocab_size=15)
    elif damage == "dense":
        save_draft(root / "target")
    elif damage == "tokenizer":
        (root / "tokenizer.json").unlink()
    elif damage == "folder":
        (root / "target").rename(root / "elsewhere")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("missing", "model.safetensors is missing"),
        ("truncated", "truncated"),
        ("header", "corrupted"),
        ("checksum", "SHA-256"),
        ("vocabulary", "15 tokens"),
        ("dense", "no routed experts"),
        ("tokenizer", "tokenizer.json is missing"),
        ("folder", "does not exist"),
    ],
)
def test_bad_files_are_named(damage: str, message: str, tmp_path: Path) -> None:
    broken(tmp_path, damage)
    with pytest.raises(BadInput, match=message):
        load_pair(ModelConfig("tiny", "target", "draft", "."), tmp_path)


def test_a_pair_can_live_in_a_pack(tmp_path: Path) -> None:
    pair = make_pair(tmp_path, store="pack")
    assert pair.expert_bytes == 32 * pair.record_bytes
    pair.close()
