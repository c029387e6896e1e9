"""Samples fresh answers from the policy that learns, and reads from them how far it is from its reference."""

from collections.abc import Sequence
from typing import Any

from policies.training.model.lora import POLICY
from policies.training.model.rendering import Rendering
from policies.training.sampling import distance
from policies.training.sampling.distance import Means
from policies.training.sampling.generate import SamplingSettings, sample
from policies.training.sampling.questions import Question, Refused


class Reader:
    """Asks the same questions with the same seed all through a run, so many at once.

    `reference` is the adapter on the model that KL is to, `start` the one that training starts from; None:
    the base.
    """

    def __init__(
        self,
        *,
        rendering: Rendering,
        questions: Sequence[Question],
        at_once: int,
        reference: str | None,
        max_new_tokens: int,
        seed: int,
        start: str | None = None,
    ) -> None:
        self._rendering = rendering
        self._questions = questions
        self._start = start
        self._reference = reference
        self._settings = SamplingSettings(max_new_tokens=max_new_tokens, seed=seed, batch_size=at_once)

    def read(self, model: Any, *, begun: bool) -> Means:
        """KL and entropy now. Until training has begun the policy is what it starts from."""
        was_training = model.training
        model.eval()
        rows = sample(model, self._rendering, self._questions, self._settings)
        found = distance.distances(
            model,
            self._rendering.pad,
            [answer for row in rows if not isinstance(row, Refused) for answer in row],
            policy=POLICY if begun else self._start,
            reference=self._reference,
        )
        model.train(was_training)
        return distance.mean(found)
