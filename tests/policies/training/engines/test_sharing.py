"""Which models compute a prompt once for both answers: found out by scoring pairs both ways."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from tests.families import FAMILIES
from tests.policies.training.engines.conftest import decided, headed, row_of, scorer, spelled_out

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("ignore::FutureWarning")]

ALONE = {"qwen3-next", "qwen3.5-text", "qwen3.5", "lfm2", "nemotron-h", "falcon-h1"}
"""They carry a state from token to token, through one answer into the other."""
WINDOWED = {"gemma2", "gemma3-text", "gemma3", "gemma4-text", "gemma4", "mistral", "gpt-oss", "cohere2"}
Family = Callable[..., Any]


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_scores_as_its_own_logits_say(name: str, family: Family, rows: list[Any]) -> None:
    """Shared or not, each answer's log-probability is that of its sequence alone, to 1e-4 nats."""
    model = family(name)
    found = decided(model, rows)
    assert found.shared == (name not in ALONE)
    chosen, rejected = scorer(model)(found.scoring, found.scoring.collate(rows)).answers
    for side, said in (("chosen", chosen), ("rejected", rejected)):
        assert said.tolist() == pytest.approx([spelled_out(model, row, side) for row in rows], abs=1e-4)


@pytest.mark.parametrize("name", sorted(ALONE))
def test_the_probe_finds_a_state_that_the_configuration_hides(
    name: str, family: Family, rows: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were such layers taken for attention, the scores or the model's refusal would show it."""
    from policies.training.engines import sharing
    from policies.training.engines.prefix import Attention

    monkeypatch.setattr(
        sharing, "attention_of", lambda _: Attention(("full_attention",), window=None, additive=None)
    )
    found = decided(family(name), rows)
    assert not found.shared
    assert "takes no mask of its own" in found.reason or "nats off" in found.reason


@pytest.mark.parametrize("name", sorted(WINDOWED))
def test_the_probe_finds_a_window_that_is_missed(
    name: str, family: Family, rows: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run's longest pair is always among those probed: where it fits the window, nothing is missed."""
    from dataclasses import replace

    from policies.training.engines import sharing
    from policies.training.engines.prefix import attention_of

    def blind(model: Any) -> Any:
        found = attention_of(model)
        assert not isinstance(found, str)
        return replace(found, window=None)

    monkeypatch.setattr(sharing, "attention_of", blind)
    model, rng = family(name), random.Random(2)
    assert "nats off" in decided(model, rows).reason
    short = [row_of(rng, (20, 5, 6)) for _ in range(9)]
    assert decided(model, short).shared
    assert not decided(model, [*short, rows[0]]).shared


@pytest.mark.parametrize("name", ["mpt", "bloom", "rwkv"])
def test_a_model_that_reads_no_positions_is_found_out(name: str, rows: list[Any]) -> None:
    """Distances measured along the row, or no attention at all: no list of names decides, the scores do."""
    import torch
    import transformers

    torch.manual_seed(0)
    model = headed(
        {
            "mpt": lambda: transformers.MptForCausalLM(
                transformers.MptConfig(d_model=32, n_heads=4, n_layers=2, vocab_size=64)
            ),
            "bloom": lambda: transformers.BloomForCausalLM(
                transformers.BloomConfig(hidden_size=32, n_layer=2, n_head=4, vocab_size=64)
            ),
            "rwkv": lambda: transformers.RwkvForCausalLM(
                transformers.RwkvConfig(
                    hidden_size=32, num_hidden_layers=2, attention_hidden_size=32, vocab_size=64,
                    eos_token_id=1, bos_token_id=1,
                )
            ),
        }[name]()
    )  # fmt: skip
    for value in model.parameters():
        torch.nn.init.normal_(value, std=0.1)
    assert not decided(model, rows).shared


def test_half_precision_is_held_to_what_its_rounding_explains(
    family: Family, rows: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In bfloat16 padding alone moves a token by more than the limit; a wrong mask moves it by far more."""
    import torch

    from policies.training.engines import prefix, sharing
    from policies.training.engines.scoring import WholeRows

    model = family("qwen3").to(torch.bfloat16)
    shared = decided(model, rows)
    assert shared.shared
    apart = [sharing._tokens(scoring, rows, scorer(model)) for scoring in (shared.scoring, WholeRows(0))]
    assert (apart[0] - apart[1]).abs().max() > sharing.LIMIT
    monkeypatch.setattr(
        prefix, "seen", lambda batch, _: torch.ones_like(batch["segments"][:, :, None] == 0).tril()
    )
    assert not decided(model, rows).shared


def test_long_answers_to_short_prompts_are_not_shared(family: Family) -> None:
    """One row would see the square of both answers, and save a few tokens of prompt."""
    from policies.training.engines.sharing import saved

    rng, model = random.Random(3), family("llama")
    found = decided(model, [row_of(rng, (3, 200, 190)) for _ in range(3)])
    assert (found.shared, found.reason) == (
        False,
        "prompts are not shared: they are short beside their answers",
    )
    prompts = [row_of(rng, (200, 5, 5))]
    assert 1.8 < saved(prompts, 32) < 2
    assert 1.9 < saved(prompts, 4096) < 2


def test_a_model_that_has_no_memory_left_is_no_model_without_masks(family: Family, rows: list[Any]) -> None:
    """The run begins again with a smaller batch then; it does not go on without sharing."""
    import torch

    model = family("llama")
    plain = scorer(model)

    def full(scoring: Any, batch: Any) -> Any:
        if "segments" in batch:
            raise torch.OutOfMemoryError("full")
        return plain(scoring, batch)

    from policies.training.engines import sharing

    with pytest.raises(torch.OutOfMemoryError):
        sharing.decide(model, model.base_model, rows, full, pad=0, batch=4)
