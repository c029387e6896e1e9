"""Messages to tokens where the chat template is a stern one."""

import copy
from typing import Any

import pytest

from policies.records import Message
from policies.training.model.dataset import PLAIN_TEMPLATE, prepare, question, render
from tests.policies.training.conftest import pair, said

pytestmark = [pytest.mark.training]

STERN = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
SYSTEM = said("system", "be kind")
ASKED = said("user", "hello please help me")


@pytest.fixture
def stern(base: Any) -> Any:
    """A tokenizer whose template has no system role and wants user and assistant in turn."""
    tokenizer = copy.deepcopy(base.tokenizer)
    tokenizer.chat_template = STERN
    return tokenizer


def test_without_a_system_role_the_first_user_message_opens_with_its_text(stern: Any) -> None:
    """Sampling and training see the same prompt."""
    joined = (said("user", "be kind\n\nhello please help me"),)
    expected = render(stern, joined, ask=True)
    assert question(stern, (SYSTEM, ASKED)) == expected
    example = prepare([with_prompt(SYSTEM, ASKED)], stern, 500).examples[0]
    assert example.prompt == expected[: len(example.prompt)]
    assert stern.decode([t for t, on in zip(example.chosen, example.chosen_mask, strict=True) if on]).strip()


def test_a_pair_that_the_template_refuses_costs_the_others_nothing(stern: Any) -> None:
    """It is counted out; logs are anybody's."""
    prepared = prepare([with_prompt(said("assistant", "me first"), ASKED), pair(1)], stern, 500)
    assert (len(prepared.examples), prepared.unfit) == (1, 1)


@pytest.mark.parametrize("messages", [(said("assistant", "me first"),), (SYSTEM,), (ASKED, ASKED)])
def test_a_prompt_that_the_template_refuses_is_asked_plainly(
    stern: Any, messages: tuple[Message, ...]
) -> None:
    """One odd prompt must not keep a whole batch from being sampled."""
    found = question(stern, messages)
    stern.chat_template = PLAIN_TEMPLATE
    assert found == render(stern, messages, ask=True)


def with_prompt(*messages: Message) -> Any:
    return pair(0).model_copy(update={"prompt": messages})
