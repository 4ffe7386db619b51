"""The whole way: command line, interleaved measuring, records, table."""

from __future__ import annotations

import itertools
import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from tests.harness import fake
from tests.harness.app import App, listed, rows

FOUR = "systems=[resident,offload,sd_offload,sp_moe]"
OUT = Path("out/summary.json")


def test_a_comparison_end_to_end(app: App) -> None:
    ran = app(FOUR, "output=out", "measure.repeats=2")
    assert ran.code == 0, ran.err
    found = rows(OUT)
    assert list(found) == ["resident", "offload", "sd_offload", "sp_moe"]
    for row in found.values():
        assert row.keys() >= {
            "system", "model", "dataset", "hardware", "emulated", "batch", "budget_bytes", "lossless",
            "status", "metrics",
        }  # fmt: skip
        assert (row["model"], row["dataset"], row["batch"]) == ("fake", "humaneval", 1)
        assert (row["emulated"], row["budget_bytes"], row["lossless"], row["layer_drift"]) == (True, 8000, True, 1.0)
        assert row["metrics"]["exact_match"]["value"] == 1.0
        assert row["metrics"]["tpot"]["n"] == 4
    sp_moe = found["sp_moe"]["metrics"]
    assert sp_moe["speedup_over_offload"]["low"] <= sp_moe["speedup_over_offload"]["value"]
    assert "speedup_over_sd_offload" in sp_moe
    assert "speedup_over_offload" not in found["offload"]["metrics"]
    assert found["offload"]["metrics"]["acceptance_rate"] == {
        "value": None, "unit": "-", "low": None, "high": None, "n": 0,
        "definition": "acceptance_rate@2", "reason": "nothing was drafted",
    }  # fmt: skip
    assert "emulated" in ran.out
    assert "emulated" in Path("out/table.md").read_text()
    assert "tpot@2" in ran.out


def test_records_of_a_cell(app: App) -> None:
    assert app("system=sp_moe", "measure.repeats=2").code == 0
    (cell,) = Path("results/runs").glob("*/sp_moe")
    names = {path.name for path in cell.iterdir()}
    assert names == {
        "config.yaml", "provenance.json", "requests.jsonl", "steps.jsonl", "requests.parquet",
        "steps.parquet", "summary.json",
    }  # fmt: skip
    requests = [json.loads(line) for line in (cell / "requests.jsonl").read_text().splitlines()]
    assert len(requests) == 8
    first = requests[0]
    assert first["n"] == len(first["tokens"]) == sum(kept for _, kept in first["commits"])
    assert first["decode_seconds"] == pytest.approx(first["commits"][-1][0] - first["commits"][0][0])
    assert first["exact_match"] is True
    steps = [json.loads(line) for line in (cell / "steps.jsonl").read_text().splitlines()]
    decode = [line for line in steps if line["phase"] == "decode" and line["step"] is not None]
    assert sum(sum(line["accepted"]) for line in decode) >= sum(line["accepted"] for line in requests)
    kept = sum(line["n"] - 1 for line in requests)
    assert kept == len(decode) + sum(line["accepted"] for line in requests), "what was thrown away is not counted"
    row = listed(cell / "summary.json")[0]["metrics"]
    assert row["acceptance_length"]["value"] == pytest.approx(kept / len(decode), rel=1e-5)
    assert all(line["needed"] == 10 and len(line["layers"]) == 2 for line in decode)
    assert any(line["step"] is None and line["wasted_bytes"] for line in steps)


def test_a_text_is_what_the_tokens_say_behind_their_prompt(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake.FakePair, "decode", lambda self, tokens, after=(): f"{len(tokens)} behind {len(after)}")
    app("system=offload")
    (file,) = Path("results/runs").glob("*/offload/requests.jsonl")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["text"] for line in lines] == [f"{line['n']} behind {line['prompt_tokens']}" for line in lines]


def test_parquet_says_the_same_as_jsonl(app: App) -> None:
    pytest.importorskip("pyarrow")
    from pyarrow.parquet import read_table

    app("system=sp_moe")
    (cell,) = Path("results/runs").glob("*/sp_moe")
    lines = [json.loads(line) for line in (cell / "requests.jsonl").read_text().splitlines()]
    assert read_table(cell / "requests.parquet").to_pylist() == lines


