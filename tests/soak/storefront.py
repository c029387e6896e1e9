"""An agent on the prompts of the demo's customers, trained and asked within one process."""

from collections.abc import Sequence
from typing import Any

from daemon.demo.world import customers
from policies.records import Message
from tests.policies.training.engines.wishes import asked


class Storefront:
    """An agent on the demo's customers' prompts, as tokens."""

    def __init__(self, base: Any, seed: int) -> None:
        from policies.training.model.rendering import Rendering

        self.base = base
        self.rendering = Rendering(base.tokenizer, generation=base.model.generation_config)
        cases = customers(seed)
        self.prompts = {
            question.ids: case.prompt
            for case, question in zip(
                cases,
                asked(self.rendering, [(Message(role="user", content=c.prompt),) for c in cases]),
                strict=True,
            )
        }
        self._ids = list(self.prompts)

    def questions(self, first: int, last: int) -> list[Any]:
        from policies.training.sampling.questions import Question

        return [Question(ids) for ids in self._ids[first:last]]

    def answers(self, model: Any, questions: Sequence[Any], count: int, *, longest: int) -> list[list[Any]]:
        """So many answers to each question, of at most `longest` tokens."""
        from policies.training.sampling.generate import SamplingSettings, sample
        from policies.training.sampling.questions import Refused

        settings = SamplingSettings(count=count, max_new_tokens=longest, seed=9, batch_size=128)
        rows = sample(model, self.rendering, questions, settings)
        return [row for row in rows if not isinstance(row, Refused)]

    def said(self, answer: Any) -> tuple[str, str]:
        """Prompt and answer as text."""
        text = self.rendering.tokenizer.decode(answer.tokens, skip_special_tokens=True)
        return self.prompts[answer.prompt], text.strip()
