"""Figures from stored records: all of them, the same bytes every time, and refusals that say what to do."""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from harness.config.compose import CONF
from harness.figures import FIGURES
from harness.figures.__main__ import FiguresConfig, draw, main
from harness.figures.drawing import picture, style
from harness.figures.drawing.base import data_hash, entry
from harness.figures.drawing.labels import _hits
from harness.figures.drawing.sources import Experiment
from harness.records.files import dump
from harness.records.published import Missing
from harness.records.summary_file import packed
from systems.api import BadInput
from tests.harness.figures import made

ROOT = Path(__file__).parents[3]
COMMITTED = ROOT / "results" / "figures"
SHOWN = "tpot", "who_wins"
"""What the README shows; `make figures` draws the others."""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    made.everything(folder)
    return folder


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    monkeypatch.setattr(sys, "argv", ["harness.figures", *arguments])
    return main()


def config(results: Path, output: Path, figure: Any = "all") -> FiguresConfig:
    return FiguresConfig(figure, str(results), str(output), "runs")


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_drawn_with_its_numbers_and_its_origin(name: str, results: Path) -> None:
    figure = FIGURES[name]
    record = figure.record(results)
    drawn = picture.render(figure, record)
    assert record == json.loads(dump(figure.record(results))), "numbers survive the sidecar"
    assert record["data_hash"] == data_hash(record["data"])
    assert all((results / facts["file"]).is_file() for facts in record["sources"])
    ElementTree.fromstring(drawn)
    for said in (record["data_hash"], *(facts["sha256"] for facts in record["sources"])):
        assert said in drawn, "the metadata names its data and records"
    assert ("emulated" in record["marks"]) == (
        name not in ("prediction", "routing_fidelity", "moesd_activation", "moesd_dense", "moesd_speedup", "who_wins")
    )


def test_the_same_records_give_the_same_bytes(results: Path) -> None:
    for name in ("budget", "timeline"):
        figure = FIGURES[name]
        assert picture.render(figure, figure.record(results)) == picture.render(figure, figure.record(results)), name


def test_replayed_times_are_marked(tmp_path: Path) -> None:
    made.publish(tmp_path / "ablation", [made.row("sp_moe", replayed=True), made.row("sd_offload", replayed=True)])
    record = FIGURES["ablation"].record(tmp_path)
    assert record["marks"] == ["emulated", "replayed"]
    assert "<dc:description>emulated, replayed</dc:description>" in picture.render(FIGURES["ablation"], record)


def test_what_is_not_ok_and_what_is_unknown_is_still_drawn(tmp_path: Path) -> None:
    rows = [made.row(name) for name in made.ALL]
    rows[3] |= {"status": "noisy"}
    rows[4] |= {"status": "did_not_fit", "metrics": {}}
    made.publish(tmp_path / "bench-all", rows)
    for name in ("tpot", "hit_rate", "breakdown", "time_share", "pareto"):
        record = FIGURES[name].record(tmp_path)
        assert picture.render(FIGURES[name], record)
        if name == "tpot":
            assert record["data"]["profiles"]["fine_grained"][-1]["status"] == "did_not_fit"


@pytest.mark.parametrize("name", SHOWN)
def test_committed_figures_are_what_the_committed_records_draw(name: str) -> None:
    """Byte for byte in their numbers."""
    text = dump(FIGURES[name].record(ROOT / "results"), indent=1, depth=3) + "\n"
    assert (COMMITTED / f"{name}.json").read_text() == text, "run make figures"


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_cut_off_and_no_legend_covers_the_footer(name: str) -> None:
    from matplotlib.text import Text

    canvas = picture.compose(FIGURES[name], FIGURES[name].record(ROOT / "results"))
    canvas.draw_without_rendering()
    ticks = [
        label
        for axes in canvas.axes
        for axis in (axes.xaxis, axes.yaxis)
        for label in axis.get_ticklabels(which="both")
    ]
    for text in canvas.findobj(Text):
        assert isinstance(text, Text)
        if text.get_text() and text.get_visible() and text not in ticks:  # ticks beyond the axis are not drawn
            box = text.get_window_extent()
            assert -1 <= box.x0 <= box.x1 <= canvas.bbox.x1 + 1, text.get_text()
            assert -1 <= box.y0 <= box.y1 <= canvas.bbox.y1 + 1, text.get_text()
    _, panels, footer = canvas.subfigs
    for legend in panels.legends:
        assert not any(legend.get_window_extent().overlaps(text.get_window_extent()) for text in footer.texts)


