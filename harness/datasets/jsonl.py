"""A user's own prompts: one JSON object a line with `prompt` and, optionally, `id`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from harness.config import DatasetConfig
from harness.datasets.base import Prompt
from systems.api import BadInput


def load(config: DatasetConfig) -> list[Prompt]:
    """Read `dataset.path`; blank lines are skipped, ids default to `line-N`.

    Raises:
        BadInput: the file or a line cannot be used; the message names the line.
    """
    if config.path is None:
        raise BadInput("dataset=jsonl needs `dataset.path=FILE`")
    path = Path(config.path)
    prompts: list[Prompt] = []
    lines: dict[str, int] = {}
    for number, text in _lines(path):
        prompt = _parse(text, number, f"{path}, line {number}")
        if prompt.id in lines:
            raise BadInput(f"{path}, line {number}: id {prompt.id!r} is that of line {lines[prompt.id]} too")
        lines[prompt.id] = number
        prompts.append(prompt)
    if not prompts:
        raise BadInput(f'{path} holds no prompts; one JSON object a line is needed: {{"prompt": "..."}}')
    return prompts


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}; check `dataset.path`") from error
    for number, line in enumerate(data.splitlines(), 1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise BadInput(f"{path}, line {number}: not UTF-8 (byte {error.start}); convert it") from error
        if text.strip():
            yield number, text


def _parse(text: str, number: int, where: str) -> Prompt:
    try:
        item = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadInput(f"{where}: not JSON ({error.msg} at column {error.colno})") from error
    if not isinstance(item, dict) or not isinstance(item.get("prompt"), str):
        raise BadInput(f"{where}: an object with a text under `prompt` is needed")
    return Prompt(str(item.get("id", f"line-{number}")), item["prompt"])
