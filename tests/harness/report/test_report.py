"""Reports: all that a set holds, in three forms; and the page in a real browser."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.records.files import write_text
from harness.report import __main__ as command
from harness.report import forms
from harness.report.content import gather
from tests.harness.figures import made

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    made.everything(folder)
    failed = made.row("crashed", status="failed", reason="it broke", error="Traceback: <b>it broke</b>", metrics={})
    noisy = made.row("sd_offload", status="noisy", reason="known to 40 % only")
    made.publish(folder / "mine", [made.row("offload"), made.row("sp_moe"), noisy, failed])
    return folder


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["report", *arguments])
    return command.main()


def test_a_page_says_everything_and_needs_nothing(results: Path) -> None:
    page = forms.html(gather(results / "mine"))
    for said in ("offload", "2 ok", "1 failed", "emulated", "it broke", "known to 40 % only", "c0ffee", "tpot@2"):
        assert said in page, said
    assert "<b>it broke</b>" not in page, "texts of a run are escaped"
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page), "nothing is fetched"


def test_a_sweep_has_curves_its_figures_and_the_timeline(results: Path) -> None:
    report = gather(results / "budget")
    assert [section.title for section in report.curves] == ["TPOT ms by point", "hit rate by point"]
    assert report.curves[0].columns == ("system", *(f"{tenths / 10:.1f}" for tenths in range(1, 11)))
    assert [picture.name for picture in report.pictures] == ["budget", "timeline"]
    assert all(picture.data.startswith("data:image/svg+xml") for picture in report.pictures)
    assert 'download="timeline.json.gz"' in forms.html(report)


def test_a_figure_whose_records_are_missing_says_which(tmp_path: Path) -> None:
    made.publish(tmp_path / "budget" / "0.1", [made.row("offload")])
    pictures = gather(tmp_path / "budget").pictures
    assert not any(picture.data for picture in pictures)
    assert "1 of 10 points" in forms.html(gather(tmp_path / "budget"))


def test_markdown_and_csv_have_the_same_numbers(results: Path) -> None:
    report = gather(results / "mine")
    text, rows = forms.markdown(report), list(csv.DictReader(io.StringIO(forms.tidy(report))))
    tpot = next(float(row["value"]) for row in rows if (row["system"], row["metric"]) == ("offload", "tpot"))
    assert tpot == made.row("offload")["metrics"]["tpot"]["value"]
    assert f"{tpot * 1e3:.2f} [" in text
    assert next(row["reason"] for row in rows if row["system"] == "crashed") == "it broke"
    assert {row["unit"] for row in rows if row["metric"]} == {"-"}


def test_cells_are_sorted_by_their_first_number() -> None:
    assert forms.sortable("-*") == "", "unknown at a point that is not ok"
    assert [forms.sortable(text) for text in ("14.04 [13.39, 14.71]", "-", "ok", "-3.5")] == [14.04, "", "ok", -3.5]


def test_the_command_writes_all_forms_and_refuses_what_is_no_result(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, str(results / "mine"), f"--output={tmp_path / 'out'}") == 0
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"mine.html", "mine.md", "mine.csv"}
    assert run(monkeypatch, str(tmp_path / "nothing"), f"--output={tmp_path / 'out'}") == 2
    assert "nothing holds no summary.json" in capsys.readouterr().err
    write_text(results / "mine" / "broken.json", "{")
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "summary.json").write_text('{"schema": "spmo')
    assert run(monkeypatch, str(tmp_path / "half"), f"--output={tmp_path / 'out'}") == 2
    assert "half-written" in capsys.readouterr().err
    assert run(monkeypatch, str(tmp_path / "cutoff"), f"--output={tmp_path / 'out'}") == 2
    assert "make it with: python -m harness experiment=cutoff" in capsys.readouterr().err


def test_published_sets_are_found(results: Path) -> None:
    names = {folder.name for folder in command.published(ROOT / "results")}
    assert {"bench", "bench-all", "cutoff"} <= names
    assert not names & {"reference", "runs", "papers", "figures"}
    assert "alignment" not in {folder.name for folder in command.published(results)}


CHECK = """
<script>
const table = document.querySelector("#tables table");
const names = () => [...table.tBodies[0].rows].map((row) => row.cells[0].textContent);
const heading = [...table.querySelectorAll("thead th")].find((th) => th.textContent.startsWith("TPOT"));
const seen = [names()];
heading.firstElementChild.click(); seen.push(names());
heading.firstElementChild.click(); seen.push(names());
const broad = document.documentElement.scrollWidth > document.documentElement.clientWidth;
document.title = JSON.stringify({seen, broad, images: [...document.images].every((image) => image.naturalWidth > 0)});
</script>
"""


def browser() -> str:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("no Chromium: apt-get install chromium")
    return found


def opened(page: Path, *options: str) -> tuple[dict[str, Any], str]:
    """What `CHECK` noted on a page in a headless browser, and what went to the console."""
    ran = subprocess.run(
        [browser(), "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0", *options,
         "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    title = re.search(r"<title>(\{.*?\})</title>", ran.stdout)
    assert title, ran.stdout[:500]
    console = "\n".join(line for line in ran.stderr.splitlines() if "CONSOLE" in line)
    return json.loads(title[1].replace("&amp;", "&")), console


@pytest.mark.slow
@pytest.mark.parametrize("window", ["1200,900", "500,800"])
def test_in_a_browser_tables_sort_and_nothing_is_complained_of(results: Path, tmp_path: Path, window: str) -> None:
    page = tmp_path / "page.html"
    page.write_text(forms.html(gather(results / "mine")).replace("</body>", CHECK + "</body>"))
    noted, console = opened(page, f"--window-size={window}", "--virtual-time-budget=3000")
    assert console == ""
    first, up, down = noted["seen"]
    assert first == ["offload", "sp_moe", "sd_offload", "crashed"]
    times = {name: made.row(name)["metrics"]["tpot"]["value"] for name in first[:3]}
    assert up == [*sorted(times, key=lambda name: times[name]), "crashed"], "unknown ones stay last"
    assert [times[name] for name in down[:3]] == sorted(times.values(), reverse=True)
    assert down[-1] == "crashed"
    assert not noted["broad"], "nothing is cut off or needs scrolling sideways but the tables"
    assert noted["images"]
