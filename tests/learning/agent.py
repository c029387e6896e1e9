"""The production agent: the real model behind the support task, sampled by the project's child process."""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter

from daemon.children.child import Child, ChildFailedError
from policies.records import Sampled, digest
from policies.training.jobs import Progress, SampleJob
from tests.learning.commands import LearnError
from tests.learning.task import Request, task_digest
from tests.servers import cache, realmodel

MODEL: Final = "smollm2-135m-instruct"
BATCH: Final = 64
SAMPLED: Final = TypeAdapter(tuple[Sampled, ...])
CUDA: Final = Path("/dev/nvidia0")
CODE: Final = Path(__file__).resolve().parents[2] / "policies" / "training"
Tell = Callable[[int, int], None]
"""Told how many answers are there, and of how many."""


@dataclass(frozen=True, slots=True)
class Agent:
    """Answers requests with the base model or with an adapter on it. Its jobs run below `directory`."""

    base: Path
    directory: Path
    max_new_tokens: int

    def answers(
        self, name: str, requests: Sequence[Request], *, temperature: float, seed: int, tell: Tell,
        adapter: Path | None = None,
    ) -> tuple[Sampled, ...]:  # fmt: skip
        """One answer to each request. The same seed draws the same numbers for the same request, whoever
        answers it. Raises LearnError.
        """
        job = SampleJob(
            out=self.directory / name,
            base_model=str(self.base),
            adapter=adapter,
            prompts=tuple(request.prompt for request in requests),
            temperature=temperature,
            max_new_tokens=self.max_new_tokens,
            batch_size=BATCH,
            seed=seed,
        )

        def progressed(progress: Progress) -> None:
            if progress.event == "sampled":
                tell(progress.step, len(requests))

        try:
            result = Child(job, on_progress=progressed).run()
        except ChildFailedError as error:
            raise LearnError(f"the agent could not answer ({name}): {error}") from None
        if result.refused or any(len(each) != 1 for each in result.answers):
            raise LearnError(f"the agent left requests unanswered ({name}): {result.refused}")
        return tuple(each[0] for each in result.answers)

    def base_answers(
        self, name: str, requests: Sequence[Request], *, seed: int, tell: Tell
    ) -> tuple[Sampled, ...]:
        """The base model's answers at temperature 1, from the user's cache where they are there: whatever
        method is tried, these are the same.
        """
        key = self._key(requests, seed)
        with cache.alone(f"learn-base-{seed}") as folder:
            kept = folder / f"learn-base-{seed}-{key[:16]}.json"
            if kept.exists():
                tell(len(requests), len(requests))
                return SAMPLED.validate_json(kept.read_bytes())
            found = self.answers(name, requests, temperature=1.0, seed=seed, tell=tell)
            temporary = kept.with_suffix(".tmp")
            temporary.write_bytes(SAMPLED.dump_json(found))
            temporary.rename(kept)
        return found

    def _key(self, requests: Sequence[Request], seed: int) -> str:
        """Everything on which the base model's answers depend: task, model, length, device and code."""
        code = hashlib.sha256()
        for path in sorted([*CODE.glob("sampling/*.py"), *CODE.glob("model/*.py")]):
            code.update(path.read_bytes())
        model = json.loads((self.base / realmodel.DIGESTS).read_bytes())
        texts = [request.text for request in requests]
        device = "cuda" if CUDA.exists() else "cpu"
        return digest([task_digest(), texts, model, self.max_new_tokens, seed, device, code.hexdigest()])


def logged(requests: Sequence[Request], answers: Sequence[Sampled]) -> list[dict[str, Any]]:
    """Log lines in the shape of OpenAI's chat completions, each customer a subject of their own."""
    return [
        _pair(number, request, answer)
        for number, (request, answer) in enumerate(zip(requests, answers, strict=True))
    ]


def _pair(number: int, request: Request, answer: Sampled) -> dict[str, Any]:
    prompt = [message.model_dump(include={"role", "content"}) for message in request.prompt]
    said = answer.messages[-1].model_dump(include={"role", "content"})
    finish = "length" if answer.truncated else "stop"
    return {
        "request": {"model": MODEL, "messages": prompt, "user": f"customer-{number:05d}"},
        "response": {
            "id": f"chatcmpl-{number:05d}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": MODEL,
            "choices": [{"index": 0, "message": said, "finish_reason": finish}],
        },
    }
