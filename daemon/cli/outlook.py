"""A training's outlook as a state for scripts, and as lines for a person."""

from typing import Any

from daemon.stages.train.outlook import Outlook
from policies.recipes import Recipe
from policies.training.planning.plan import TrainingPlan
from policies.training.planning.resolved import Explicit


def state(outlook: Outlook) -> dict[str, Any]:
    """Everything that was decided, flat."""
    plan, facts = outlook.plan, outlook.plan.facts
    minutes = outlook.minutes
    return {
        "base_model": outlook.base_model,
        "snapshot": outlook.snapshot,
        "parent": outlook.parent,
        "asked": plan.asked.model_dump(mode="json"),
        **plan.recipe.model_dump(mode="json"),
        "guard_steps": plan.every_steps,
        "guard_samples": plan.samples,
        "guard_readings": plan.readings,
        "pairs": facts.lengths.pairs,
        "left_out": facts.left_out,
        "rejected_cut": facts.cut,
        "tokens": facts.lengths.tokens,
        "longest": facts.lengths.longest,
        "device": facts.setting.kind,
        "precision": facts.setting.precision,
        "parameters": facts.shape.parameters,
        "trainable": facts.shape.trainable,
        "memory_bytes": plan.memory.model_dump() | {"total": plan.memory.total, "there": facts.there},
        "flops": plan.flops,
        "minutes": None if minutes is None else round(minutes, 1),
        "minutes_basis": outlook.basis,
        "answers_cut": {
            "logged": {"cut": outlook.cut.logged[0], "answers": outlook.cut.logged[1]},
            "sampled": {"cut": outlook.cut.sampled[0], "answers": outlook.cut.sampled[1]},
        },
        "notes": list(outlook.notes),
        "refusal": plan.refusal,
    }


def text(outlook: Outlook) -> str:
    """One line for each thing that was decided, with what was left to decide."""
    plan = outlook.plan
    recipe: Explicit = plan.recipe
    start = f"from adapter {outlook.parent}" if outlook.parent else "from the base model"
    rows = [
        ("method", f"{recipe.method}, LoRA r={recipe.lora.r} alpha={recipe.lora.alpha}, {start}"),
        ("base model", f"{outlook.base_model} ({plan.facts.shape.parameters / 1e6:,.0f} M weights)"),
        ("data", _data(outlook)),
        *recipe.rows(),
        ("steps", f"{recipe.steps}; {_looks(plan)}"),
        ("memory", f"{plan.memory} of {_there(outlook)} on the {plan.facts.setting.kind}"),
        ("time", time_of(outlook)),
        ("auto", ", ".join(_left_open(plan.asked)) or "nothing: every number is written"),
    ]
    rows += [("note", note) for note in outlook.notes]
    rows += [("refused", plan.refusal)] if plan.refusal else []
    return "\n".join(f"{name:<14} {value}" for name, value in rows)


def time_of(outlook: Outlook) -> str:
    """The estimate, said to be one, with what it rests on."""
    if outlook.minutes is None:
        return f"unknown: {outlook.basis}"
    return (
        f"about {outlook.minutes:,.3g} minutes (estimate: {outlook.plan.flops:.2g} operations, "
        f"{outlook.rate:.2g} a second, {outlook.basis})"
    )


def _data(outlook: Outlook) -> str:
    facts = outlook.plan.facts
    recipe: Explicit = outlook.plan.recipe
    counts = [f"{count} {why.replace('_', ' ')}" for why, count in facts.left_out.items() if count]
    left_out = ", ".join(counts) or "none"
    return (
        f"{facts.lengths.pairs} {recipe.unit} of {facts.lengths.tokens:,} tokens, the longest sequence "
        f"{facts.lengths.longest} (max_length {recipe.max_length}); left out: {left_out}; "
        f"rejected answers cut off: {facts.cut}"
    )


def _there(outlook: Outlook) -> str:
    there = outlook.plan.facts.there
    return "an unknown amount" if there is None else f"{there / 1e9:.1f} GB"


def _looks(plan: TrainingPlan) -> str:
    if not plan.readings:
        return "it is no policy, and the guards sample nothing"
    return f"guards look {plan.readings} times, at {plan.samples} answers"


def _left_open(asked: Recipe) -> list[str]:
    return [name for name, value in asked if value == "auto"]
