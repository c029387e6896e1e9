"""The probe's numbers depend on the weights and on nothing else."""

from typing import Any

import pytest

from policies.recipes import Lora
from policies.training.jobs import Probe
from policies.training.model.dataset import Example

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("ignore::FutureWarning")]


def example(number: int, *, chosen: int = 4, mask: int = 1) -> Example:
    """A pair of token ids. Its chosen answer begins with a token that is not the assistant's own."""
    return Example(
        prompt=[2 + number % 20, 3, 4],
        chosen=[5 + index for index in range(chosen)],
        chosen_mask=[0] + [mask] * (chosen - 1),
        rejected=[9, 8, 1],
        rejected_mask=[1, 1, 1],
        weight=1.0,
        soft=1.0,
    )


@pytest.fixture
def adapted(tiny_model: Any) -> Any:
    """The tiny model with an adapter that changes what it says."""
    import torch

    from policies.training.model import lora

    model = lora.fresh(lora.load(str(tiny_model), None, "cpu"), Lora(r=4, alpha=8))
    torch.manual_seed(0)
    for value in lora.trainable(model).values():
        torch.nn.init.normal_(value, std=0.1)
    return model


def test_a_few_answers_are_drawn_by_seed() -> None:
    """Both answers of eight pairs, the same ones for the same seed; few pairs give few answers."""
    from policies.training.model import probe

    many = [example(number) for number in range(40)]
    drawn = probe.draw(many, 5)
    assert len(drawn) == probe.MOST
    assert drawn == probe.draw(many, 5) != probe.draw(many, 6)
    assert [each.scored for each in probe.draw(many[:1], 5)] == [(4, 5, 6), (3, 4, 5)]


def test_only_the_assistants_own_tokens_are_scored_and_not_without_end() -> None:
    """An answer with none is left out, a long one is cut; nothing to score is an error."""
    from policies.training.model import probe

    silent = example(0, mask=0)
    assert [each.ids for each in probe.draw([silent], 1)] == [(2, 3, 4, 9, 8, 1)]
    long = probe.draw([example(0, chosen=600)], 1)[0]
    assert (len(long.ids), len(long.scored)) == (3 + probe.TOKENS, probe.TOKENS - 1)
    nothing = Example([2], [3], [0], [4], [0], 1.0, 1.0)
    with pytest.raises(ValueError, match="no answer has a token to score"):
        probe.draw([nothing], 1)


def test_the_scores_are_the_models_own(adapted: Any) -> None:
    """Against the log-softmax of one plain forward pass, under the adapter and without; KL is theirs too."""
    import torch

    from policies.training.model import lora, probe

    texts = probe.draw([example(number) for number in range(3)], 0)
    adapted.train()
    scores = probe.score(adapted, texts, policy=lora.POLICY, reference=None)
    assert adapted.training, "left as it was"
    adapted.eval()
    for text, ours, theirs, kl in zip(texts, scores.policy, scores.reference, scores.kl, strict=True):
        ids = torch.tensor([text.ids])
        with torch.no_grad():
            own = adapted(ids).logits[0].log_softmax(-1)
            with lora.using(adapted, None):
                other = adapted(ids).logits[0].log_softmax(-1)
        at = [index - 1 for index in text.scored]
        tokens = [text.ids[index] for index in text.scored]
        assert ours == pytest.approx(own[at, tokens].sum().item(), abs=1e-4)
        assert theirs == pytest.approx(other[at, tokens].sum().item(), abs=1e-4)
        assert kl == pytest.approx((own[at].exp() * (own[at] - other[at])).sum().item(), abs=1e-4)
        assert kl > 0.01


def test_without_a_change_there_is_no_distance(adapted: Any) -> None:
    """A policy against itself: the same numbers and no KL; kept as a value that says how many tokens."""
    from policies.training.model import lora, probe

    texts = probe.draw([example(number) for number in range(3)], 0)
    scores = probe.score(adapted, texts, policy=lora.POLICY, reference=lora.POLICY)
    found = probe.describe(texts, scores)
    assert scores.policy == scores.reference
    assert (found.kl_sequence, found.largest) == (0.0, 0.0)
    assert [each.tokens for each in found.sequences] == [len(text.scored) for text in texts]
    assert Probe.model_validate_json(found.model_dump_json()) == found
    other = probe.describe(probe.draw([example(1)], 0), probe.score(adapted, probe.draw([example(1)], 0),
                           policy=None, reference=None))  # fmt: skip
    assert other.tokens_sha256 != found.tokens_sha256
