"""Messages to text to tokens, by the tokenizer's own chat template.

What is trained must be what is sampled: a prompt is tokenised alone, ending where the model goes on, and an
answer is tokenised as its continuation. Templates that render an answer other than as such a continuation are
found out here, and the messages refused with the template's own words.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any, TypeVar

from policies.records import Message
from policies.training.jobs import Messages, Tools
from policies.training.model.spelling import SPELLINGS, Spelling, Turn

PLAIN_TEMPLATE = (
    "{% if bos_token %}{{ bos_token }}{% endif %}"
    "{% for message in messages %}{{ message['role'] }}:"
    "{% if message['content'] %}{{ ' ' + message['content'] }}{% endif %}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
"""For a tokenizer without a template of its own. The blank before a text belongs to the text: an answer that
begins with it is one that the model has seen. Newlines are written as expressions, since jinja eats those
that follow a block.
"""

OPENED = re.compile(r"<think>\s*\Z")
"""The end of a generation prompt that begins the model's thought for it."""
EMPTY_THOUGHT = re.compile(r"\s*<think>\s*</think>\s*")
CLOSED_THOUGHT = re.compile(r"\s*</think>\s*")
CLOSING = "\n</think>\n\n"
"""How a thought ends before the answer, in every template that opens one."""
MAX_WORDS = 200

T = TypeVar("T")


class UnrenderableError(ValueError):
    """The chat template cannot show these messages. The message is the template's own words, in one line."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of text after the prompt. `own`: the assistant wrote it; else it is context."""

    text: str
    own: bool


@dataclass(frozen=True, slots=True)
class Continuation:
    """A prompt's text, ending where the answer begins, and what follows it."""

    prompt: str
    segments: tuple[Segment, ...]


