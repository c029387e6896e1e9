"""Sampling, and the distance between policies, against what can be computed by hand."""

import math
from pathlib import Path
from typing import Any

import pytest

from policies.recipes import Lora
from policies.records import Message
from tests.policies.training.conftest import pair, sampled

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("ignore::FutureWarning")]

PROMPTS = [pair(number).prompt for number in range(8)]


@pytest.fixture(scope="module")
def adapted(tiny_model: Path) -> Any:
    """The tiny model with an adapter that changes it a little."""
    import torch

    from policies.training.model import lora

    loaded = lora.load(str(tiny_model), None, "cpu")
    torch.manual_seed(1)
    model = lora.fresh(loaded, Lora(r=4, alpha=8))
    for value in lora.trainable(model).values():
        torch.nn.init.normal_(value, std=0.3)
    return model.eval()


def test_a_seed_gives_the_same_answers_in_any_batch(base: Any, rendering: Any) -> None:
    """Alone, in pairs or all at once, forwards or backwards: each prompt's answers are its own."""

    def answers(prompts: list[tuple[Message, ...]], batch_size: int) -> list[list[str]]:
        found = sampled(
            base.model, rendering, prompts, count=3, seed=4, max_new_tokens=12, batch_size=batch_size
        )
        return [[rendering.tokenizer.decode(answer.tokens) for answer in row] for row in found]

    whole = answers(PROMPTS, 32)
    assert answers(PROMPTS, 2) == whole
    assert answers(PROMPTS[::-1], 5)[::-1] == whole
    assert len({text for row in whole for text in row}) > 12


def test_another_seed_gives_other_answers(base: Any, rendering: Any) -> None:
    """Seeds matter, and so does the number of the sample."""
    one = sampled(base.model, rendering, PROMPTS, seed=1, max_new_tokens=8)
    two = sampled(base.model, rendering, PROMPTS, seed=2, max_new_tokens=8)
    assert [row[0].tokens for row in one] != [row[0].tokens for row in two]


def test_an_answer_ends_with_its_end_token_or_is_called_truncated(base: Any, rendering: Any) -> None:
    """Tokens stop at the end of the turn, and never go past the limit."""
    rows = sampled(base.model, rendering, PROMPTS, count=20, seed=3, max_new_tokens=30)
    answers = [answer for row in rows for answer in row]
    end = base.tokenizer.eos_token_id
    assert {answer.truncated for answer in answers} == {True, False}
    for answer in answers:
        assert len(answer.tokens) == 30 if answer.truncated else answer.tokens[-1] == end
        assert end not in answer.tokens[:-1]


def test_tokens_are_drawn_with_the_models_probabilities(base: Any, rendering: Any) -> None:
    """4,000 first tokens to one prompt: frequencies are within 5 standard errors of the softmax."""
    import torch

    rows = sampled(
        base.model, rendering, PROMPTS[:1], count=4000, temperature=0.7, max_new_tokens=1,
        batch_size=1000,
    )  # fmt: skip
    counts = torch.zeros(base.model.config.vocab_size)
    for answer in rows[0]:
        counts[answer.tokens[0]] += 1
    ids = torch.tensor([rendering.encode(rendering.ask(PROMPTS[0]))])
    with torch.no_grad():
        expected = (base.model(input_ids=ids).logits[0, -1] / 0.7).softmax(-1)
    errors = (counts / 4000 - expected).abs() / (expected * (1 - expected) / 4000).sqrt()
    assert errors.max() < 5


def test_a_policy_is_at_no_distance_from_itself(adapted: Any, base: Any, rendering: Any) -> None:
    """KL is 0 for the same adapter, and entropy is that of its own distributions."""
    from policies.training.sampling import distance

    answers = [row[0] for row in sampled(adapted, rendering, PROMPTS, max_new_tokens=10)]
    same = distance.distances(adapted, 0, answers, policy="default", reference="default")
    assert [distance.kl for distance in same] == pytest.approx([0] * len(PROMPTS), abs=1e-6)
    assert all(0 < d.entropy / d.tokens < math.log(base.model.config.vocab_size) for d in same)


