"""Compact weights: what a row becomes, that they load as what they were rounded to, where they unfold, refusals."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from models import compacting
from models.publish import write_checksums
from systems.api import ModelConfig, load_pair
from systems.contract.errors import BadInput
from systems.files import compact
from systems.files.compact import COMPACT, PLAIN, UNFOLDED, unfolded
from systems.files.hashing import content_hash
from tests.systems.tiny import make_pair


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny pair whose target is compact."""
    make_pair(tmp_path / "pair").close()
    monkeypatch.setattr(compacting, "SMALL", 0)
    compacting.compact(tmp_path / "pair" / "target")
    return tmp_path / "pair"


def test_weights_are_whole_numbers_times_the_scale_of_their_columns() -> None:
    row = torch.cat([torch.linspace(-127, 127, 64) / 64, torch.full((64,), 0.5), torch.zeros(64)])
    row[1] = 1.3 / 64
    whole, scales = compacting.rounded(row[None])
    assert scales[0, :2].tolist() == [1 / 64, torch.tensor(0.5 / 127).bfloat16()], "the largest is 127 of each"
    assert whole[0, :2].tolist() == [-127, 1]
    assert whole[0, 64:128].tolist() == [127] * 64
    assert whole[0, 128:].tolist() == [0] * 64
    again = compact.scaled(whole, scales)[0].float()
    assert again[0] == -127 / 64
    assert torch.equal(again[128:], torch.zeros(64))
    assert (again - row)[:64].abs().max() <= 0.5 / 64 + 2**-8
    assert (again - row)[64:128].abs().max() <= 0.5 * 2**-8, "two roundings to bf16"


def test_rows_of_other_lengths_have_one_scale() -> None:
    whole, scales = compacting.rounded(torch.tensor([[127.0, -3.4, 0.6]]))
    assert (whole.tolist(), scales.tolist()) == ([[127, -3, 1]], [[1.0]])


def test_the_unfolded_weights_are_the_products_rounded_to_bf16(folder: Path) -> None:
    stored, plain = load_file(folder / "target" / COMPACT), load_file(unfolded(folder / "target") / PLAIN)
    matrices = [name for name in plain if name + compact.SCALES in stored]
    assert len(matrices) > 10
    for name in matrices:
        scales = (
            stored[name + compact.SCALES]
            .double()
            .repeat_interleave(plain[name].shape[1] // stored[name + compact.SCALES].shape[1], 1)
        )
        exact = (stored[name].double() * scales).bfloat16()
        assert plain[name].dtype == torch.bfloat16
        assert torch.equal(plain[name], exact)


def test_a_compact_pair_loads_and_its_folder_stays_as_it_is(folder: Path) -> None:
    before = sorted(path.name for path in (folder / "target").iterdir() if path.is_file())
    assert COMPACT in before
    assert PLAIN not in before
    first, second = (load_pair(ModelConfig("", "target", "draft", None), folder) for _ in range(2))
    assert first.describe()["target"] == second.describe()["target"]
    assert sorted(path.name for path in (folder / "target").iterdir() if path.is_file()) == before
    first.close()
    second.close()


def test_a_folder_that_cannot_be_written_unfolds_into_the_users_cache(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (folder / "target" / UNFOLDED).write_text("in the way")  # also where tests run as root
    place = unfolded(folder / "target")
    assert place.is_relative_to(tmp_path / "cache")
    assert (place / "config.json").is_file()
    assert unfolded(folder / "target") == place, "once"
    (tmp_path / "cache" / "spmoe-bench").chmod(stat.S_IRUSR | stat.S_IXUSR)
    assert unfolded(folder / "target") == place
    (tmp_path / "cache" / "spmoe-bench").chmod(stat.S_IRWXU)


def test_no_place_to_unfold_names_the_setting(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (folder / "target" / UNFOLDED).write_text("in the way")
    with pytest.raises(BadInput, match="XDG_CACHE_HOME"):
        unfolded(folder / "target")


def test_a_full_disk_is_a_place_that_does_not_take_them(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise SafetensorError("No space left on device")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(BadInput, match=r"No space left.*XDG_CACHE_HOME"):
        unfolded(folder / "target")
    assert not list((folder / "target" / UNFOLDED).iterdir()), "nothing is left behind"


def test_plain_weights_beside_compact_ones_are_those_that_are_read_and_checked(folder: Path) -> None:
    shutil.copyfile(unfolded(folder / "target") / PLAIN, folder / "target" / PLAIN)
    write_checksums(folder / "target")
    assert unfolded(folder / "target") == folder / "target"
    (folder / "target" / "SHA256SUMS").write_text("0" * 64 + f"  {PLAIN}\n")
    with pytest.raises(BadInput, match=rf"{PLAIN} is corrupted"):
        load_pair(ModelConfig("", "target", "draft", None), folder)


def test_another_process_that_unfolds_first_is_no_harm(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = compact._write_plain

    def meanwhile(source: Path, target: Path) -> None:
        write(source, target)
        place = target.parent.parent.parent
        shutil.copytree(target.parent, place / content_hash(source)[:16])

    monkeypatch.setattr(compact, "_write_plain", meanwhile)
    place = unfolded(folder / "target")
    assert (place / PLAIN).is_file()
    assert [path.name for path in place.parent.iterdir()] == [place.name], "nothing is left behind"


def test_new_weights_are_unfolded_anew(folder: Path) -> None:
    old = unfolded(folder / "target")
    stored = load_file(folder / "target" / COMPACT)
    stored["model.norm.weight"] = stored["model.norm.weight"] + 1
    save_file(stored, folder / "target" / COMPACT)
    new = unfolded(folder / "target")
    assert new != old
    change = load_file(new / PLAIN)["model.norm.weight"] - load_file(old / PLAIN)["model.norm.weight"]
    assert change.abs().min() > 0.9


def test_damage_is_refused_by_name(folder: Path) -> None:
    write_checksums(folder / "target")
    file = folder / "target" / COMPACT
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(BadInput, match=rf"{COMPACT} is corrupted"):
        load_pair(ModelConfig("", "target", "draft", None), folder)
    file.write_bytes(bytes(data[:40]))
    with pytest.raises(BadInput, match=rf"{COMPACT} is (corrupted|truncated)"):
        load_pair(ModelConfig("", "target", "draft", None), folder)