def test_provenance_names_code_and_machine_but_no_folder_of_it(app: App) -> None:
    app("system=sp_moe", f"runs={Path.cwd() / 'deep' / 'runs'}")
    (file,) = Path("deep/runs").glob("*/sp_moe/provenance.json")
    origin = json.loads(file.read_text())
    assert origin.keys() >= {
        "commit", "dirty", "lock", "command", "python", "packages", "cpu", "ram_bytes", "gpu", "threads", "link",
        "model", "dataset", "seeds", "costs", "code",
    }  # fmt: skip
    assert origin["link"]["bandwidth"] > 0
    assert len(origin["dataset"]["prompts"]) == 4
    for path in file.parent.glob("*.[jy]*"):
        text = path.read_text()
        assert str(Path.cwd()) not in text, path.name
        assert str(Path.home()) + "/" not in text, path.name


def test_the_paced_link_has_the_ratio_of_the_named_environment(app: App) -> None:
    app("system=offload", "hardware=coarse")
    (file,) = Path("results/runs").glob("*/offload/provenance.json")
    link = json.loads(file.read_text())["link"]
    transfer = link["latency"] + fake.RECORD / link["bandwidth"]
    assert transfer / fake.LAYER_SECONDS == pytest.approx(336 * 2**20 / 25e9 / 0.9e-3)
    assert link["latency"] / transfer == pytest.approx(10e-6 / (336 * 2**20 / 25e9))


def test_local_hardware_is_neither_paced_nor_called_emulated(app: App) -> None:
    ran = app("system=offload", "hardware=local", "output=out")
    assert rows(OUT)["offload"]["emulated"] is False
    assert "emulated" not in ran.out


def test_statuses_follow_from_what_happened(app: App) -> None:
    silent = "{base: mute, label: silent, override: {governor: {part: roofline}}}"
    ran = app(f"systems=[offload,wrong,crash,mute,{silent},greedy,leaky,fits,away]", "output=out")
    assert ran.code == 1
    found = rows(OUT)
    assert {label: row["status"] for label, row in found.items()} == {
        "offload": "ok",
        "wrong": "diverged",
        "crash": "failed",
        "mute": "draft_inactive",
        "silent": "ok",  # what is governed may find that no draft pays
        "greedy": "failed",
        "leaky": "failed",
        "fits": "nothing_offloaded",
        "away": "ok",  # nothing crossed the link because it was computed elsewhere
    }
    assert found["wrong"]["metrics"]["first_divergence"]["value"] == 3
    assert "RuntimeError: link worker died at ./systems/link.py" in found["crash"]["error"]
    assert "Traceback" in found["crash"]["error"]
    assert found["greedy"]["reason"] == "holds 8001 bytes of fast memory, the budget is 8000"
    assert "needed 5 experts" in found["leaky"]["reason"]
    assert found["leaky"]["metrics"]["tpot"]["value"] > 0  # the numbers are kept, under their verdict
    for label, row in found.items():
        if row["status"] != "ok":
            assert f"{label}: {row['status']}" in ran.words


def test_a_system_that_commits_all_at_once_has_no_tpot_and_harms_no_other(app: App) -> None:
    """At first, and when its records are read back."""
    for _ in range(2):
        ran = app("systems=[offload,sp_moe,at_once]", "baselines=[offload,at_once]", "output=out")
        found = rows(OUT)
        tpot = found["at_once"]["metrics"]["tpot"]
        assert (tpot["value"], tpot["reason"]) == (None, "no request has tokens behind its first commit")
        assert found["sp_moe"]["metrics"]["speedup_over_offload"]["value"] > 0
        assert ran.code == 0, ran.words


def test_drafts_that_came_too_late_were_drafts_all_the_same(app: App) -> None:
    """Two tokens are wanted, of which the prefill gives one: no draft is of use, and there was one."""
    app("systems=[offload,sd_offload]", "measure.max_new_tokens=2", "output=out")
    row = rows(OUT)["sd_offload"]
    assert row["status"] == "ok"
    assert (row["metrics"]["acceptance_rate"]["value"], row["metrics"]["acceptance_length"]["value"]) == (None, 1.0)


def test_a_noisy_cell_says_so(app: App) -> None:
    app("systems=[offload]", "output=out", "measure.noisy_above=0.0")
    assert rows(OUT)["offload"]["status"] == "noisy"


