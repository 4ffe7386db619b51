"""No Mixture-of-Experts family of the installed transformers is silently wrong: each runs exactly, or is refused."""

from pathlib import Path

import pytest
import torch

from models import moe_families

LINES = {
    line.split(" | ")[0].strip("| "): line
    for line in moe_families.DOCUMENT.read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and not line.startswith(("| family", "| ---"))
}
SOME = {"offload": (1,), "sd_offload": (3,), "sp_moe": (3,), "adapmoe": (1,)}
"""Rows at once by system, of what every run of the suite tries."""
MUST = ("gpt_oss", "qwen3_next", "qwen3_5_moe_text", "llama4_text", "deepseek_v3", "glm4_moe", "granitemoe", "jamba")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("family", LINES)
def test_a_family_is_exact_or_refused_as_the_document_says(family: str, tmp_path: Path) -> None:
    assert moe_families.judge(family, tmp_path, SOME).line() == LINES[family]


@pytest.mark.nightly
@pytest.mark.parametrize("family", LINES)
def test_a_family_is_so_alone_and_in_a_batch(family: str, tmp_path: Path) -> None:
    assert moe_families.judge(family, tmp_path).line() == LINES[family]


def test_the_document_has_every_family_of_the_installed_transformers() -> None:
    """One that a newer version adds is in neither, until `python -m models.moe_families` has judged it."""
    assert moe_families.families() == list(LINES)


def test_the_document_knows_no_third_kind() -> None:
    words = {family: line.split(" | ")[1] for family, line in LINES.items()}
    assert set(words.values()) <= {"exact", "refused"}
    assert sum(word == "exact" for word in words.values()) >= 52
    assert {words[family] for family in MUST} == {"exact"}
