"""The eyes of a training run: measures for the guards, reports progress, and ends the run when it must."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from policies.policy import TrainingGuards
from policies.training.guarding import guards as rules
from policies.training.jobs import GuardReading
from policies.training.model.lora import POLICY
from policies.training.model.rendering import Rendering
from policies.training.progress import Reporter
from policies.training.sampling import distance
from policies.training.sampling.generate import Settings, sample
from policies.training.sampling.questions import Question, Refused

STEP_METRICS = (
    "loss",
    "grad_norm",
    "learning_rate",
    "margin",
    "accuracy",
    "chosen_drift",
    "chosen_logp",
    "rejected_logp",
    "dataset_entropy",
)


class Watch(TrainerCallback):
    """Called by the trainer after every step. `halted` says why the guards ended the run, or is None.

    It measures every `every_steps` steps, and samples `at_once` answers at a time.
    """

    def __init__(
        self,
        *,
        rendering: Rendering,
        questions: Sequence[Question],
        guards: TrainingGuards,
        every_steps: int,
        at_once: int,
        reference: str | None,
        max_new_tokens: int,
        seed: int,
        reporter: Reporter,
        stopping: Callable[[], bool],
    ) -> None:
        self._rendering = rendering
        self._questions = questions
        self._guards = guards
        self._every_steps = every_steps
        self._at_once = at_once
        self._reference = reference
        self._max_new_tokens = max_new_tokens
        self._seed = seed
        self._reporter = reporter
        self._stopping = stopping
        self._drift: list[float] = []
        self.readings: list[GuardReading] = []
        self.last: dict[str, float] = {}
        self.halted: str | None = None

    def state(self) -> str:
        """What a resumed run must know, as JSON."""
        readings = [reading.model_dump(mode="json") for reading in self.readings]
        return json.dumps({"drift": self._drift[-rules.WINDOW :], "readings": readings})

    def restore(self, path: Path) -> None:
        """Takes up what `state` wrote beside a checkpoint."""
        saved = json.loads(path.read_text(encoding="utf-8"))
        self._drift = list(saved["drift"])
        self.readings = [GuardReading.model_validate(reading) for reading in saved["readings"]]

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """The first measurement is what the entropy guards compare with."""
        del args
        if not self.readings:
            self.measure(kwargs["model"], state.global_step, control)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Measures when it is time; on request leaves a checkpoint and ends."""
        del args
        if state.global_step % self._every_steps == 0:
            self.measure(kwargs["model"], state.global_step, control)
        if self._stopping() and self.halted is None:
            control.should_save = True
            control.should_training_stop = True

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Looks at the step's own figures."""
        del args, kwargs
        if not logs or "loss" not in logs:
            return
        self.last = {name: float(logs[name]) for name in STEP_METRICS if name in logs}
        self._drift.append(self.last["chosen_drift"])
        self._reporter.report("step", step=state.global_step, steps=state.max_steps, metrics=self.last)
        found = rules.check_step(
            self.last["loss"], self.last.get("grad_norm", 0.0), self._drift, self._guards
        )
        self._act(found, state.global_step, control)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Tells that a checkpoint is complete."""
        del args, control, kwargs
        self._reporter.report("checkpoint", step=state.global_step, steps=state.max_steps)

    def measure(self, model: Any, step: int, control: TrainerControl | None = None) -> GuardReading:
        """Samples answers now and reads KL and entropy from them."""
        was_training = model.training
        model.eval()
        settings = Settings(max_new_tokens=self._max_new_tokens, seed=self._seed, batch_size=self._at_once)
        rows = sample(model, self._rendering, self._questions, settings)
        found = distance.distances(
            model,
            self._rendering.pad,
            [answer for row in rows if not isinstance(row, Refused) for answer in row],
            policy=POLICY if step else self._reference,
            reference=self._reference,
        )
        model.train(was_training)
        means = distance.mean(found)
        window = self._drift[-rules.WINDOW :]
        reading = GuardReading(
            step=step,
            kl_sequence=means.kl_sequence,
            kl_token=means.kl_token,
            entropy=means.entropy,
            chosen_drift=sum(window) / len(window) if window else 0.0,
        )
        breaches = rules.check_sample(self.readings[0] if self.readings else reading, reading, self._guards)
        reading = reading.model_copy(update={"breaches": tuple(breach.reason for breach in breaches)})
        self.readings.append(reading)
        figures = reading.model_dump(exclude={"step", "breaches"})
        self._reporter.report("guard", step=step, metrics=figures, note="; ".join(reading.breaches))
        self._act(breaches, step, control)
        return reading

    def _act(self, breaches: Sequence[rules.Breach], step: int, control: TrainerControl | None) -> None:
        reason = rules.enforced(breaches)
        if reason is None or self.halted is not None:
            return
        self.halted = f"step {step}: {reason}"
        if control is not None:
            control.should_save = False
            control.should_training_stop = True
