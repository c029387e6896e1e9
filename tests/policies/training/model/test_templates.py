"""The chat templates of real families on an agent's conversations: all of it is shown, or it is refused.

What a template leaves out all the same, its server leaves out as well; it is written down here, so that
another silent loss shows.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from policies.records import Message, ToolCall
from policies.snapshot import Pair
from tests.conversations import CONVERSATIONS, Conversation, agent
from tests.dialects import DIALECTS, ends_of, tokenizer_of

pytestmark = [pytest.mark.training]

CALLS = [
    name
    for name, each in CONVERSATIONS.items()
    if any(message.tool_calls or message.role == "tool" for message in each.messages)
]
THOUGHTS = [
    name for name, each in CONVERSATIONS.items() if any(message.reasoning for message in each.messages)
]
ONE_ANSWER = [name for name, each in CONVERSATIONS.items() if len(each.answer) == 1]

LEFT_OUT = "the chat template leaves out a tool call's arguments"
TURNS = "roles must alternate"
CALLS_REFUSED = {
    **dict.fromkeys(("llama3", "deepseek_r1_distill", "phi3", "gpt2"), LEFT_OUT),
    **dict.fromkeys(("gemma", "gemma3", "cohere2"), f"{LEFT_OUT}|{TURNS}"),
}
"""Templates without a place for calls, and their words."""
STRICT_TURNS = {"gemma", "gemma3", "cohere2", "mistral"}
"""They refuse two questions in a row."""
SHOW_THOUGHTS = {
    *("qwen3", "qwen3_5_think", "gemma4", "deepseekv3", "deepseek_r1_distill", "gptoss", "glm4moe", "lfm2"),
    "nemotron3",
}
"""They show what was thought before the last answer; no template shows the thoughts of earlier turns."""
SHOW_TOOLS = {
    *("qwen2_5", "qwen3", "qwen3_instruct_2507", "qwen3_5_think", "qwen3_5_nothink", "llama3_1", "llama3_2"),
    *("gemma4", "gptoss", "glm4moe", "lfm2", "nemotron3", "mistral"),
}
"""They write the definitions of the tools on offer into the prompt."""
ENDLESS = {"glm4moe"}
"""They write no end token after an answer: such a family is not trained at all."""
TEXT_LEFT_OUT = "the chat template leaves out the text of this answer"
ODD = {
    ("llama3_1", "answer is text and a call"): TEXT_LEFT_OUT,
    ("llama3_2", "answer is text and a call"): TEXT_LEFT_OUT,
    ("llama3_1", "text and a call in the history"): "without: text",
    ("llama3_2", "text and a call in the history"): "without: text",
    ("deepseekv3", "call after a result"): "not shown as what continues the generation prompt",
    ("gemma4", "text and a call in the history"): "not shown as what continues the generation prompt",
    ("gemma4", "result without id or name"): "made up: unknown",
}
"""What single templates do else."""


class Spoken:
    """A dialect's tokenizer with its rendering."""

    def __init__(self, name: str) -> None:
        from transformers import GenerationConfig

        from policies.training.model.rendering import Rendering
        from policies.training.model.responses import Responses

        self.name = name
        dialect = DIALECTS[name]
        self.tokenizer = tokenizer_of(dialect)
        settings = GenerationConfig(eos_token_id=ends_of(dialect, self.tokenizer))
        self.rendering = Rendering(self.tokenizer, generation=settings)
        self.responses = Responses(self.rendering)

    def shown(self, conversation: Conversation) -> str:
        """The whole text. Raises UnrenderableError."""
        (found,) = self.rendering.continuations(
            conversation.prompt, [conversation.answer], conversation.tools
        )
        return found.prompt + "".join(segment.text for segment in found.segments)

    def example(self, conversation: Conversation) -> Any:
        """The pair of the conversation's answer and a short one, as tokens. Raises UnrenderableError."""
        from policies.training.model.dataset import tokenise

        pair = Pair(
            preference=1,
            prompt=conversation.prompt,
            chosen=conversation.answer,
            rejected=(agent("No."),),
            tools=conversation.tools,
        )
        return tokenise(pair, self.rendering)


@pytest.fixture(scope="module", params=DIALECTS)
def said(request: pytest.FixtureRequest) -> Spoken:
    """Every dialect in turn."""
    return Spoken(request.param)


def outcome(said: Spoken, conversation: Conversation) -> str:
    """`whole`, the words of the refusal, what is left out of the text, or what is made up in it."""
    from policies.training.model.rendering import UnrenderableError

    try:
        text = said.shown(conversation)
    except UnrenderableError as error:
        return str(error)
    invented = sorted(set(re.findall(r"\b(?:null|None|undefined|unknown)\b", text)))
    if invented:
        return f"made up: {', '.join(invented)}"
    missing = list(dict.fromkeys(_missing(text, conversation)))
    return f"without: {', '.join(missing)}" if missing else "whole"