class Rendering:
    """A tokenizer with its chat template.

    `ends` are the ids of the tokens that end a turn: the tokenizer's, those of the model's generation
    settings (`generation`), and the one that the template itself writes after an answer. `day` freezes the
    date that some templates write into the system message; None leaves it to the template.
    """

    def __init__(self, tokenizer: Any, *, generation: Any = None, day: date | None = None) -> None:
        self.tokenizer = tokenizer
        self._day = day
        self._template = None if tokenizer.chat_template else PLAIN_TEMPLATE
        self.ends = _declared_ends(tokenizer, generation) | self._ends_by_template()
        self.digest = self._digest()

    @property
    def pad(self) -> int:
        """What batches are filled up with. Attention never looks at it."""
        pad = self.tokenizer.pad_token_id
        return int(min(self.ends, default=0) if pad is None else pad)

    def text(self, turns: list[Turn], tools: Tools, *, ask: bool) -> str:
        """The conversation as text; with `ask` it ends where the assistant's answer begins.

        Raises UnrenderableError.
        """
        frozen = {} if self._day is None else {"strftime_now": datetime.combine(self._day, time()).strftime}
        try:
            rendered: str = self.tokenizer.apply_chat_template(
                turns,
                tools=list(tools) or None,
                chat_template=self._template,
                add_generation_prompt=ask,
                tokenize=False,
                **frozen,
            )
        except Exception as error:  # noqa: BLE001 - a template is a program: it raises whatever it likes
            raise UnrenderableError(_words(error)) from None
        return rendered

    def ask(self, prompt: Messages, tools: Tools = ()) -> str:
        """The text of a prompt that is to be answered, in the first spelling that shows all of it.

        Raises UnrenderableError.
        """
        return _first(lambda spelling: self._whole(spelling, prompt, tools, ask=True), prompt)

    def continuations(
        self, prompt: Messages, answers: Iterable[Messages], tools: Tools = ()
    ) -> list[Continuation]:
        """The prompt with each of the answers, all in one spelling. Raises UnrenderableError."""
        asked = list(answers)

        def all_of(spelling: Spelling) -> list[Continuation]:
            return [self._continuation(spelling, prompt, answer, tools) for answer in asked]

        return _first(all_of, (*prompt, *(message for answer in asked for message in answer)))

    def encode(self, text: str) -> list[int]:
        """The tokens of a text that begins a sequence."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def encode_after(self, text: str) -> list[int]:
        """The tokens of a text that continues a sequence.

        Some tokenizers put a blank before whatever comes first; behind a special token they do as they would
        in the middle.
        """
        anchor = self.tokenizer.eos_token
        if anchor is None:
            return self.encode(text)
        before, whole = self.encode(anchor), self.encode(anchor + text)
        return whole[len(before) :] if whole[: len(before)] == before else self.encode(text)

    def _whole(self, spelling: Spelling, messages: Messages, tools: Tools, *, ask: bool) -> str:
        """The rendered text. Raises UnrenderableError also where the template leaves out calls or results."""
        turns = spelling.turns(messages)
        rendered = self.text(turns, tools, ask=ask)
        if any("tool_calls" in turn or turn["role"] == "tool" for turn in turns):
            self._check_nothing_is_lost(turns, tools, ask=ask)
        return rendered

    def _check_nothing_is_lost(self, turns: list[Turn], tools: Tools, *, ask: bool) -> None:
        """Templates may drop what they were not written for in silence: a second call, a tool's result.

        The contents are replaced by marks, and the marks are looked for. A template that looks into the
        contents and raises says nothing of what it leaves out.
        """
        marked, marks = _marked(turns)
        try:
            rendered = self.text(marked, tools, ask=ask)
        except UnrenderableError:
            return
        for mark, what in marks.items():
            if mark not in rendered:
                raise UnrenderableError(f"the chat template leaves out {what}")

    def _continuation(
        self, spelling: Spelling, prompt: Messages, answer: Messages, tools: Tools
    ) -> Continuation:
        """The segments after the prompt: each of the assistant's messages, and the context between them."""
        start = self._whole(spelling, prompt, tools, ask=True)
        segments: list[Segment] = []
        shown: list[str] = []
        for index, message in enumerate(answer):
            if message.role != "assistant":
                continue
            before = prompt + answer[:index]
            asked = self._whole(spelling, before, tools, ask=True) if index else start
            if index:
                segments.append(Segment(_after(asked, shown), own=False))
            whole = self._whole(spelling, (*before, message), tools, ask=False)
            if not whole.startswith(asked):
                whole = _rejoined(asked, self._whole(spelling, before, tools, ask=False), whole)
            given = self._answer(asked, whole, message)
            if message.content.strip() not in given[-1].text:
                raise UnrenderableError("the chat template leaves out the text of this answer")
            segments += given
            shown = _as_history(asked, whole, given)
        return Continuation(start, tuple(segments))

    def _answer(self, asked: str, shown: str, message: Message) -> list[Segment]:
        """What follows the generation prompt: the thought, where there is one, and the answer.

        Where the generation prompt opens a thought, the answer continues it: by the logged reasoning, else by
        its end alone. An empty thought is context: nobody thought it, and it is not taught.
        """
        opened = OPENED.search(asked)
        if shown.startswith(asked):
            rest = shown[len(asked) :]
            empty = (CLOSED_THOUGHT if opened else EMPTY_THOUGHT).match(rest)
        elif opened and shown.startswith(asked[: opened.start()]):
            rest = shown[opened.start() :]
            thought = EMPTY_THOUGHT.match(rest)
            rest = f"{message.reasoning}{CLOSING}{rest[thought.end() if thought else 0 :]}"
            empty = None if message.reasoning else CLOSED_THOUGHT.match(rest)
        else:
            raise UnrenderableError("an answer is not shown as what continues the generation prompt")
        if empty is None:
            return [Segment(rest, own=True)]
        return [Segment(rest[: empty.end()], own=False), Segment(rest[empty.end() :], own=True)]

    def _ends_by_template(self) -> frozenset[int]:
        """The special token that the template writes after an answer, declared or not."""
        try:
            continuation = self._continuation(Spelling(), PROBE, (PROBE_ANSWER,), ())
        except UnrenderableError:
            return frozenset()
        added = self.tokenizer.added_tokens_decoder
        tail = continuation.segments[-1].text.rpartition(PROBE_ANSWER.content)[2]
        special = [token for token in self.encode_after(tail) if token in added and added[token].special]
        return frozenset(special[:1])

    def _digest(self) -> str:
        """SHA-256 over what decides how messages become tokens."""
        total = hashlib.sha256((self.tokenizer.chat_template or PLAIN_TEMPLATE).encode())
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        vocabulary = (
            json.dumps(self.tokenizer.get_vocab(), sort_keys=True) if backend is None else backend.to_str()
        )
        total.update(vocabulary.encode())
        total.update(json.dumps(self.tokenizer.special_tokens_map, sort_keys=True, default=str).encode())
        return total.hexdigest()


