"""Files in the layout of the hub, good and bad: what is refused is refused by file name and line."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import datasets
from harness.config.bench import DatasetConfig
from harness.datasets.spec import Choice, Code, Hub, Number, Summary, Text
from systems.api import BadInput

MBPP = [
    {"task_id": id, "text": text, "code": "", "test_list": [test], "test_setup_code": "", "challenge_test_list": [test]}
    for id, text, test in ((11, "Add.", "assert add(1, 2) == 3"), (12, "Negate.", "assert neg(1) == -1"))
]
GSM8K = [{"question": "1 + 1?", "answer": "1 + 1 = 2\n#### 2"}, {"question": "2 * 3?", "answer": "#### 6"}]
MMLU = [{"question": "Capital?", "subject": "high_school_geography", "choices": ["a", "b", "c", "d"], "answer": 2}]
MT_BENCH = [{"question_id": 81, "category": "writing", "prompt": ["Write.", "Again."], "reference": []}]
ALPACA = [
    {"instruction": "Sum up.", "input": "Long.", "output": "Short.", "text": ""},
    {"instruction": "Say hi.", "input": "", "output": "Hi.", "text": ""},
]
CNN = [{"article": "It rained.", "highlights": "Rain.", "id": "0a"}]
WIKITEXT = [
    {"text": line} for line in ("", " = Rain = \n", "", " It falls . \n", " = = Snow = = \n", " It too . \n", "",
                                " = Sun = \n", " It shines . \n")
]  # fmt: skip
C4 = [{"text": "one two three", "timestamp": "", "url": ""}]
APPS = [
    {
        "id": id, "question": question, "solutions": "", "input_output": cases, "difficulty": "interview", "url": "",
        "starter_code": "",
    }
    for id, question, cases in ((0, "Echo.", '{"inputs": ["7\\n"], "outputs": ["7\\n"]}'), (1, "Untested.", ""))
]  # fmt: skip
# All columns that the hub's files have.
HUB: dict[str, list[dict[str, Any]]] = {
    "mbpp": MBPP, "gsm8k": GSM8K, "mmlu": MMLU, "mt_bench": MT_BENCH, "alpaca": ALPACA, "cnn_dailymail": CNN,
    "wikitext2": WIKITEXT, "c4": C4, "apps": APPS,
}  # fmt: skip
PROMPTS = {
    "mbpp": ('"""\nAdd.\nassert add(1, 2) == 3\n"""\n', "mbpp/11", 2),
    "gsm8k": ("Question: 1 + 1?\nAnswer:", "gsm8k/0", 2),
    "mmlu": (
        "The following is a multiple choice question about high school geography.\n\n"
        "Capital?\nA. a\nB. b\nC. c\nD. d\nAnswer:", "mmlu/0", 1,
    ),
    "mt_bench": ("Write.", "mt_bench/81", 1),
    "alpaca": (
        "Below is an instruction that describes a task, paired with an input that provides further context. Write a"
        " response that appropriately completes the request.\n\n### Instruction:\nSum up.\n\n### Input:\nLong.\n\n"
        "### Response:\n", "alpaca/0", 2,
    ),
    "cnn_dailymail": ("It rained.\n\nTL;DR:", "cnn_dailymail/0a", 1),
    "wikitext2": (" = Rain = \n It falls . \n = = Snow = = \n It too .", "wikitext2/0", 2),
    "c4": ("one two three", "c4/0", 1),
    "apps": ("\nQUESTION:\nEcho.\nUse Standard Input format\n\nANSWER:\n", "apps/0", 1),
}  # fmt: skip


def _lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _load(name: str, path: Path) -> list[datasets.Prompt]:
    return datasets.load(DatasetConfig(name, path=str(path)))


def as_the_hub_has_it(name: str, folder: Path) -> Path:
    """Write a dataset's rows in the format and at the place of the pinned file."""
    source = datasets.SPECS[name].source
    assert isinstance(source, Hub)
    path = folder / source.file
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        from datasets import Dataset

        Dataset.from_list(HUB[name]).to_parquet(path)
    else:
        path.write_bytes(gzip.compress(_lines(HUB[name])) if path.suffix == ".gz" else _lines(HUB[name]))
    return path


