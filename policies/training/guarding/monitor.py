"""The eyes of a training run: measures for the guards, reports progress, and ends the run when it must."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from policies.policy import TrainingGuards
from policies.training import together
from policies.training.guarding import guards as rules
from policies.training.guarding.divergence import breaches as divergence_breaches
from policies.training.guarding.reader import Reader
from policies.training.guarding.sounder import Sounder
from policies.training.jobs import Divergence, GuardReading
from policies.training.progress import Reporter

DRIFT = "chosen_drift"
"""The figure of an engine that learns from chosen answers: how much likelier they became."""


class Monitor(TrainerCallback):
    """Called after every step, by transformers' Trainer or by a loop that calls it in the Trainer's order:
    train begin; then for each step its end, its log, and its save where there is one.

    `figures` names what of a step is reported. It measures every `every_steps` steps, by the reader; None:
    the model is no policy, and nothing is sampled. An engine whose policy learns from a reward gives it a
    `sounder` before the first step. `halted` says why the guards ended the run, or is None.
    """

    def __init__(
        self,
        *,
        reader: Reader | None,
        figures: Sequence[str],
        guards: TrainingGuards,
        every_steps: int,
        reporter: Reporter,
        stopping: Callable[[], bool],
    ) -> None:
        self._reader = reader
        self._figures = tuple(figures)
        self._guards = guards
        self._every_steps = every_steps
        self._reporter = reporter
        self._stopping = stopping
        self._drift: list[float] = []
        self.readings: list[GuardReading] = []
        self.last: dict[str, float] = {}
        self.halted: str | None = None
        self.sounder: Sounder | None = None

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
        self, args: TrainingArguments | None, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """The first measurement is what the entropy guards compare with."""
        del args
        if self._reader is not None and not self.readings:
            self.measure(self._reader, kwargs["model"], state.global_step, control)
        if self.sounder is not None and state.global_step == 0:
            self.sounder.sound(0)
        elif self.sounder is not None:
            self.sounder.again(state.global_step)

    def on_step_end(
        self, args: TrainingArguments | None, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Measures when it is time; on request leaves a checkpoint and ends."""
        del args
        if self._reader is not None and state.global_step % self._every_steps == 0:
            self.measure(self._reader, kwargs["model"], state.global_step, control)
        if self.sounder is not None:
            if self.sounder.due(state.global_step):
                self.sounder.sound(state.global_step)
            self._hear(self.sounder, self.sounder.heard(state.global_step), control)
        if together.agreed(self._stopping) and self.halted is None:
            control.should_save = True
            control.should_training_stop = True

    def on_log(
        self,
        args: TrainingArguments | None,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Looks at the step's own figures."""
        del args, kwargs
        if not logs or "loss" not in logs:
            return
        self.last = {name: float(logs[name]) for name in self._figures if name in logs}
        if DRIFT in self.last:
            self._drift.append(self.last[DRIFT])
        self._reporter.report("step", step=state.global_step, steps=state.max_steps, metrics=self.last)
        found = rules.check_step(
            self.last["loss"], self.last.get("grad_norm", 0.0), self._drift, self._guards
        )
        self._act(found, state.global_step, control)

    def on_save(
        self, args: TrainingArguments | None, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Tells that a checkpoint is complete."""
        del args, control, kwargs
        self._reporter.report("checkpoint", step=state.global_step, steps=state.max_steps)

    def last_look(self, model: Any, step: int) -> None:
        """Measures the policy as it is at the end, where that has not been done."""
        if self._reader is None:
            return
        if not self.readings or self.readings[-1].step != step:
            self.measure(self._reader, model, step)
        if self.sounder is not None and self.halted is None:
            self.sounder.sound(step)
            self._hear(self.sounder, self.sounder.hear_out(step))

    def divergences(self, step: int) -> tuple[Divergence, ...]:
        """Reward against judge, at each look up to the step."""
        return () if self.sounder is None else self.sounder.verdicts(step)

    def all_figures(self) -> dict[str, float]:
        """The last step's, and what the guards read first and last."""
        if not self.readings:
            return dict(self.last)
        last = self.readings[-1]
        return self.last | {
            "kl_sequence": last.kl_sequence,
            "kl_token": last.kl_token,
            "entropy": last.entropy,
            "entropy_first": self.readings[0].entropy,
        }

    def measure(
        self, reader: Reader, model: Any, step: int, control: TrainerControl | None = None
    ) -> GuardReading:
        """Samples answers now and reads KL and entropy from them."""
        seen = reader.read(model, begun=step > 0)
        means = together.agreed(lambda: seen)
        reading = GuardReading(
            step=step,
            kl_sequence=means.kl_sequence,
            kl_token=means.kl_token,
            entropy=means.entropy,
            chosen_drift=self._mean_drift() if DRIFT in self._figures else None,
        )
        breaches = rules.check_sample(self.readings[0] if self.readings else reading, reading, self._guards)
        reading = reading.model_copy(update={"breaches": tuple(breach.reason for breach in breaches)})
        self.readings.append(reading)
        figures = reading.model_dump(exclude={"step", "breaches"}, exclude_none=True)
        self._reporter.report("guard", step=step, metrics=figures, note="; ".join(reading.breaches))
        self._act(breaches, step, control)
        return reading

    def _hear(
        self, sounder: Sounder, verdicts: Iterable[Divergence], control: TrainerControl | None = None
    ) -> None:
        """Tells each verdict, and ends the run where one says so."""
        for verdict in verdicts:
            found = divergence_breaches(verdict, sounder.guard)
            figures = verdict.model_dump(exclude={"step", "unknown"}, exclude_none=True)
            note = verdict.unknown or "; ".join(breach.reason for breach in found)
            self._reporter.report("divergence", step=verdict.step, metrics=figures, note=note)
            self._act(found, verdict.step, control)
            if self.halted is not None:
                return

    def _act(self, breaches: Sequence[rules.Breach], step: int, control: TrainerControl | None) -> None:
        reason = rules.enforced(breaches)
        if reason is None or self.halted is not None:
            return
        self.halted = f"step {step}: {reason}"
        if control is not None:
            control.should_save = False
            control.should_training_stop = True

    def _mean_drift(self) -> float:
        window = self._drift[-rules.WINDOW :]
        return sum(window) / len(window) if window else 0.0
