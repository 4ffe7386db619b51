"""Prompts as messages: worded as transformers words them, told in the records, and the same when replayed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from systems.api import BadInput, ModelConfig, load_pair
from systems.files.chat import ChatTemplate
from systems.files.model_files import CHAT
from systems.runtime.pair import Pair
from tests.systems.tiny import make_pair

TEMPLATES = {
    "ChatML": (
        "{%- for message in messages %}\n"
        "    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}\n"
        "{%- endfor %}\n"
        "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
    ),
    "instructions": (
        "{{ bos_token }}{% for message in messages %}"
        "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('roles must alternate') }}{% endif %}"
        "{{ '[INST] ' + message['content'] | trim + ' [/INST]' }}{% endfor %}"
    ),
    "blocks on lines": (
        "{% set system = 'You help.' %}\n"
        "{% if tools is not none %}\n  tools: {{ tools | tojson }}\n{% endif %}\n"
        "{% for message in messages %}\n"
        "  {% if loop.index0 > 3 %}\n    {% break %}\n  {% endif %}\n"
        "{{ system }} {{ message | tojson(indent=2) }}\n"
        "{% endfor %}\n"
        "{% generation %}\nanswer\n{% endgeneration %}\n"
    ),
    "name spaces": (
        "{%- set ns = namespace(count=0) -%}{%- for m in messages -%}{%- set ns.count = ns.count + 1 -%}"
        "{{ eos_token if ns.count > 1 else '' }}{{ ns.count }}: {{ m.content }}{%- endfor -%}"
    ),
}
MESSAGES = ["ab c", 'def f(x):\n    """<|im_end|> & "ü" \\n"""\n', "  spaces around  \n"]


def stock(template: str) -> Any:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.WordLevel({"a": 0, "<s>": 1, "</s>": 2}, unk_token="a"))
    found = PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>")
    found.chat_template = template
    return found


@pytest.mark.parametrize("message", MESSAGES)
@pytest.mark.parametrize("name", TEMPLATES)
def test_messages_are_worded_as_transformers_words_them(name: str, message: str) -> None:
    tokenizer = stock(TEMPLATES[name])
    ours = ChatTemplate.of(tokenizer)
    assert ours is not None
    conversation = [{"role": "user", "content": message}]
    expected = tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
    assert ours.render(message) == ChatTemplate.read(ours.dump()).render(message) == expected


def test_a_template_never_learns_what_day_it_is() -> None:
    template = ChatTemplate("{{ strftime_now('%d %b %Y') }}: {{ messages[0].content }}", {})
    assert template.render("x") == "01 Jan 2025: x"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ raise_exception('no system message') }}", "cannot word a prompt .*no system message"),
        ("{{ messages[0].content + 1 }}", "cannot word a prompt"),
        ("{% if %}", "is broken"),
        ("{{ ''.__class__.__mro__ }}", "cannot word a prompt .*unsafe"),
    ],
)
def test_a_template_that_cannot_be_used_is_refused(source: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        ChatTemplate(source, {}).render("x")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chat")
    make_pair(folder).close()
    (folder / "chat_template.jinja").write_text("{% for m in messages %}n{{ m.content }}m{% endfor %}")
    return folder


def load(root: Path, chat: Any) -> Pair:
    pair = load_pair(ModelConfig("tiny", "target", "draft", ".", chat=chat), root)
    assert isinstance(pair, Pair)
    return pair


@pytest.mark.parametrize("chat", [True, "auto", False])
def test_prompts_are_messages_where_the_model_wants_them(chat: Any, root: Path) -> None:
    pair = load(root, chat)
    tokenizer = pair.tokenizer
    message = [{"role": "user", "content": "ab"}]
    worded = tokenizer.apply_chat_template(message, add_generation_prompt=True, return_dict=False)
    assert worded == [14, 1, 2, 13]
    assert pair.prompt("ab") == (worded if chat else [1, 2])
    assert pair.encode("ab") == [1, 2], "texts stay texts"
    assert (pair.describe()["chat"] is None) == (chat is False)
    pair.close()


def test_a_model_without_a_template_reads_texts(root: Path, tmp_path: Path) -> None:
    pair = make_pair(tmp_path)
    assert pair.prompt("ab") == pair.encode("ab")
    assert pair.describe()["chat"] is None
    with pytest.raises(BadInput, match=r"`model.chat` is true, and the tokenizer has no chat template"):
        load(tmp_path, True)


def test_a_recording_keeps_how_prompts_are_worded(root: Path, tmp_path: Path) -> None:
    from systems.replay.pair import RecordedPair
    from systems.replay.record import record
    from tests.systems.tiny import requests

    pair = load(root, "auto")
    header = record(pair, {"part": "none"}, requests(1, 3)).header
    file = tmp_path / "tokenizer.json"
    pair.save_tokenizer(file)
    again = RecordedPair(pair.config, root, header, file)
    assert again.prompt("ab") == pair.prompt("ab") != again.encode("ab")
    assert again.describe()["chat"] == pair.describe()["chat"]
    (tmp_path / CHAT).write_text(json.dumps({}))
    with pytest.raises(BadInput, match="is not a chat template"):
        RecordedPair(pair.config, root, header, file)