def as_json_lines(name: str, folder: Path) -> Path:
    (folder / "any.jsonl").write_bytes(_lines(HUB[name]))
    return folder / "any.jsonl"


@pytest.mark.parametrize("written", [as_the_hub_has_it, as_json_lines])
@pytest.mark.parametrize("name", HUB)
def test_each_dataset_of_the_hub_makes_its_prompts(
    tmp_path: Path, name: str, written: Callable[[str, Path], Path]
) -> None:
    written(name, tmp_path)
    text, id, count = PROMPTS[name]
    prompts = _load(name, tmp_path)
    assert (prompts[0].text, prompts[0].id, len(prompts)) == (text, id, count)
    assert set(prompts[0].row) == set(datasets.SPECS[name].columns)


@pytest.mark.parametrize(
    ("name", "reference"),
    [("gsm8k", "1 + 1 = 2\n#### 2"), ("mmlu", "C"), ("cnn_dailymail", "Rain."), ("c4", "one two three")],
)
def test_what_answers_are_compared_with(tmp_path: Path, name: str, reference: str) -> None:
    task = datasets.SPECS[name].task
    assert isinstance(task, Number | Choice | Summary | Text)
    assert task.reference(_load(name, as_json_lines(name, tmp_path))[0].row) == reference


def test_a_folder_with_the_file_of_the_hub_in_its_place(tmp_path: Path) -> None:
    """As `hf download --local-dir` leaves it: Parquet where the hub has it, other files beside."""
    from pyarrow import Table
    from pyarrow.parquet import write_table

    (tmp_path / "main").mkdir()
    write_table(Table.from_pylist(GSM8K), tmp_path / "main" / "test-00000-of-00001.parquet")
    (tmp_path / "main" / "other.parquet").write_bytes(b"")
    assert [prompt.row["answer"] for prompt in _load("gsm8k", tmp_path)] == [row["answer"] for row in GSM8K]
    with pytest.raises(BadInput, match=r"other\.parquet is no whole Parquet file"):
        _load("gsm8k", tmp_path / "main" / "other.parquet")
    wrong = tmp_path / "wrong.parquet"
    write_table(Table.from_pylist(CNN), wrong)
    with pytest.raises(BadInput, match=r"wrong\.parquet, row 1: no column `question`; there are: article"):
        _load("gsm8k", wrong)


def test_compressed_lines(tmp_path: Path) -> None:
    file = tmp_path / "c4.json.gz"
    file.write_bytes(gzip.compress(_lines(C4)))
    assert [prompt.text for prompt in _load("c4", file)] == ["one two three"]