def test_distances_are_the_sums_one_gets_by_hand(adapted: Any, base: Any, rendering: Any) -> None:
    """Batched and padded KL and entropy equal those of one unpadded sequence at a time."""
    import torch

    from policies.training.sampling import distance

    answers = [row[0] for row in sampled(adapted, rendering, PROMPTS, max_new_tokens=10)]
    found = distance.distances(adapted, 0, answers, policy="default", reference=None)
    for answer, one in zip(answers, found, strict=True):
        ids = torch.tensor([answer.prompt + answer.tokens])
        start = len(answer.prompt) - 1
        with torch.no_grad():
            ours = adapted(input_ids=ids).logits[0, start:-1].log_softmax(-1)
            with adapted.disable_adapter():
                other = adapted(input_ids=ids).logits[0, start:-1].log_softmax(-1)
        kl = (ours.exp() * (ours - other)).sum().item()
        assert one.kl == pytest.approx(kl, rel=1e-4, abs=1e-4)
        assert one.entropy == pytest.approx(-(ours.exp() * ours).sum().item(), rel=1e-4)
        assert one.tokens == len(answer.tokens)
        assert one.kl > 0


def test_the_estimate_of_kl_agrees_with_plain_log_ratios(adapted: Any, base: Any, rendering: Any) -> None:
    """Over 400 samples both estimates have the same mean, and the full-distribution one varies less."""
    import torch

    from policies.training.sampling import distance

    answers = sampled(adapted, rendering, PROMPTS[:1], count=400, max_new_tokens=6, batch_size=200)[0]
    found = distance.distances(adapted, 0, answers, policy="default", reference=None)
    ratios = []
    for answer in answers:
        ids = torch.tensor([answer.prompt + answer.tokens])
        start, taken = len(answer.prompt) - 1, torch.tensor(answer.tokens)[:, None]
        with torch.no_grad():
            ours = adapted(input_ids=ids).logits[0, start:-1].log_softmax(-1).gather(1, taken)
            with adapted.disable_adapter():
                other = adapted(input_ids=ids).logits[0, start:-1].log_softmax(-1).gather(1, taken)
        ratios.append((ours - other).sum().item())
    plain, full = torch.tensor(ratios), torch.tensor([distance.kl for distance in found])
    error = (plain.std() / math.sqrt(len(answers))).item()
    assert abs(plain.mean() - full.mean()).item() < 4 * error
    assert full.std() < plain.std()


def test_comparing_answers_everything_the_gate_asks(tiny_model: Path, base: Any, tmp_path: Path) -> None:
    """One answer of each policy to a prompt, in order; against the base an untouched adapter has KL 0."""
    import torch

    from policies.training.compare import run_compare
    from policies.training.jobs import CompareJob
    from policies.training.model import lora
    from policies.training.progress import Reporter

    loaded = lora.load(str(tiny_model), None, "cpu")
    model = lora.fresh(loaded, Lora(r=4, alpha=8))
    lora.save(model, tmp_path / "same", loaded)
    for value in lora.trainable(model).values():
        torch.nn.init.normal_(value, std=0.3)
    lora.save(model, tmp_path / "other", loaded)

    def compare(stable: Path | None, candidate: Path) -> Any:
        job = CompareJob(
            out=tmp_path, base_model=str(tiny_model), stable=stable, candidate=candidate,
            prompts=tuple(PROMPTS), max_new_tokens=10, seed=1, device="cpu",
        )  # fmt: skip
        with Reporter(tmp_path / "progress.jsonl") as reporter:
            return run_compare(job, reporter, lambda: False)

    same, other = compare(None, tmp_path / "same"), compare(tmp_path / "same", tmp_path / "other")
    back = compare(tmp_path / "other", tmp_path / "same")
    assert len(same.stable) == len(same.candidate) == len(PROMPTS)
    assert same.kl_sequence == pytest.approx(0, abs=1e-5)
    assert other.kl_sequence > 0.1
    assert other.kl_sequence == pytest.approx(sum(other.kl_per_prompt) / len(PROMPTS))
    assert other.kl_token == pytest.approx(other.kl_sequence * len(PROMPTS) / other.tokens_candidate)
    assert same.stable == other.stable
    assert back.candidate != back.stable
    assert other.entropy_stable == pytest.approx(same.entropy_stable, rel=1e-4)
