"""Every store serves the bytes of the checkpoint; damage is found, and mended where it can be."""

import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from systems.api import BadInput, ModelConfig, load_pair
from systems.runtime.checkpoint import index_experts
from systems.runtime.store import ExpertStore
from systems.runtime.stores import open_store
from tests.systems.tiny import make_pair, save_draft, save_target, save_tokenizer


def records(store: ExpertStore, first: int, count: int) -> list[torch.Tensor]:
    buffers = [torch.empty(store.shape.record_bytes(store.dtype), dtype=torch.uint8) for _ in range(count)]
    store.read(range(first, first + count), buffers)
    return [buffer.view(store.dtype).clone() for buffer in buffers]


@pytest.mark.parametrize("kind", ["ram", "pack", "checkpoint"])
@pytest.mark.parametrize("family", ["mixtral", "olmoe"])
def test_records_are_gate_up_down_of_the_checkpoint(kind: str, family: str, tmp_path: Path) -> None:
    save_target(tmp_path, family)
    index = index_experts(tmp_path)
    store = open_store(kind, index, torch.float32, tmp_path / "cache")
    tensors = load_file(tmp_path / "model.safetensors")
    names = ("w1", "w3", "w2") if family == "mixtral" else ("gate_proj", "up_proj", "down_proj")
    for offset, record in enumerate(records(store, first=7, count=3)):
        layer, expert = divmod(7 + offset, 8)
        stem = next(key for key in tensors if f"layers.{layer}." in key and f"experts.{expert}." in key).rsplit(".", 2)[
            0
        ]
        assert torch.equal(record, torch.cat([tensors[f"{stem}.{name}.weight"].flatten() for name in names]))
    store.close()


def test_a_pack_can_hold_another_dtype_and_the_checkpoint_cannot(tmp_path: Path) -> None:
    save_target(tmp_path)
    index = index_experts(tmp_path)
    pack = open_store("pack", index, torch.bfloat16, tmp_path / "cache")
    exact = records(open_store("ram", index, torch.float32, tmp_path), 3, 1)[0]
    assert torch.equal(records(pack, 3, 1)[0], exact.bfloat16())
    with pytest.raises(BadInput, match=r"model\.store=pack"):
        open_store("checkpoint", index, torch.bfloat16, tmp_path)


def test_a_damaged_pack_is_rebuilt(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_target(tmp_path)
    index = index_experts(tmp_path)
    before = records(open_store("pack", index, torch.float32, tmp_path / "cache"), 5, 1)[0]
    (pack,) = (tmp_path / "cache").iterdir()
    data = bytearray(pack.read_bytes())
    data[-100] ^= 0xFF
    pack.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        after = records(open_store("pack", index, torch.float32, tmp_path / "cache"), 5, 1)[0]
    assert "damaged at expert 31" in caplog.text
    assert torch.equal(before, after)


def test_an_intact_pack_is_reused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_target(tmp_path)
    for _ in range(2):
        caplog.clear()
        open_store("pack", index_experts(tmp_path), torch.float32, tmp_path / "cache").close()
    assert not caplog.text


def test_a_full_disk_names_the_pack_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_target(tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(BadInput, match=r"No space left.*model.cache_dir"):
        open_store("pack", index_experts(tmp_path), torch.float32, tmp_path / "cache")
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
