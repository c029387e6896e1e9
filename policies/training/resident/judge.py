"""A resident judge: `python -m policies.training.resident.judge JOB.json`.

It loads a published reward model once and scores answers until its standard input ends or its parent dies, so
that it never outlives a killed daemon. It asks no network: the hub's client is told to work from what is on
this machine. Libraries print to standard output: what they print goes to standard error, and only the
protocol (`protocol.py`) has the real one.
"""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from policies.records import Frozen
from policies.training.child import die_with_parent
from policies.training.errors import JobError
from policies.training.resident.protocol import (
    JudgeAsk,
    JudgeFailed,
    JudgeJob,
    JudgeReady,
    JudgeScores,
    LoggedAnswer,
)

if TYPE_CHECKING:
    from policies.training.engines.reward_model import RewardModel
    from policies.training.model.rendering import Rendering

Encoded = tuple[list[int], list[int]]
"""The tokens of prompt and answer."""


class ResidentJudge:
    """The reward model at work. `positions`: the most tokens that it takes; None: no limit."""

    def __init__(
        self, model: "RewardModel", rendering: "Rendering", *, positions: int | None, pessimism: float
    ) -> None:
        self._model = model
        self._rendering = rendering
        self._positions = positions
        self._pessimism = pessimism

    def scores(self, ask: JudgeAsk) -> JudgeScores:
        """The rewards of the answers. Raises JobError where the model gives no number."""
        known: dict[int, Encoded] = {}
        refused: dict[int, str] = {}
        for place, each in enumerate(ask.answers):
            encoded = self._encoded(each)
            if isinstance(encoded, str):
                refused[place] = encoded
            else:
                known[place] = encoded
        found = self._model.rewards(list(known.values()), self._pessimism) if known else []
        rewards = dict(zip(known, found, strict=True))
        places = range(len(ask.answers))
        return JudgeScores(id=ask.id, rewards=tuple(rewards.get(place) for place in places), refused=refused)

    def _encoded(self, each: LoggedAnswer) -> Encoded | str:
        """Prompt and answer up to its last own token; why it cannot be shown to the model otherwise."""
        from policies.training.model.dataset import answer_tokens
        from policies.training.model.rendering import UnrenderableError

        try:
            (shown,) = self._rendering.continuations(each.prompt, (each.answer,), each.tools)
            ids, mask = answer_tokens(self._rendering, shown, each.tokens, cut=False)
        except UnrenderableError as error:
            return str(error)
        last = max(index for index, own in enumerate(mask) if own)
        prompt, answer = self._rendering.encode(shown.prompt), ids[: last + 1]
        if self._positions is not None and len(prompt) + len(answer) > self._positions:
            return f"{len(prompt) + len(answer)} tokens, and the model takes {self._positions}"
        return prompt, answer


def load(job: JudgeJob) -> ResidentJudge:
    """Loads base and reward model. Raises JobError where something of them is missing."""
    import torch

    from policies.training.engines import reward_model
    from policies.training.engines.roles import Roles
    from policies.training.model import lora
    from policies.training.model.rendering import Rendering
    from policies.training.sampling.questions import positions_of

    torch.set_num_threads(job.threads)
    base = lora.load(job.base_model, job.revision, job.device, job.bf16)
    rendering = Rendering(base.tokenizer, generation=base.model.generation_config, day=job.day)
    first = job.reward / reward_model.fold_name(0)
    model = lora.with_adapters(base, {lora.POLICY: first})
    return ResidentJudge(
        reward_model.load(Roles(model, rendering.pad), job.reward, base),
        rendering,
        positions=positions_of(base.model.config, base.tokenizer),
        pessimism=job.pessimism,
    )


def serve(judge: ResidentJudge, questions: TextIO, say: Callable[[Frozen], None]) -> None:
    """Scores until the questions end. A question that fails is answered with `JudgeFailed`, and the judge
    goes on.
    """
    for line in questions:
        ask = JudgeAsk.model_validate_json(line)
        try:
            say(judge.scores(ask))
        except (JobError, ValueError, RuntimeError) as error:
            say(JudgeFailed(id=ask.id, reason=" ".join(f"{type(error).__name__}: {error}".split())))


def main(arguments: Sequence[str]) -> int:
    """Runs the job file named by the only argument."""
    die_with_parent()
    job = JudgeJob.model_validate_json(Path(arguments[0]).read_bytes())
    _environment(job)
    protocol = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(said: Frozen) -> None:
        protocol.write(said.model_dump_json() + "\n")
        protocol.flush()

    try:
        judge = load(job)
    except JobError as error:
        say(JudgeFailed(reason=str(error)))
        return 1
    say(JudgeReady())
    serve(judge, sys.stdin, say)
    return 0


def _environment(job: JudgeJob) -> None:
    """Set before torch and the hub's client are imported: they read these once."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(job.threads)
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY"):
        os.environ[name] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    if job.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