def _rejoined(asked: str, before: str, whole: str) -> str:
    """The answer behind the prompt as it was asked, for templates that show earlier turns otherwise once
    there is an answer: what counts is what the model saw. As it was where the generation prompt is not found.
    """
    opening = asked[len(before) :] if asked.startswith(before) else ""
    at = whole.rfind(opening) if opening else -1
    return whole if at < 0 else asked + whole[at + len(opening) :]


def _as_history(asked: str, whole: str, given: list[Segment]) -> list[str]:
    """How a conversation may read once its last answer is a turn among others: without an empty thought."""
    opened = OPENED.search(asked)
    head = asked[: opened.start()] if opened else asked
    return [whole, asked + given[-1].text, head + given[-1].text]


def _after(asked: str, shown: list[str]) -> str:
    """What a longer conversation adds to a shorter one. Raises UnrenderableError."""
    for text in shown:
        if asked.startswith(text):
            return asked[len(text) :]
    raise UnrenderableError("the template shows a turn otherwise once others follow it")


PROBE: Messages = (Message(role="user", content="hello"),)
PROBE_ANSWER = Message(role="assistant", content="yes")


def _first(render: Callable[[Spelling], T], messages: Messages) -> T:
    """What the first spelling gives that renders. Raises UnrenderableError with the words for the messages as
    they are, and for the most changed ones where those differ.
    """
    refusals: list[str] = []
    for spelling in _worth_trying(messages):
        try:
            return render(spelling)
        except UnrenderableError as error:
            refusals.append(str(error))
    first, last = refusals[0], refusals[-1]
    raise UnrenderableError(first if first == last else f"{first} (otherwise spelled: {last})")


def _worth_trying(messages: Messages) -> list[Spelling]:
    """The spellings that differ for these messages, the least changed first."""
    calls = any(message.tool_calls or message.role == "tool" for message in messages)
    several = any(len(message.tool_calls) > 1 for message in messages)
    system = any(message.role == "system" for message in messages)
    thought = any(message.reasoning for message in messages)
    return [
        each
        for each in SPELLINGS
        if (calls or not (each.text_arguments or each.short_ids))
        and (several or not each.single_calls)
        and (system or not each.no_system)
        and (thought or not each.no_reasoning)
    ]


def _marked(turns: list[Turn]) -> tuple[list[Turn], dict[str, str]]:
    """The turns with marks for the contents of calls and results, and what each mark stands for."""
    marks: dict[str, str] = {}
    marked: list[Turn] = []
    for number, turn in enumerate(turns):
        copy = dict(turn)
        if turn["role"] == "tool":
            copy["content"] = mark = f"result{number}mark"
            marks[mark] = "a tool's result"
        if "tool_calls" in turn:
            copy["tool_calls"] = []
            for index, call in enumerate(turn["tool_calls"]):
                inner = call["function"]
                value = f"value{number}mark{index}"
                marks[value] = "a tool call's arguments"
                given: Any = {f"key{number}mark{index}": value}
                given = json.dumps(given) if isinstance(inner["arguments"], str) else given
                copy["tool_calls"].append({**call, "function": {**inner, "arguments": given}})
        marked.append(copy)
    return marked, marks


def _declared_ends(tokenizer: Any, generation: Any) -> frozenset[int]:
    ends: set[int] = set()
    for value in (tokenizer.eos_token_id, getattr(generation, "eos_token_id", None)):
        if isinstance(value, int):
            ends.add(value)
        elif value is not None:
            ends.update(value)
    return frozenset(ends)


def _words(error: Exception) -> str:
    said = " ".join(str(error).split())[:MAX_WORDS]
    kind = type(error).__name__
    return said if kind == "TemplateError" and said else f"{kind}: {said}"