def test_what_does_not_fit_leaves_the_others(app: App) -> None:
    ran = app("systems=[resident,offload]", "budget=3KB", "output=out")
    assert ran.code == 0
    found = rows(OUT)
    assert (found["resident"]["status"], found["offload"]["status"]) == ("ok", "did_not_fit")
    assert "4000 would" in found["offload"]["reason"]
    assert set(found["offload"]["metrics"]) == {"accuracy"}
    assert found["offload"]["metrics"]["accuracy"]["value"] is None


def test_what_is_not_installed_leaves_the_others_and_names_the_line_that_installs_it(app: App) -> None:
    ran = app("systems=[offload,absent,sd_offload]", "output=out")
    assert ran.code == 0, ran.words
    found = rows(OUT)
    assert [found[label]["status"] for label in ("offload", "absent", "sd_offload")] == ["ok", "unsupported", "ok"]
    assert "absent: unsupported: it needs a package: pip install 'spmoe-bench[it]'" in ran.words
    again = app("systems=[offload,absent,sd_offload]", "output=out")
    assert "is finished" in again.words, "nothing has been installed meanwhile"


def test_what_is_installed_meanwhile_is_measured(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """The versions of the packages that a comparison runs on are part of its name."""
    for version in (None, "1.0", "1.0"):
        monkeypatch.setattr("harness.records.provenance._version", lambda name, version=version: version)
        app("systems=[offload,llama_cpp]", "output=out")
    assert len(list(Path("results/runs").glob("*/offload"))) == 2


def test_a_batch_of_four_with_ragged_acceptance_and_early_stops(app: App) -> None:
    ran = app("systems=[offload,sp_moe]", "measure.batch=4", "dataset.limit=10", "output=out")
    assert ran.code == 0, ran.words
    found = rows(OUT)
    assert found["sp_moe"]["metrics"]["exact_match"]["value"] == 1.0
    (cell,) = Path("results/runs").glob("*/sp_moe")
    lines = [json.loads(line) for line in (cell / "requests.jsonl").read_text().splitlines()]
    assert [(line["batch"], line["row"]) for line in lines[3:9]] == [
        (0, 3),
        (1, 0),
        (1, 1),
        (1, 2),
        (1, 3),
        (2, 0),
    ]
    assert {line["finish"] for line in lines} == {"stop", "length"}


def test_systems_take_turns_in_a_new_random_order_each_time(app: App) -> None:
    """Each system stands at every place, and follows every other, about as often; the seed decides when."""

    def measured(*options: str) -> list[tuple[str, ...]]:
        app("systems=[resident,offload,sd_offload]", "dataset.limit=20", "measure.repeats=2", "resume=false", *options)
        (folder,) = Path("results/runs").iterdir()
        orders: dict[tuple[int, int], dict[int, str]] = {}
        for cell in folder.glob("*/requests.jsonl"):
            for line in map(json.loads, cell.read_text().splitlines()):
                orders.setdefault((line["repeat"], line["batch"]), {})[line["order"]] = cell.parent.name
        shutil.rmtree(folder)
        return [tuple(places[place] for place in sorted(places)) for _, places in sorted(orders.items())]

    found = measured()
    assert len(found) == 40
    assert set(found) == set(itertools.permutations(("resident", "offload", "sd_offload")))
    turns = [system for order in found for system in order]
    follows = Counter(pair for pair in itertools.pairwise(turns) if len(set(pair)) == 2)
    assert min(follows.values()) > 119 / 9 / 2
    assert found[:20] != found[20:]
    assert measured() == found
    assert measured("measure.seed=1") != found


def test_a_rerun_shows_what_is_finished(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    first = app(FOUR, "output=out")
    before = OUT.read_text()
    monkeypatch.setattr("systems.api.load_pair", lambda *_: pytest.fail("measured again"))
    second = app(FOUR, "output=out", "baselines=[offload,sd_offload,x]")
    assert second.code == 0
    assert "is finished" in second.out
    assert OUT.read_text() == before
    assert first.out.splitlines()[-1].endswith("out/summary.json")


def test_anything_that_decides_the_numbers_makes_another_cell(app: App) -> None:
    for change in (
        "measure.seed=1",
        "budget=0.6",
        "dataset.limit=3",
        "hardware=local",
        "system.prefetch.cutoff=1",
    ):
        app("system=sp_moe", change)
    app("system=sp_moe")
    assert len(list(Path("results/runs").glob("*/sp_moe"))) == 6


def test_changed_code_makes_another_cell(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    app("system=sp_moe")
    monkeypatch.setattr("harness.records.provenance.code_fingerprint", lambda: "changed")
    app("system=sp_moe")
    assert len(list(Path("results/runs").glob("*/sp_moe"))) == 2


def test_another_tokenizer_makes_another_cell(app: App) -> None:
    Path("words").mkdir()
    file = Path("words/tokenizer.json")
    for content in ("{}", '{"a": 1}', '{"a": 1}'):
        file.write_text(content)
        app("system=sp_moe", "model.tokenizer=words")
    assert len(list(Path("results/runs").glob("*/sp_moe"))) == 2


def test_models_are_found_from_the_current_folder_and_count_by_content(app: App) -> None:
    Path("mine").mkdir()
    file = Path("mine/config.json")
    for content in ("{}", '{"a": 1}'):
        file.write_text(content)
        app("system=sp_moe", "model.target=mine")
    assert len(list(Path("results/runs").glob("*/sp_moe"))) == 2


def test_a_model_whose_name_nobody_gave_is_not_called_as_another(app: App) -> None:
    ran = app("system=sp_moe", "model=reference", "model.target=somewhere/mixtral", "output=out")
    assert rows(OUT)["sp_moe"]["model"] == "mixtral"
    assert "reference" not in ran.out.replace("reference: plain greedy", "")


def test_resume_false_measures_again(app: App) -> None:
    app("system=offload")
    ran = app("system=offload", "resume=false")
    assert "is finished" not in ran.out


def test_a_failed_cell_is_measured_again(app: App) -> None:
    app("system=crash")
    assert "is finished" not in app("system=crash").out


def test_a_sweep_compares_its_cells_and_reruns_only_what_is_missing(app: App) -> None:
    ran = app("--multirun", "system=offload,sd_offload")
    assert ran.code == 0
    assert "not interleaved" in ran.out
    assert "x offload" in ran.out
    again = app("--multirun", "system=offload,sd_offload,sp_moe")
    assert again.out.count("is finished") == 2


def test_options_reach_every_listed_system_that_has_them(app: App) -> None:
    app("systems=[offload,sd_offload,sp_moe]", "system.drafter.draft_length=4", "output=out")
    found = rows(OUT)
    lengths = {label: row["description"]["drafter"].get("draft_length") for label, row in found.items()}
    assert lengths == {"offload": None, "sd_offload": 4, "sp_moe": 4}


def test_one_system_under_several_labels(app: App) -> None:
    ran = app(
        "systems=[sd_offload,{base:sp_moe,label:sp_moe@3,override:{drafter:{draft_length:3}}},sp_moe]",
        "output=out",
    )
    assert ran.code == 0, ran.err
    found = rows(OUT)
    assert found["sp_moe@3"]["description"]["drafter"] == {"part": "model", "draft_length": 3}
    assert found["sp_moe"]["description"]["drafter"]["draft_length"] == 1


def test_sampling_has_no_reference(app: App) -> None:
    app("system=offload", "measure.sampling.temperature=0.7", "output=out")
    entry = rows(OUT)["offload"]["metrics"]["exact_match"]
    assert (entry["value"], entry["reason"]) == (None, "sampled outputs have no single reference")


def test_provenance_says_how_tokens_were_chosen(app: App) -> None:
    """A greedy choice has no settings: whatever top-p says, it is the same choice."""
    app("system=offload", "measure.sampling.temperature=0.7", "measure.sampling.top_p=0.9", "output=sampled")
    app("system=offload", "measure.sampling.top_p=0.9", "output=greedy")
    said = {name: json.loads(Path(name, "provenance.json").read_text()) for name in ("sampled", "greedy")}
    assert said["sampled"]["sampling"] == {"temperature": 0.7, "top_k": 0, "top_p": 0.9}
    assert said["greedy"]["sampling"] == {"temperature": 0.0}
    assert (said["greedy"]["repeats"], said["greedy"]["queue"], said["greedy"]["warmup"]) == (1, 0, 1)


def test_repeats_of_sampling_have_seeds_of_their_own(app: App) -> None:
    """Every system has the same one in a repeat; greedy requests have none."""
    app(
        "systems=[offload,sd_offload]",
        "measure.repeats=3",
        "measure.sampling.temperature=0.7",
        "measure.sampling.seed=5",
    )
    seeds: dict[int, set[int]] = {}
    for file in Path("results/runs").glob("*/*/requests.jsonl"):
        for line in map(json.loads, file.read_text().splitlines()):
            seeds.setdefault(line["repeat"], set()).add(line["seed"])
    assert [len(found) for found in seeds.values()] == [1, 1, 1]
    assert seeds[0] == {5}
    assert len(set.union(*seeds.values())) == 3
    app("system=offload", "measure.repeats=2", "runs=greedy")
    (file,) = Path("greedy").glob("*/*/requests.jsonl")
    assert {json.loads(line)["seed"] for line in file.read_text().splitlines()} == {None}


def test_warm_up_uses_other_prompts_in_batches_of_the_measured_size(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def calibrate(self: fake.FakeSystem, requests: list[fake.Request]) -> None:
        seen.append([request.id for request in requests])

    monkeypatch.setattr(fake.FakeSystem, "calibrate", calibrate)
    app("system=offload", "measure.warmup=3", "measure.batch=2")
    assert [len(ids) for ids in seen] == [2, 1]
    (origin,) = Path("results/runs").glob("*/offload/provenance.json")
    chosen = json.loads(origin.read_text())["dataset"]
    assert [id for ids in seen for id in ids] == chosen["warmup"]
    assert len(chosen["prompts"]) == 4
    assert not {*chosen["prompts"]} & {*chosen["warmup"]}


ALL_SYSTEMS = len(list(Path(__file__).parents[3].joinpath("conf/system").glob("*.yaml")))
SIZES = {
    "bench": 4, "cutoff": 11, "overhead": 4, "baselines": ALL_SYSTEMS, "ablation": 7, "budget": 8, "draft_length": 4,
    "hit_rate": 5,
}  # fmt: skip


@pytest.mark.parametrize("experiment", SIZES)
def test_experiments_run(app: App, experiment: str) -> None:
    own = ["budget=37632KiB"] if experiment == "hit_rate" else []
    ran = app(f"experiment={experiment}", "dataset.limit=2", "output=out", *own)
    assert ran.code == 0, ran.words
    assert len(rows(OUT)) == SIZES[experiment]


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["system=sp_moe", "system.drafter.draft_length=-3"], "drafter.draft_length=-3 must be at least 1"),
        (["systems=[offload,sd_offload]", "system.drafter.draft_length=-1"], "must be at least 1"),
        (["measure.calibration_seconds=0"], "`measure.calibration_seconds` is 0"),
        (["measure.sampling.temperature=-1"], "sampling.temperature=-1"),
        (["measure.sampling.top_k=-3"], "sampling.top_k=-3"),
        (["measure.sampling.top_p=7"], "sampling.top_p=7"),
        (["measure.sampling.top_p=0"], "sampling.top_p=0"),
    ],
)
def test_a_number_out_of_range_is_refused_before_anything_is_timed(
    app: App, typed: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake, "measure_costs", lambda *_: pytest.fail("timed"))
    ran = app(*typed)
    assert ran.code == 2, ran.words
    assert said in ran.words


def test_one_name_is_a_list_of_one(app: App) -> None:
    assert app("experiment=bench", "systems=offload", "baselines=offload", "output=out").code == 0
    assert list(rows(OUT)) == ["offload"]


def test_a_sweep_of_an_experiment_draws_its_curves(app: App) -> None:
    ran = app("--multirun", "experiment=draft_length", "dataset.limit=1", "measure.max_new_tokens=6")
    assert ran.code == 0, ran.words
    assert sorted(path.parent.name for path in Path("results/draft_length").glob("*/summary.json")) == list("12345678")
    for length in "18":
        found = rows(Path(f"results/draft_length/{length}/summary.json"))
        assert {row["description"]["drafter"]["draft_length"] for row in found.values()} == {int(length)}
        assert found["moe_speq"]["description"]["governor"] == {"part": "none"}
    assert "TPOT ms over draft_length" in ran.out
    (heads,) = {" ".join(line.split()) for line in ran.out.splitlines() if line.split()[-2:] == ["7", "8"]}
    assert heads == "system 1 2 3 4 5 6 7 8"


def test_an_interpolation_without_a_value_says_where_to_look(app: App) -> None:
    ran = app("experiment=hit_rate", "budget=24MiB")
    assert ran.code == 2
    assert "`systems[0].override.residency.slots` has no value here" in ran.words
    assert "under `define`" in ran.words
