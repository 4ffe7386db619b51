"""Compact weights: what a row becomes, that they load as what they were rounded to, where they unfold, what is refused."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from models import compacting
from models.publish import write_checksums
from systems.api import ModelConfig, load_pair
from systems.contract.errors import BadInput
from systems.files import compact
from systems.files.compact import COMPACT, PLAIN, UNFOLDED, unfolded
from systems.files.weight_files import content_hash
from tests.systems.tiny import make_pair


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny pair whose target is compact."""
    make_pair(tmp_path / "pair").close()
    monkeypatch.setattr(compacting, "SMALL", 0)
    compacting.compact(tmp_path / "pair" / "target")
    return tmp_path / "pair"


def test_a_row_is_whole_numbers_times_the_smallest_power_of_two_that_holds_it() -> None:
    rows = torch.tensor([[127.0, -3.4, 0.6], [128.0, 1.0, 3.0], [-0.5, 0.25, 0.0], [0.0, 0.0, 0.0]])
    whole, exponents = compacting.rounded(rows)
    assert exponents[:3].tolist() == [0, 1, -7], "127 steps of 1; of 2; 64 of 1/128 (64 of 1/256 would be 128)"
    assert whole.tolist() == [[127, -3, 1], [64, 0, 2], [-64, 32, 0], [0, 0, 0]]


def test_bf16_holds_every_compact_weight_exactly(folder: Path) -> None:
    stored, plain = load_file(folder / "target" / COMPACT), load_file(unfolded(folder / "target") / PLAIN)
    matrices = [name for name in plain if name + compact.EXPONENT in stored]
    assert len(matrices) > 10
    for name in matrices:
        exact = stored[name].double() * 2.0 ** stored[name + compact.EXPONENT].double()[:, None]
        assert plain[name].dtype == torch.bfloat16
        assert torch.equal(plain[name].double(), exact)
        again, exponents = compacting.rounded(plain[name])
        assert torch.equal(torch.ldexp(again.float(), exponents.int()[:, None]), plain[name].float()), "no second loss"


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
