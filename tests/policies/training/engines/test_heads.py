"""Heads on hidden states: what they see, whatever the batch, and what is written and read back."""

from pathlib import Path
from typing import Any

import pytest

from policies.training.errors import JobError
from tests.policies.training.conftest import pair, sampled

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("ignore::FutureWarning")]

SEQUENCES = [([7 + n, 8, 9] * (1 + n), [10, 11 + n, 1][n % 2 :]) for n in range(5)]


def test_a_new_head_is_a_function_of_its_seed(base: Any) -> None:
    """Same seed, same head, whatever torch has drawn before; scores of plain states are near 1 in size."""
    import torch

    from policies.training.engines import heads

    one = heads.fresh(32, 1, base.device)
    torch.rand(5)
    again, other = (heads.fresh(32, seed, base.device) for seed in (1, 2))
    assert torch.equal(one.weight, again.weight)
    assert not torch.equal(one.weight, other.weight)
    assert one.weight.std().item() == pytest.approx(33**-0.5, rel=0.4)


def test_a_mapped_head_says_the_same_on_another_scale() -> None:
    """2 x score + 5, for every state."""
    import torch

    from policies.training.engines import heads

    head = heads.fresh(8, 0, torch.device("cpu"))
    states = torch.randn(4, 8, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(heads.mapped(head, 2.0, 5.0)(states), 2 * head(states) + 5, atol=1e-6)
    assert heads.constant(8, torch.device("cpu"))(states).flatten().tolist() == [0] * 4


def test_a_score_is_of_all_of_the_answers_tokens_in_any_batch(base: Any) -> None:
    """Batched, padded and in another order, while training and later, it is that of the sequence alone."""
    import torch

    from policies.training.engines import heads
    from policies.training.engines.passes import Passes

    head = heads.fresh(32, 0, base.device)
    passes, scorer = Passes(base.model, 0), heads.Scorer(base.model, head)
    whole = heads.scores(passes, head, SEQUENCES, 8)
    assert heads.scores(passes, head, SEQUENCES[::-1], 2)[::-1] == pytest.approx(whole, abs=1e-5)
    for (prompt, answer), score in zip(SEQUENCES, whole, strict=True):
        ids = torch.tensor([[*prompt, *answer]])
        padded = torch.tensor([[*prompt, *answer, 0, 0]])
        mask = torch.tensor([[1] * ids.shape[1] + [0, 0]])
        own = torch.tensor([[0] * len(prompt) + [1] * len(answer) + [0, 0]])
        with torch.no_grad():
            states = base.model(input_ids=ids, output_hidden_states=True).hidden_states[-1]
            alone, trained = head(states[0, len(prompt) :]).mean(), scorer(padded, mask, own)
        assert score == pytest.approx(alone.item(), abs=1e-5)
        assert score == pytest.approx(trained.item(), abs=1e-5)


def test_values_are_of_the_states_before_each_token(base: Any, rendering: Any) -> None:
    """Each answer has the values that it has alone, and none has seen the token that it is before."""
    import torch

    from policies.training.engines import heads
    from policies.training.engines.passes import Passes

    rows = sampled(base.model, rendering, [pair(n).prompt for n in range(4)], max_new_tokens=9)
    answers = [row[0] for row in rows]
    head = heads.fresh(32, 0, base.device)
    passes = Passes(base.model, rendering.pad)
    with torch.no_grad():
        found = heads.values(passes, head, answers)
        for row, answer in zip(found, answers, strict=True):
            size = len(answer.tokens)
            prompt = torch.tensor([answer.prompt])
            states = base.model(input_ids=prompt, output_hidden_states=True).hidden_states[-1]
            assert row[-size].item() == pytest.approx(head(states[0, -1]).item(), abs=1e-5)
            alone = heads.values(passes, head, [answer])
            assert row[-size:].tolist() == pytest.approx(alone[0].tolist(), abs=1e-5)
            assert not row[:-size].any()


def test_a_head_is_read_as_it_was_written(tmp_path: Path, base: Any) -> None:
    """Bit for bit; what does not fit or is no file is refused, and so is a weight that is not finite."""
    import torch

    from policies.training.engines import heads

    head = heads.fresh(32, 4, base.device)
    described = heads.save(head, tmp_path)
    assert described.size == (tmp_path / heads.HEAD).stat().st_size
    again = heads.load(tmp_path, 32, base.device)
    assert torch.equal(again.weight, head.weight)
    with pytest.raises(JobError, match="no head of 16 weights"):
        heads.load(tmp_path, 16, base.device)
    (tmp_path / heads.HEAD).write_bytes(b"nothing of the kind")
    with pytest.raises(JobError, match="no head of 32 weights"):
        heads.load(tmp_path, 32, base.device)
    with torch.no_grad():
        head.weight[0, 3] = float("nan")
    with pytest.raises(JobError, match="not finite"):
        heads.save(head, tmp_path)


def test_an_answer_spans_what_stands_between_its_own_tokens() -> None:
    """Tool results inside an answer are of it; the prompt, and what stands behind the answer, are not."""
    import torch

    from policies.training.engines.reward import spans

    own = torch.tensor([[0, 1, 1, 0, 0, 1, 0], [0, 0, 0, 1, 0, 0, 0]])
    assert spans(own).tolist() == [[0, 1, 1, 1, 1, 1, 0], [0, 0, 0, 1, 0, 0, 0]]
