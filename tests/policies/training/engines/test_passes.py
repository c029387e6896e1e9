"""Passes over answers: a prompt that is computed once gives what it gives when it is computed for each."""

import random
from pathlib import Path
from typing import Any

import pytest

from policies.recipes import Lora
from tests.families import FAMILIES, build

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("ignore::FutureWarning")]

APPENDING = ("llama", "gpt2", "gemma2", "gemma3", "gpt-oss", "phi3")
REWRITING = ("qwen3.5-text", "lfm2", "falcon-h1")


def answers_to(lengths: dict[int, tuple[int, ...]], seed: int = 0) -> list[Any]:
    """Answers of these lengths to a prompt of each length, in a shuffled order."""
    from policies.training.sampling.generate import SampledAnswer

    chance = random.Random(seed)

    def ids(size: int) -> tuple[int, ...]:
        return tuple(chance.randrange(8, 32) for _ in range(size))

    found = []
    for prompt, sizes in lengths.items():
        asked = ids(prompt)
        found += [SampledAnswer(asked, ids(size), truncated=False) for size in sizes]
    chance.shuffle(found)
    return found


LENGTHS = {90: (20, 5, 1), 12: (20, 5), 3: (40,)}
"""Prompts longer than the families' windows and shorter, with answers of unlike lengths."""


def model_of(family: str, where: Path) -> Any:
    """A tiny model with an adapter that is not the base."""
    import torch

    from policies.training.model import lora

    loaded = lora.load(str(build(FAMILIES[family], where)), None, "cpu")
    model = lora.fresh(loaded, Lora(r=2, alpha=4)).eval()
    torch.manual_seed(0)
    for value in lora.trainable(model).values():
        torch.nn.init.normal_(value, std=0.1)
    return model


def taken(tokens: Any, logits: Any) -> Any:
    return logits.log_softmax(dim=-1).gather(-1, tokens[..., None])


def spelled_out(model: Any, answer: Any) -> Any:
    """The answer's token log-probabilities from its sequence alone, without padding or cache."""
    import torch

    ids = torch.tensor([answer.prompt + answer.tokens])
    logits = model(input_ids=ids, use_cache=False).logits[0, len(answer.prompt) - 1 : -1].float()
    return logits.log_softmax(-1).gather(1, torch.tensor(answer.tokens)[:, None])[:, 0]


@pytest.mark.parametrize("family", [*APPENDING, *REWRITING])
def test_log_probabilities_and_gradients_are_those_of_each_answer_alone(family: str, tmp_path: Path) -> None:
    """To 1e-4, whatever the family keeps of the past; those that only append to it share their prompts."""
    import torch

    from policies.training.engines.passes import Passes
    from policies.training.model import lora

    model = model_of(family, tmp_path / family)
    answers = answers_to(LENGTHS)
    spread = Passes(model, 0).distributions(answers)
    assert len(spread.blocks) == (2 if family in APPENDING else 1)
    found = spread.numbers(taken)[..., 0]
    alone = [spelled_out(model, answer) for answer in answers]
    for row, wanted in zip(found, alone, strict=True):
        assert torch.allclose(row[-len(wanted) :], wanted, atol=1e-4)
        assert not row[: -len(wanted)].any()
    weights = list(lora.trainable(model).values())
    ours = torch.autograd.grad((found * torch.arange(1, found.shape[1] + 1)).sum(), weights)
    places = [torch.arange(1, found.shape[1] + 1)[-len(row) :] for row in alone]
    theirs = torch.autograd.grad(
        sum((row * place).sum() for row, place in zip(alone, places, strict=True)), weights
    )
    largest = max(each.abs().max().item() for each in theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, atol=1e-4 * largest)


def test_a_prompt_is_computed_once_for_its_answers(tmp_path: Path) -> None:
    """The first pass has as many rows as there are prompts, and the second sees no prompt."""
    from policies.training.engines.passes import Passes

    model = model_of("llama", tmp_path / "llama")
    seen: list[tuple[int, int]] = []
    layer = model.get_base_model().get_decoder().layers[0].mlp
    layer.register_forward_hook(lambda _module, inputs, _output: seen.append(tuple(inputs[0].shape[:2])))
    Passes(model, 0).distributions(answers_to(LENGTHS))
    assert seen == [(3, 90), (6, 39)]


def test_answers_of_one_token_need_no_second_pass(tmp_path: Path) -> None:
    """What is said of them is said where the prompt ends."""
    import torch

    from policies.training.engines.passes import Passes

    model = model_of("llama", tmp_path / "llama")
    answers = answers_to({8: (1, 1, 1)})
    found = Passes(model, 0).distributions(answers).numbers(taken)
    assert found.shape == (3, 1, 1)
    for row, answer in zip(found, answers, strict=True):
        assert torch.allclose(row[:, 0], spelled_out(model, answer), atol=1e-5)


def test_answers_to_one_prompt_are_put_beside_each_other() -> None:
    """Shorter prompts come first, and of one prompt's answers the shorter ones."""
    from policies.training.engines.passes import by_prompt

    answers = answers_to(LENGTHS, seed=3)
    order = [answers[place] for place in by_prompt(answers)]
    assert [(len(each.prompt), len(each.tokens)) for each in order] == [
        (3, 40), (12, 5), (12, 20), (90, 1), (90, 5), (90, 20),
    ]  # fmt: skip
