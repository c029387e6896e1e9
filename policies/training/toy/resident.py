"""A resident agent: `python -m policies.training.toy.resident JOB.json`.

It trains a tiny base model from nothing, writes it, then answers prompts until its stdin ends, one JSON
object a line each way (see `agent.py`). Before each question it looks at the directory target and serves the
adapter that it names, as a production server would. Libraries print to stdout: what they print goes to
stderr, and only the protocol has the real stdout.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import torch
from peft import PeftModel
from pydantic import TypeAdapter
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from policies.records import Frozen, Message
from policies.training.model.rendering import Rendering
from policies.training.model.responses import Responses
from policies.training.sampling.generate import SampledAnswer, SamplingSettings, sample
from policies.training.sampling.questions import Refused, questions
from policies.training.toy import tiny
from policies.training.toy.agent import Lesson, ResidentJob, ToyAnswers, ToyAsk, ToyFailed, ToyReady, ToyStep

LESSONS: TypeAdapter[list[Lesson]] = TypeAdapter(list[Lesson])
EVERY_STEPS = 10
"""How often the supervised training says where it is."""


class ResidentAgent:
    """The base model and, over it, the adapter that the serving directory names now."""

    def __init__(self, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, job: ResidentJob) -> None:
        self._base: Any = model
        self._model: Any = model
        self._rendering = Rendering(tokenizer, generation=model.generation_config)
        self._responses = Responses(self._rendering)
        self._job = job
        self.adapter: str | None = None

    def refresh(self) -> None:
        """Takes up the adapter the target names. Raises OSError or ValueError while it cannot be read.

        `.live` is resolved once, so that name and weights come from the same switch.
        """
        live = (self._job.serving / ".live").resolve()
        pointer = live / "current.json"
        wanted = json.loads(pointer.read_bytes())["adapter"] if pointer.exists() else None
        if wanted == self.adapter:
            return
        if self._model is not self._base:
            self._base = self._model.unload()
        self._model = self._base
        if wanted is not None:
            self._model = PeftModel.from_pretrained(self._base, str((live / "adapter").resolve()))
        self._model.eval()
        self.adapter = wanted

    def answer(self, prompts: tuple[str, ...], seed: int) -> tuple[str, ...]:
        """One sampled answer per prompt, the same for the same seed and prompt."""
        messages = [(Message(role="user", content=prompt),) for prompt in prompts]
        settings = SamplingSettings(
            temperature=self._job.temperature,
            max_new_tokens=self._job.max_new_tokens,
            seed=seed,
            batch_size=self._job.batch_size,
        )
        asked = questions(self._rendering, messages, (), self._job.spec.positions)
        return tuple(self._said(row) for row in sample(self._model, self._rendering, asked, settings))

    def _said(self, row: list[SampledAnswer] | Refused) -> str:
        """The answer's text. Raises ValueError where there is none."""
        if isinstance(row, Refused):
            raise ValueError(row.reason)  # noqa: TRY004 - the prompt is wrong, not its type
        return self._responses.read(row[0].prompt, row[0].tokens, truncated=row[0].truncated).content


def serve(agent: ResidentAgent, questions: TextIO, say: Callable[[Frozen], None]) -> None:
    """Answers until the questions end. A question that fails is answered with `ToyFailed`, and the agent goes
    on.
    """
    for line in questions:
        ask = ToyAsk.model_validate_json(line)
        try:
            agent.refresh()
            answers = agent.answer(ask.prompts, ask.seed)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            say(ToyFailed(id=ask.id, reason=f"{type(error).__name__}: {error}"))
            continue
        say(ToyAnswers(id=ask.id, answers=answers, adapter=agent.adapter))


def run(job: ResidentJob, questions: TextIO, say: Callable[[Frozen], None]) -> None:
    """Trains, then serves."""
    torch.set_num_threads(job.threads)
    lessons = LESSONS.validate_json(job.lessons.read_bytes())
    steps = job.spec.steps

    def progress(step: int, loss: float) -> None:
        if step % EVERY_STEPS == 0 or step == steps:
            say(ToyStep(step=step, steps=steps, loss=loss))

    model, tokenizer = tiny.build(job.base, lessons, job.spec, seed=job.seed, progress=progress)
    say(ToyReady(parameters=sum(weights.numel() for weights in model.parameters())))
    serve(ResidentAgent(model, tokenizer, job), questions, say)


def main() -> None:
    """The process: the job file's path is its one argument."""
    job = ResidentJob.model_validate_json(Path(sys.argv[1]).read_bytes())
    protocol = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(said: Frozen) -> None:
        protocol.write(said.model_dump_json() + "\n")
        protocol.flush()

    run(job, sys.stdin, say)


if __name__ == "__main__":
    main()