def _missing(text: str, conversation: Conversation) -> Iterator[str]:
    """What is not in the text. A message's parts are looked for behind the beginning of the one before it:
    templates put a message's text behind its calls, or its second call behind the result of the first.
    """
    at = 0
    for message in conversation.messages:
        places: list[int] = []
        for kind, part in _parts(message):
            found = _find(text, part, at)
            if found is None:
                yield kind
            else:
                places.append(found)
        # A system's text may stand behind the first question, and the tools on offer are named before it.
        at = min(places, default=at) if message.role != "system" else at


def _parts(message: Message) -> Iterator[tuple[str, str]]:
    """What a message says, with a name for it."""
    if message.reasoning:
        yield "thought", message.reasoning
    if message.content:
        yield "text", message.content
    for call in message.tool_calls:
        yield "call", call.name
        yield from (("argument", leaf) for leaf in _leaves(call.arguments))


def _find(text: str, part: str, start: int) -> int | None:
    """Where the part stands, as it is or as it is spelled within JSON."""
    spelled = (part, json.dumps(part)[1:-1], json.dumps(part, ensure_ascii=False)[1:-1])
    places = [place for each in spelled if (place := text.find(each, start)) >= 0]
    return min(places) if places else None


def _leaves(value: Any) -> Iterator[str]:
    """Every key, and every text and number, of a JSON value."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner)
    else:
        yield value if isinstance(value, str) else json.dumps(value)


def expected(dialect: str, name: str) -> str:
    """What the tables above say, as a pattern."""
    if (dialect, name) in ODD:
        return ODD[dialect, name]
    if name in CALLS and dialect in CALLS_REFUSED:
        return CALLS_REFUSED[dialect]
    if name == "two questions in a row" and dialect in STRICT_TURNS:
        return TURNS
    if name in THOUGHTS and (name == "thought in the history" or dialect not in SHOW_THOUGHTS):
        return "^without: thought$"
    return "^whole$"


def test_a_conversation_is_shown_whole_or_refused(said: Spoken) -> None:
    """Every text, call, argument and result in its order, and nothing else; or the words of the refusal."""
    found = {name: outcome(said, each) for name, each in CONVERSATIONS.items()}
    odd = {name: words for name, words in found.items() if not re.search(expected(said.name, name), words)}
    assert odd == {}


def test_tools_on_offer_are_shown(said: Spoken) -> None:
    """All of them, with their descriptions and parameters; or the template has no place for them."""
    offered = CONVERSATIONS["tools on offer"]
    text = said.rendering.ask(offered.prompt, offered.tools)
    shown = [
        all(each in text for each in (tool["function"]["name"], tool["function"]["description"]))
        and all(key in text for key in tool["function"]["parameters"]["properties"])
        for tool in offered.tools
    ]
    assert shown == [said.name in SHOW_TOOLS] * len(offered.tools)


def test_what_is_trained_is_the_agents_own(said: Spoken) -> None:
    """Texts, calls and thoughts of the agent, with the token that ends each of its turns; no result, nothing
    of the prompt, and no empty thought.
    """
    from policies.training.model.rendering import UnrenderableError

    seen = 0
    for name, conversation in CONVERSATIONS.items():
        try:
            example = said.example(conversation)
        except UnrenderableError:
            continue
        seen += 1
        own = [token for token, on in zip(example.chosen, example.chosen_mask, strict=True) if on]
        text = said.tokenizer.decode(own)
        turns = [message for message in conversation.answer if message.role == "assistant"]
        ends = [token in said.rendering.ends for token in own]
        assert sum(ends) == (0 if said.name in ENDLESS else len(turns)), name
        assert ends[-1] is (said.name not in ENDLESS), name
        assert all(message.content in text for message in turns), name
        assert all(call.name in text for message in turns for call in message.tool_calls), name
        others = [message for message in conversation.messages if message.role in {"user", "system", "tool"}]
        assert not any(message.content in text for message in others), name
        assert not re.search(r"<think>\s*</think>|^\s*</think>", text), name
    assert seen >= len(CONVERSATIONS) - len(CALLS) - 1


def test_what_was_trained_is_read_back(said: Spoken) -> None:
    """Sampled, an answer's tokens give its text, its thought and its calls; arguments keep their types."""
    from policies.training.model.rendering import UnrenderableError

    for name in ONE_ANSWER:
        conversation = CONVERSATIONS[name]
        try:
            example = said.example(conversation)
        except UnrenderableError:
            continue
        length = max(index for index, on in enumerate(example.chosen_mask) if on) + 1
        read = said.responses.read(example.prompt, example.chosen[:length], conversation.tools)
        (answer,) = conversation.answer
        assert _plainly(read) == _plainly(_readable(answer, said.name)), name


def _plainly(message: Message) -> tuple[str, str, list[tuple[str, Any]]]:
    return message.content, message.reasoning, [_call(each) for each in message.tool_calls]


def _call(call: ToolCall) -> tuple[str, Any]:
    return call.name, call.arguments


def _readable(answer: Message, dialect: str) -> Message:
    """The answer as far as the template shows it: gpt-oss has a text before a call among the thoughts."""
    if dialect not in SHOW_THOUGHTS:
        return answer.model_copy(update={"reasoning": ""})
    if dialect == "gptoss" and answer.tool_calls and answer.content:
        return answer.model_copy(update={"reasoning": answer.content, "content": ""})
    return answer
