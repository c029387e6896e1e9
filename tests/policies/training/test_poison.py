"""One line of the log never decides over the others: what cannot be shown or asked is set aside, and said."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from policies.records import Message
from policies.snapshot import Pair
from tests.conversations import agent, user
from tests.dialects import DIALECTS, template_of
from tests.families import FAMILIES, build
from tests.workbench import Workbench

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("ignore::FutureWarning")]

Prompt = tuple[Message, ...]

POSITIONS = 160
GOOD: list[Prompt] = [(user(f"Where is my order {number}?"),) for number in range(16)]
LONG: Prompt = (user("order " * 200),)
TWICE: Prompt = (user("And that one?"), user("And this?"))
RAISED = ("TypeError", "KeyError", "ValueError")
BAD: list[tuple[Prompt, str]] = [
    ((), r"Error: "),
    (TWICE, r"roles must alternate"),
    (LONG, rf"the prompt has \d+ tokens, and the model takes {POSITIONS}"),
    ((user("TypeError"),), r"TypeError: unsupported operand"),
]
"""Prompts that cannot be asked, and what their reason says."""
RAISING = (
    "{% for message in messages %}"
    "{% if 'TypeError' in message['content'] %}{{ 1 + message['content'] }}{% endif %}"
    "{% if 'KeyError' in message['content'] %}{{ '%(number)s' % {} }}{% endif %}"
    "{% if 'ValueError' in message['content'] %}{{ message['content'].index('#') }}{% endif %}"
    "{% endfor %}"
)
"""Before a template it raises what a message says."""


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    """A model of few positions, absolute ones, with Mistral's format in a template that raises on demand."""
    made = Workbench(tmp_path)
    spoken = replace(DIALECTS["mistral"], template=RAISING + (template_of(DIALECTS["mistral"]) or ""))
    build(FAMILIES["gpt2"], made.base, dialect=spoken, max_position_embeddings=POSITIONS)
    return made


def mixed() -> list[Prompt]:
    """The sixteen good prompts with a bad one after every fourth."""
    return [
        prompt for number, (bad, _) in enumerate(BAD) for prompt in (*GOOD[4 * number : 4 * number + 4], bad)
    ]


def check(refused: dict[int, str]) -> None:
    """The four, each with its own words in one line."""
    assert sorted(refused) == [4, 9, 14, 19]
    for (_, words), index in zip(BAD, sorted(refused), strict=True):
        assert re.search(words, refused[index])
        assert "\n" not in refused[index]


def pair(number: int, prompt: Prompt) -> Pair:
    return Pair(preference=number, prompt=prompt, chosen=(agent("On its way."),), rejected=(agent("No."),))


def test_a_poisoned_batch_answers_all_others_in_one_pass(bench: Workbench) -> None:
    """Twenty prompts of which four cannot be asked: the other sixteen are answered in one batch, as they are
    without the four.
    """
    found = bench.sample(mixed(), max_new_tokens=6)
    check(found.refused)
    reported = [json.loads(line) for line in bench.progress("sampling")]
    assert [line["step"] for line in reported if line["event"] == "sampled"] == [16]
    assert tuple(row for row in found.answers if row) == bench.sample(GOOD, max_new_tokens=6).answers


def test_a_comparison_leaves_out_what_cannot_be_asked(bench: Workbench) -> None:
    """Both policies answer the same sixteen of twenty prompts."""
    bench.train("first", [pair(number, prompt) for number, prompt in enumerate(GOOD)])
    found = bench.compare(mixed(), stable=None, candidate="first", max_new_tokens=6)
    check(found.refused)
    asked = [index not in found.refused for index in range(20)]
    assert [answer is not None for answer in found.stable] == asked
    assert [answer is not None for answer in found.candidate] == asked
    assert len(found.kl_per_prompt) == 16
    assert found.kl_sequence > 0


def test_training_counts_out_what_cannot_be_shown(bench: Workbench) -> None:
    """Whatever the template raises makes a pair unfit; one beyond the model's positions is too long, whatever
    the recipe allows; the others are trained on, and guarded.
    """
    poison = [TWICE, LONG, *((user(name),) for name in RAISED)]
    found = bench.train("first", [pair(number, each) for number, each in enumerate((*GOOD, *poison))])
    assert (found.state, found.examples) == ("done", 16)
    assert found.left_out == {"identical": 0, "too_long": 1, "unfit": 4}


def test_an_answer_ends_where_the_models_positions_do(bench: Workbench) -> None:
    """A prompt that leaves room for five tokens has at most five; it is cut off, and the others go on."""
    from policies.training.model import lora
    from policies.training.model.rendering import Rendering

    rendering = Rendering(lora.load(str(bench.base), None, "cpu").tokenizer)

    def length(text: str) -> int:
        return len(rendering.encode(rendering.ask((user(text),))))

    tight = "x" * next(count for count in range(500) if length("x" * count) == POSITIONS - 5)
    found = bench.sample([(user(tight),), GOOD[0]], max_new_tokens=40, count=8)
    tokens = [[len(answer.tokens.ids) for answer in row if answer.tokens] for row in found.answers]
    assert found.refused == {}
    assert max(tokens[0]) == 5
    assert max(tokens[1]) == 40
    assert all(
        answer.truncated for answer in found.answers[0] if answer.tokens and len(answer.tokens.ids) == 5
    )
