"""What plans of methods on single answers have in common."""

from typing import Any

from policies.recipes import KtoRecipe, SftRecipe
from policies.training.planning import rules
from policies.training.planning.fitting import Fit, Room, fitted
from policies.training.planning.plan import Facts
from policies.training.planning.resolved import passes_of

COMMON = ("lora", "max_length", "max_steps", "checkpoint_steps")


def fit_of(asked: SftRecipe | KtoRecipe, facts: Facts, *, least: int = 1, uncut: bool = False) -> Fit:
    """How a step is cut into batches of `least` answers or more; `uncut`: each process makes whole ones."""
    room = Room(facts.shape, facts.lengths, facts.setting, facts.there, "answer", least, uncut)
    return fitted(asked, room)


def steps_of(asked: SftRecipe | KtoRecipe, facts: Facts, fit: Fit) -> dict[str, Any]:
    """The explicit values of all keys that such recipes share. There must be an answer to learn from."""
    processes = facts.setting.processes
    answers, step = facts.lengths.pairs, fit.batch * fit.accumulation * processes
    epochs = rules.epochs_of(answers, step) if asked.epochs == "auto" else asked.epochs
    steps = asked.max_steps if asked.max_steps > 0 else rules.steps_of(answers, step, epochs)
    rate = asked.learning_rate
    if rate == "auto":
        rate = rules.learning_rate_of(
            steps,
            passes_of(epochs, asked.max_steps, step, answers),
            hidden=facts.shape.hidden,
            answer=facts.lengths.answer,
            alpha=asked.lora.alpha,
        )
    return {name: getattr(asked, name) for name in COMMON} | {
        "learning_rate": rate,
        "epochs": epochs,
        "batch_size": fit.batch,
        "gradient_accumulation": fit.accumulation,
        "processes": processes,
        "gradient_checkpointing": fit.checkpointing,
        "warmup_steps": rules.warmup_steps(asked, steps),
        "steps": steps,
    }
