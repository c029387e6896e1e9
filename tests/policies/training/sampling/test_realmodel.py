"""A real model is loaded and sampled from as the tiny ones are."""

from pathlib import Path

import pytest

from policies.records import Message

pytestmark = [pytest.mark.realmodel, pytest.mark.training]


def test_a_real_models_answers_end_at_its_end_token(real_model: Path) -> None:
    """Sampled answers that were not cut end with `<|im_end|>`, which is not part of their text."""
    from policies.training.model import lora
    from policies.training.sampling.generate import sample

    base = lora.load(str(real_model), None, "cpu")
    prompt = (Message(role="user", content="Say hello."),)
    answers = sample(
        base.model, base.tokenizer, [prompt], count=8, temperature=0.5, max_new_tokens=32, seed=1
    )[0]
    ended = [answer for answer in answers if not answer.truncated]
    assert ended
    for answer in ended:
        assert base.tokenizer.convert_ids_to_tokens(answer.tokens[-1]) == "<|im_end|>"
        assert answer.text
        assert "<|" not in answer.text
        assert base.tokenizer.decode(answer.tokens[:-1]).strip() == answer.text