WHOLE = _lines(GSM8K)
BAD = {
    "truncated": (WHOLE[:-20], r"test\.jsonl, line 2: not JSON .*; the line has no end, so the file may be cut off"),
    "other_column": (b'{"query": "x", "answer": "1"}\n', r"test\.jsonl, line 1: no column `question`"),
    "other_type": (b'{"question": 1, "answer": "1"}\n', r"test\.jsonl, line 1: `question` is 1; a text is needed"),
    "empty_column": (b'{"question": null, "answer": ""}\n', r"test\.jsonl, line 1: `question` is None"),
    "not_utf8": (WHOLE + b'{"question": "\xff"}\n', r"test\.jsonl, line 3: not UTF-8 \(byte 14\)"),
    "empty": (b"\n", r"test\.jsonl holds no problems; rows with `question`, `answer` do"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused_by_name_and_line(tmp_path: Path, case: str) -> None:
    content, said = BAD[case]
    (tmp_path / "test.jsonl").write_bytes(content)
    with pytest.raises(BadInput, match=said):
        _load("gsm8k", tmp_path / "test.jsonl")


def test_duplicated_ids_name_both_lines(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_bytes(b"\n" + _lines([*MBPP, MBPP[0]]))
    with pytest.raises(BadInput, match=r"test\.jsonl, line 4: id 'mbpp/11' is that of line 2 too"):
        _load("mbpp", tmp_path)


def test_a_truth_value_is_no_number(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_bytes(_lines([MBPP[0] | {"task_id": True}]))
    with pytest.raises(BadInput, match=r"line 1: `task_id` is True; a whole number is needed"):
        _load("mbpp", tmp_path)


def test_a_compressed_file_that_is_cut_off(tmp_path: Path) -> None:
    (tmp_path / "c4.json.gz").write_bytes(gzip.compress(_lines(C4 * 1))[:-12])
    with pytest.raises(BadInput, match=r"c4\.json\.gz, line \d: .*fetch the file again"):
        _load("c4", tmp_path)


def test_a_folder_must_say_which_file(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(WHOLE)
    (tmp_path / "b.jsonl").write_bytes(WHOLE)
    with pytest.raises(BadInput, match=r"must hold `main/test-00000-of-00001\.parquet` or exactly one data file"):
        _load("gsm8k", tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(BadInput, match=r"neither JSON lines nor Parquet"):
        _load("gsm8k", tmp_path / "notes.txt")


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("mbpp", "def add(a, b):\n    return a + b\n", "def add(a, b):\n    return a - b\n"),
        ("apps", "print(input())", "print(8)"),
    ],
)
def test_programs_tell_right_from_wrong(tmp_path: Path, name: str, right: str, wrong: str) -> None:
    (tmp_path / "any.jsonl").write_bytes(_lines(HUB[name]))
    row, task = _load(name, tmp_path)[0].row, datasets.SPECS[name].task
    assert isinstance(task, Code)
    exec(task.program(row, right), {})
    with pytest.raises(AssertionError):
        exec(task.program(row, wrong), {})


def test_apps_calls_a_function_where_the_problem_names_one() -> None:
    from harness.datasets.catalogue import apps

    row = {"input_output": '{"fn_name": "double", "inputs": [[2], [3]], "outputs": [[4], 6]}'}
    exec(apps.program(row, "class Solution:\n    def double(self, n):\n        return 2 * n\n"), {})
    with pytest.raises(AssertionError):
        exec(apps.program(row, "def double(n):\n    return 4\n"), {})


def test_a_completion_ends_at_its_first_stop() -> None:
    spec = datasets.SPECS["humaneval"]
    assert spec.completion("    return 1\n\ndef other():\n#") == "    return 1\n"
    assert spec.completion("    return 1\n") == "    return 1\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"prompt": "half \\ud83d here"}', r"line 2: `prompt` has half a character (\\ud83d alone)"),
        ('{"prompt": "x", "id": "\\udc00"}', "line 2: `id` has half a character"),
        ('{"prompt": "x", "more": {"a": ["\\ud83d"]}}', "line 2: `more` has half a character"),
        ('{"prompt": "x", "\\ud83d": 1}', "line 2: the name of a column has half a character"),
        ('{"prompt": "x", "n": ' + "9" * 5000 + "}", "line 2: a number cannot be read"),
        ('{"prompt": "x", "n": ' + "[" * 100_000 + "]" * 100_000 + "}", "line 2: nested too deeply"),
    ],
    ids=["text", "id", "within", "name", "number", "depth"],
)
def test_hostile_json_is_refused_by_line_and_field(line: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text(f'{{"prompt": "whole \\ud83d\\ude00 one"}}\n{line}\n')
    with pytest.raises(BadInput) as raised:
        datasets.load(DatasetConfig("jsonl", path=str(file)))
    assert message.replace("\\\\", "\\") in str(raised.value)
