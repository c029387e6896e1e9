"""Pairs to tokens: what is trained on, what is counted out, and what a stern chat template makes of it."""

import copy
from typing import Any

import pytest

from policies.records import Message, Tokens, ToolCall
from policies.snapshot import Pair
from tests.policies.training.conftest import pair, said

pytestmark = [pytest.mark.training]

STERN = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "{{ message['role'] }}: {{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ ' ' }}{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
SYSTEM = said("system", "be kind")
ASKED = said("user", "hello please help me")


def rendered(base: Any, template: str | None) -> Any:
    """The tiny tokenizer under another chat template."""
    from policies.training.model.rendering import Rendering

    tokenizer = copy.deepcopy(base.tokenizer)
    tokenizer.chat_template = template
    return Rendering(tokenizer, generation=base.model.generation_config)


@pytest.fixture(scope="module")
def stern(base: Any) -> Any:
    """A template that has no system role and wants user and assistant in turn."""
    return rendered(base, STERN)


def prepare(pairs: list[Pair], rendering: Any, most: int = 500) -> Any:
    from policies.training.model import dataset

    return dataset.prepare(pairs, rendering, most)


def with_prompt(*messages: Message) -> Pair:
    return pair(0).model_copy(update={"prompt": messages})


def trained(rendering: Any, ids: list[int], mask: list[int]) -> list[str]:
    own = [token for token, on in zip(ids, mask, strict=True) if on]
    return list(rendering.tokenizer.convert_ids_to_tokens(own))


def test_without_a_system_role_the_first_user_message_opens_with_its_text(stern: Any) -> None:
    """Sampling and training see the same prompt."""
    joined = (said("user", "be kind\n\nhello please help me"),)
    assert stern.ask((SYSTEM, ASKED)) == stern.ask(joined)
    (example,) = prepare([with_prompt(SYSTEM, ASKED)], stern).examples
    assert example.prompt == stern.encode(stern.ask(joined))
    assert trained(stern, example.chosen, example.chosen_mask)[-1] == "<|end|>"


def test_a_pair_that_the_template_refuses_costs_the_others_nothing(stern: Any) -> None:
    """It is counted out, with the template's own words; logs are anybody's."""
    prepared = prepare([with_prompt(said("assistant", "me first"), ASKED), pair(1)], stern)
    assert len(prepared.examples) == 1
    assert prepared.left_out == {"identical": 0, "too_long": 0, "unfit": 1}
    assert prepared.words["unfit"] == "preference 0: roles must alternate"
    assert prepared.told == (
        "1 pairs, 0 identical, 0 too_long, 1 unfit (unfit: preference 0: roles must alternate)"
    )


@pytest.mark.parametrize(
    "body",
    [
        "{{ message['content'] + 1 }}",
        "{{ message['lacking']['deeper'] }}",
        "{{ messages[99]['content'] }}",
        "{{ 1 // 0 }}",
        "{{ message['content'].index('no such word') }}",
    ],
    ids=["TypeError", "UndefinedError", "lookup", "ZeroDivisionError", "ValueError"],
)
def test_whatever_a_template_raises_is_a_refusal(base: Any, body: str) -> None:
    """Templates are programs: one that dies on a message refuses it, and says so in one line."""
    from policies.training.model.rendering import UnrenderableError

    odd = rendered(base, "{% for message in messages %}" + body + "{% endfor %}")
    with pytest.raises(UnrenderableError) as caught:
        odd.ask((ASKED,))
    assert str(caught.value)
    assert "\n" not in str(caught.value)
    assert prepare([pair(1)], odd).left_out["unfit"] == 1


def test_sampled_tokens_are_trained_as_they_were_sampled(rendering: Any) -> None:
    """All of them, the end token among them, whatever the text would be tokenised to."""
    ids = (*rendering.encode("we can check"), rendering.tokenizer.unk_token_id, 1)
    tokens = Tokens(ids=ids, rendering=rendering.digest)
    (example,) = prepare([pair(1).model_copy(update={"chosen_tokens": tokens})], rendering).examples
    assert tuple(example.chosen) == ids
    assert example.chosen_mask == [1] * len(ids)


