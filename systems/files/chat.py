"""A prompt as a message to a chat model, in the words of the tokenizer's own template.

Rendered as transformers' `apply_chat_template` does, but for the day: templates that tell the model what day it is
would make each day's prompts others, so it is always the same one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from systems.contract.errors import BadInput

if TYPE_CHECKING:
    from jinja2 import Template

TODAY = datetime(2025, 1, 1, tzinfo=UTC)
"""What templates are told of the time."""


class ChatTemplate:
    """A template in Jinja's language, and the special tokens that it may name (`bos_token`, say).

    Raises:
        BadInput: it is no template.
    """

    def __init__(self, source: str, words: Mapping[str, Any]) -> None:
        self.source, self.words = source, dict(words)

    @classmethod
    def of(cls, tokenizer: Any) -> ChatTemplate | None:
        """Return that of a transformers tokenizer, the default one of several; None: it has none."""
        found = tokenizer.chat_template
        if isinstance(found, Mapping):
            found = found.get("default")
        return None if not found else cls(found, tokenizer.special_tokens_map)

    @classmethod
    def read(cls, text: str) -> ChatTemplate:
        """Return what `dump` has written."""
        plain = json.loads(text)
        return cls(plain["source"], plain["words"])

    def dump(self) -> str:
        """Return it as JSON."""
        return json.dumps({"source": self.source, "words": self.words}, sort_keys=True)

    @property
    def hash(self) -> str:
        """Start of the SHA-256 of all that decides how a message is worded."""
        return hashlib.sha256(f"{self.dump()} {TODAY}".encode()).hexdigest()[:16]

    def render(self, message: str) -> str:
        """Return the text of a conversation in which the user has said `message`, up to where the model answers.

        Raises:
            BadInput: the template refuses such a conversation.
        """
        from jinja2 import TemplateError

        messages = [{"role": "user", "content": message}]
        try:
            return self._compiled.render(
                **self.words, messages=messages, tools=None, documents=None, add_generation_prompt=True
            )
        except (TemplateError, TypeError, ValueError) as error:
            raise BadInput(
                f"the tokenizer's chat template cannot word a prompt ({error}); set model.chat=false"
            ) from error

    @cached_property
    def _compiled(self) -> Template:
        from jinja2 import TemplateError
        from jinja2.ext import loopcontrols
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        # Templates come with a download, and are programs: the sandbox keeps them in.
        made = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _generation()]
        )
        made.filters["tojson"] = _to_json
        made.globals |= {"raise_exception": _refuse, "strftime_now": TODAY.strftime}
        try:
            return made.from_string(self.source)
        except TemplateError as error:
            raise BadInput(f"the tokenizer's chat template is broken ({error}); set model.chat=false") from error


def wanted(setting: bool | str, template: ChatTemplate | None) -> ChatTemplate | None:
    """Return the template that `model.chat` asks for: none, that of the tokenizer, or (`auto`) this if there is one.

    Raises:
        BadInput: there is none, and `true` wants one.
    """
    if setting is True and template is None:
        raise BadInput("`model.chat` is true, and the tokenizer has no chat template; set it to auto or false")
    return template if setting else None


def _refuse(message: str) -> None:
    """What templates call when a conversation is not to their taste."""
    from jinja2 import TemplateError

    raise TemplateError(message)


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
    """Jinja's own filter would escape for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)


def _generation() -> Any:
    """Return the extension for `{% generation %}`, which marks the model's words for training: here it does nothing."""
    from jinja2 import nodes
    from jinja2.ext import Extension
    from jinja2.parser import Parser

    class Generation(Extension):
        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Parser) -> list[nodes.Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    return Generation
