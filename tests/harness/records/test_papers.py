"""The papers' numbers can be read, say what they are, and a wrong line is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.records import papers
from systems.api import BadInput

GOOD = "2510.10302,Fig. 10,SP-MoE,RTX 3090,Mixtral-8x7B,HumanEval,batch=1 memory=7GB,tpot,s,0.83,bar"


def written(folder: Path, *lines: str, columns: str = ",".join(papers.COLUMNS)) -> Path:
    path = folder / "some.csv"
    path.write_text("\n".join([columns, *lines]) + "\n")
    return path


def test_every_published_number_reads() -> None:
    found = list(papers.everything())
    assert {one.paper for one in found} >= {"2510.10302", "2511.14102", "2604.10152", "2508.21706", "2505.19645"}
    bar = [
        one
        for one in found
        if (one.where, one.system, one.machine, one.model) == ("Fig. 10", "SP-MoE", "RTX 3090 PCIe4", "Mixtral-8x7B")
    ]
    assert [one.seconds for one in bar] == [0.830]
    assert all("third party" in one.note for one in found if one.where in ("Fig. 9", "Fig. 10", "Fig. 13"))
    assert all(0 <= one.value <= 100 for one in found if one.unit == "%")


def test_a_line_becomes_a_number_with_its_settings(tmp_path: Path) -> None:
    (one,) = papers.load(written(tmp_path, GOOD))
    assert one.settings == {"batch": "1", "memory": "7GB"}
    assert one.seconds == 0.83
    (in_ms,) = papers.load(written(tmp_path, GOOD.replace(",s,", ",ms,")))
    assert in_ms.seconds == pytest.approx(0.83e-3)
    (share,) = papers.load(written(tmp_path, GOOD.replace(",s,", ",%,")))
    with pytest.raises(ValueError, match="not in s or ms"):
        _ = share.seconds


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (GOOD.replace("0.83", "fast"), r"some\.csv:2: `value` is 'fast'"),
        (GOOD.replace("0.83", "nan"), r"some\.csv:2: `value` is nan"),
        (GOOD.replace("2510.10302", "SP-MoE"), "an arXiv id"),
        (GOOD.replace(",s,", ",hours,"), "`unit` is 'hours'"),
        (GOOD.replace("Fig. 10", ""), "`where` is empty"),
        (GOOD.rsplit(",", 3)[0], "`value` is ''"),
        (GOOD + "\n" + GOOD, r"some\.csv:3 says the same"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        papers.load(written(tmp_path, line))


def test_wrong_columns_and_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="has the columns"):
        papers.load(written(tmp_path, GOOD, columns="a,b"))
    with pytest.raises(BadInput, match=r"none\.csv is missing"):
        papers.load(tmp_path / "none.csv")
