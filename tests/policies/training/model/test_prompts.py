"""Prompts to tokens: what is context, which answers are known, and which prompts cannot be asked."""

import copy
from typing import Any

import pytest

from policies.prompted import Known, Prompt, replayed
from policies.records import Message, Tokens
from tests.conversations import CONVERSATIONS, agent
from tests.families import FAMILIES, build
from tests.policies.training.conftest import said

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("ignore::FutureWarning")]

GOES_ON = CONVERSATIONS["answer goes on after a result"]
ASKED = said("user", "hello please help me")
STERN = (
    "{% for message in messages %}"
    "{% if 'kind' in message['content'] %}{{ raise_exception('never') }}{% endif %}"
    "{{ message['content'] }} {% endfor %}"
)


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A real template that shows calls and results."""
    from policies.training.model import lora
    from policies.training.model.rendering import Rendering

    base = lora.load(str(build(FAMILIES["qwen3"], tmp_path_factory.mktemp("base"))), None, "cpu")
    return Rendering(base.tokenizer, generation=base.model.generation_config)


@pytest.fixture(scope="module")
def rendering(base: Any) -> Any:
    from policies.training.model.rendering import Rendering

    return Rendering(base.tokenizer, generation=base.model.generation_config)


def prepare(found: list[Prompt], rendering: Any, most: int = 500, new: int = 20) -> Any:
    from policies.training.model.prompts import PromptRoom
    from policies.training.model.prompts import prepare as prepared

    return prepared(found, rendering, PromptRoom(most, new))


def test_recorded_tool_results_are_context_and_never_trained_on(tools: Any) -> None:
    """They are in what the policy is asked, token for token; of the answer known to it all is its own."""
    prompt, answer = replayed(GOES_ON.prompt, GOES_ON.answer)
    results = [message.content for message in prompt if message.role == "tool"]
    assert results
    asked = Prompt(prompt=prompt, tools=GOES_ON.tools, answers=(Known(answer=answer, reward=9.0),))
    (found,) = prepare([asked], tools, 2000).prompts
    context = tools.tokenizer.decode(found.ids)
    assert all(result in context for result in results)
    (single,) = found.singles
    assert tuple(single.prompt) == found.ids
    own = tools.tokenizer.decode([each for each, on in zip(single.answer, single.mask, strict=True) if on])
    assert own.startswith(answer[-1].content)
    assert not any(result in tools.tokenizer.decode(single.answer) for result in results)
    assert found.rewards == {tuple(single.answer): 9.0}


def test_verdicts_are_known_by_the_tokens_of_prompt_and_answer(rendering: Any) -> None:
    """As sampled where that was under this rendering. One of two verdicts on the same tokens counts; an
    answer without any is known, and has none.
    """
    sampled = Tokens(ids=tuple(rendering.encode("yes")), rendering=rendering.digest)
    answers = (
        Known(answer=(agent("yes"),), reward=None, tokens=sampled),
        Known(answer=(agent("yes"),), reward=7.0, tokens=sampled),
        Known(answer=(agent("no"),)),
    )
    (found,) = prepare([Prompt(prompt=(ASKED,), answers=answers)], rendering).prompts
    assert list(found.rewards.values()) == [7.0, None]
    assert next(iter(found.rewards)) == sampled.ids
    assert len(found.singles) == 2


def test_what_cannot_be_asked_is_counted(base: Any) -> None:
    """A prompt that leaves no room, one that renders as another does, and one that the template refuses; an
    answer that is too long is left out alone.
    """
    from policies.training.model.rendering import Rendering

    long = Message(role="user", content="hello please help me " * 60)
    refused = Prompt(trace=9, prompt=(said("system", "be kind"), ASKED))
    whole = Prompt(prompt=(ASKED,), answers=(Known(answer=(agent("yes " * 200),)),))
    stern = Rendering(copy.deepcopy(base.tokenizer), generation=base.model.generation_config)
    stern.tokenizer.chat_template = STERN
    found = prepare([whole, whole, Prompt(prompt=(long,)), refused], stern, 100)
    assert [len(each.singles) for each in found.prompts] == [0]
    assert found.told == (
        "1 prompts of 4, 1 unfit (event 9: never), 1 repeated, 1 without room for 20 new tokens in 100"
    )