def test_what_the_warm_up_foretold_stands_beside_what_was_measured(results: Path, tmp_path: Path) -> None:
    """A step's time over the tokens that a step yields; records of before it was foretold are drawn without."""
    data = FIGURES["cutoff"].record(results)["data"]["profiles"]["fine_grained"]
    assert [item["cutoff"] for item in data["predicted"]] == [item["cutoff"] for item in data["cutoffs"]]
    assert data["predicted"][5] == {"cutoff": 5, "tpot": 12.5}
    assert "foretold by replaying the warm-up" in picture.render(FIGURES["cutoff"], FIGURES["cutoff"].record(results))
    made.publish(tmp_path / "cutoff", [made.row("sp_moe@1", description={"cutoff": 1}), made.row("sp_moe@auto")])
    assert "predicted" not in FIGURES["cutoff"].record(tmp_path)["data"]["profiles"]["fine_grained"]


@pytest.mark.parametrize(("drafts", "kind"), [({}, "decodes plainly"), ({"draft_length": 2}, "draft model")])
def test_a_system_of_ones_own_has_the_colour_of_what_it_does(drafts: dict[str, int], kind: str) -> None:
    assert style.kind_of(entry(made.row("mine", description=drafts))) == kind


def test_no_two_systems_look_alike() -> None:
    assert len(set(style.LOOKS.values())) == len(style.LOOKS)
    coloured = [colour for colour, _ in style.LOOKS.values() if colour not in (style.GREY, style.BLACK)]
    assert len(set(coloured)) == len(coloured), "only bounds share their colours"


def test_the_command_draws_one_and_names_what_is_missing(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [f"results={results}", f"output={tmp_path}"]
    assert run(monkeypatch, "figure=[cutoff,ablation]", *asked) == 0
    assert {file.name for file in tmp_path.iterdir()} == {"cutoff.svg", "cutoff.json", "ablation.svg", "ablation.json"}
    assert "2 of 2 figures drawn" in capsys.readouterr().out
    assert run(monkeypatch, "figure=budget", f"results={tmp_path}", f"output={tmp_path}") == 1
    assert "make it with: python -m harness --multirun experiment=budget" in capsys.readouterr().err
    assert run(monkeypatch, "figure=cutof", *asked) == 2
    assert "no figure `cutof`; did you mean `cutoff`?" in capsys.readouterr().err
    assert run(monkeypatch, "figures=cutoff", *asked) == 2
    assert "no config key `figures`; did you mean `figure`?" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert run(monkeypatch, "figure=cutoff", f"results={results}", f"output={tmp_path / 'file'}") == 2
    assert "cannot write" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"schema": "spmoe-bench/summ', "half-written or no JSON"),
        ('{"schema": "spmoe-bench/summary/1", "rows": []}', "has schema spmoe-bench/summary/1"),
        (json.dumps(packed("k", [])), "has no rows"),
        ("[]", "holds no JSON object"),
        ('{"schema": "spmoe-bench/summary/2", "key": "k"}', "has a broken record"),
        (json.dumps(packed("k", []) | {"rows": {"system": ["a"], "batch": [1, 2]}}), "has a broken record"),
    ],
)
def test_records_that_cannot_be_trusted_are_refused_by_name(
    content: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cutoff").mkdir()
    (tmp_path / "cutoff" / "summary.json").write_text(content)
    assert draw(config(tmp_path, tmp_path / "out", "cutoff")) == ["cutoff"]
    said = capsys.readouterr().err
    assert message in said
    assert "cutoff/summary.json" in said
    assert "make it again with: python -m harness experiment=cutoff" in said


def test_a_sweep_with_points_missing_is_not_drawn(tmp_path: Path) -> None:
    for point in ("0.1", "0.2"):
        made.publish(tmp_path / "budget" / point, [made.row("offload")])
    with pytest.raises(Missing, match=r"2 of 10 points \(0\.1, 0\.2\); make the others with: .*experiment=budget"):
        FIGURES["budget"].record(tmp_path)


def test_every_preset_says_where_its_records_go_and_what_makes_them() -> None:
    whole = Experiment("bench_all")
    assert (whole.folder, whole.points, whole.command) == (
        "bench-all",
        1,
        "python -m harness experiment=bench_all",
    )
    swept = Experiment("draft_length")
    assert (swept.folder, swept.points) == ("draft_length", 8)
    for figure in FIGURES.values():
        for source in figure.sources:
            if isinstance(source, Experiment):
                assert (CONF / "experiment" / f"{source.name}.yaml").is_file()


def test_labels_do_not_cover_each_other() -> None:
    assert _hits((0, 0, 2, 2), [(1, 1, 3, 3)])
    assert not _hits((0, 0, 2, 2), [(2, 0, 3, 3)])


def test_an_unknown_name_in_a_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no figure `nonsense`"):
        draw(config(tmp_path, tmp_path, ("cutoff", "nonsense")))
