"""A real model is loaded and sampled from as the tiny ones are."""

from pathlib import Path

import pytest

from policies.records import Message
from tests.policies.training.conftest import sampled

pytestmark = [pytest.mark.realmodel, pytest.mark.training]


def test_a_real_models_answers_end_at_its_end_token(real_model: Path) -> None:
    """Sampled answers that were not cut end with `<|im_end|>`, which is not part of their text."""
    from policies.training.model import lora
    from policies.training.model.rendering import Rendering
    from policies.training.model.responses import Responses

    base = lora.load(str(real_model), None, "cpu")
    rendering = Rendering(base.tokenizer, generation=base.model.generation_config)
    prompt = (Message(role="user", content="Say hello."),)
    settings = {"count": 8, "temperature": 0.5, "max_new_tokens": 32, "seed": 1}
    (answers,) = sampled(base.model, rendering, [prompt], **settings)
    ended = [answer for answer in answers if not answer.truncated]
    assert ended
    responses = Responses(rendering)
    for answer in ended:
        assert base.tokenizer.convert_ids_to_tokens(answer.tokens[-1]) == "<|im_end|>"
        said = responses.read(answer.prompt, answer.tokens)
        assert said.content == base.tokenizer.decode(answer.tokens[:-1]).strip() != ""
        assert (said.reasoning, said.tool_calls) == ("", ())