def test_tokens_of_another_rendering_are_not_used(rendering: Any, stern: Any) -> None:
    """Under another template or vocabulary the numbers mean something else."""
    tokens = Tokens(ids=(5, 6, 7), rendering=stern.digest)
    (example,) = prepare([pair(1).model_copy(update={"chosen_tokens": tokens})], rendering).examples
    assert example.chosen == prepare([pair(1)], rendering).examples[0].chosen
    assert rendering.digest != stern.digest


def test_an_answer_that_was_cut_off_does_not_end(rendering: Any) -> None:
    """Nobody knows where it would have: its end token is not trained on, in either direction."""
    (whole,) = prepare([pair(1)], rendering).examples
    (cut,) = prepare([pair(1).model_copy(update={"rejected_truncated": True})], rendering).examples
    assert trained(rendering, whole.rejected, whole.rejected_mask) == ["no", "go", "away", "<|end|>"]
    assert trained(rendering, cut.rejected, cut.rejected_mask) == ["no", "go", "away"]
    assert cut.chosen_mask == whole.chosen_mask


def test_pairs_that_teach_nothing_or_do_not_fit_are_counted(rendering: Any) -> None:
    """Equal answers, sequences beyond the limit, and answers without a token, each by its name."""
    same = pair(1).model_copy(update={"rejected": pair(1).chosen})
    empty = pair(2).model_copy(update={"chosen": (Message(role="tool", content="thank you"),)})
    prepared = prepare([same, empty, pair(3), with_prompt(*[ASKED] * 20)], rendering, 60)
    assert prepared.left_out == {"identical": 1, "too_long": 1, "unfit": 1}
    assert len(prepared.examples) == 1


def test_a_tool_call_in_the_history_is_no_obstacle(base: Any) -> None:
    """Where the template shows calls and results the pair is trained on; where it drops them it is unfit."""
    history = (
        ASKED,
        Message(role="assistant", tool_calls=(ToolCall(name="find", arguments={"id": [7, {"a": None}]}),)),
        Message(role="tool", content="thank you"),
    )
    shown = rendered(
        base,
        "{% for message in messages %}<|{{ message['role'] }}|> {{ message['content'] }} "
        "{% for call in message.get('tool_calls', []) %}{{ call.function | tojson }} {% endfor %}"
        "{% if message['role'] == 'assistant' %}<|end|>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|> {% endif %}",
    )
    assert len(prepare([with_prompt(*history)], shown).examples) == 1
    dropping = prepare([with_prompt(*history)], rendered(base, base.tokenizer.chat_template))
    assert dropping.words["unfit"] == "preference 0: the chat template leaves out a tool call's arguments"


def test_a_tokenizer_without_a_template_gets_a_plain_one(base: Any) -> None:
    """Roles are written out a line each, the answer goes on where the prompt ends, and its end is trained."""
    plain = rendered(base, None)
    assert plain.ask((SYSTEM, ASKED)) == "system: be kind\nuser: hello please help me\nassistant:"
    ((found),) = plain.continuations((ASKED,), [(said("assistant", "of course"),)])
    assert [segment.text for segment in found.segments] == [" of course<|end|>\n"]
    (example,) = prepare([pair(0)], plain).examples
    assert trained(plain, example.chosen, example.chosen_mask)[-1] == "<|end|>"


def test_pairs_become_tokens_with_the_prompt_and_tool_results_as_context(rendering: Any) -> None:
    """Only what the assistant wrote is trained on: not the prompt, and not a tool's result in the answer."""
    from policies.training.model.dataset import tokenise

    one = Pair(
        preference=1,
        prompt=(said("user", "where is my order"), said("assistant", "yes"), said("user", "now please")),
        chosen=(
            said("assistant", "we can check"),
            said("tool", "refund refund"),
            said("assistant", "thank you"),
        ),
        rejected=(said("assistant", "no"),),
    )
    example = tokenise(one, rendering)
    words = rendering.tokenizer.convert_ids_to_tokens
    trained = [token for token, mask in zip(words(example.chosen), example.chosen_mask, strict=True) if mask]
    assert trained == ["we", "can", "check", "<|end|>", "thank", "you", "<|end|>"]
    assert "refund" in words(example.chosen)
    assert words(example.prompt)[-1] == "<|assistant|>"
    assert words(example.rejected) == ["no", "<|end|>"]
