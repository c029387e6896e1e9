"""Tasks on the tiny model: words that PPO is rewarded for, and pairs that a reward model can tell apart."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from policies.recipes import Lora
from policies.snapshot import Pair
from policies.training.jobs import Messages
from policies.training.planning.resolved import ResolvedPpo
from tests.policies.training.conftest import NOUNS, pair, said

RECIPE = ResolvedPpo(
    lora=Lora(r=4, alpha=8), steps=12, prompts=8, answers=4, max_new_tokens=8, minibatch=16, microbatch=16,
    learning_rate=1e-2, critic_learning_rate_factor=1, warmup_steps=3, critic_warmup_steps=2,
    kl_coefficient=1, kl_target=3, truncation_penalty=0, ceiling="none", checkpoint_steps=4,
)  # fmt: skip
WISHED = {"thank", "you", "of", "course"}
PROMPTS = [
    (said("user", f"hello please help me with my {noun} {when}"),)
    for noun in NOUNS
    for when in ("now", "today", "later", "tomorrow")
]
POLITE = ("thank you", "of course", "yes", "right away")
CURT = ("no", "go away", "now", "no go away now")


def separable(number: int) -> Pair:
    """A pair whose better answer is the polite one, in one of sixteen wordings; who is longer varies."""
    noun = NOUNS[number % len(NOUNS)]
    good, bad = POLITE[number % 4], CURT[number // 4 % 4]
    tail = f" your {noun}" if number % 3 else ""
    return pair(number, chosen=f"{good}{tail}", rejected=f"{bad} your {noun} today")


def asked(rendering: Any, prompts: Sequence[Messages]) -> list[Any]:
    """The prompts as questions; none may be refused."""
    from policies.training.sampling.questions import Question, questions

    found = questions(rendering, prompts, (), 256)
    assert all(isinstance(each, Question) for each in found)
    return list(found)


def recorder() -> Any:
    """A callback that keeps the figures of every step, and can ask to stop after one."""
    from transformers import TrainerCallback

    class Recorder(TrainerCallback):
        def __init__(self) -> None:
            self.figures: list[dict[str, float]] = []
            self.events: list[str] = []
            self.stop_at: int | None = None

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.events.append("step_end")
            if state.global_step == self.stop_at:
                control.should_save = True
                control.should_training_stop = True

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            self.events.append("log")
            self.figures.append(dict(logs))

        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.events.append("save")

    return Recorder()


def maker(tiny_model: Path, tmp_path: Path) -> Callable[..., Any]:
    """Makes a run on a base of its own. Rewarded is the share of wished words, in points of ten."""
    from policies.training.engines.ppo import Ppo
    from policies.training.engines.rewarding import Rewarder
    from policies.training.engines.roles import Roles
    from policies.training.model import lora
    from policies.training.model.rendering import Rendering

    def make(
        name: str = "run",
        recipe: ResolvedPpo = RECIPE,
        *,
        verdicts: Any = None,
        ceiling: float | None = None,
        callback: Any = None,
        prepared: Callable[[Any], None] = lambda _roles: None,
        **changes: Any,
    ) -> Any:
        import torch

        base = lora.load(str(tiny_model), None, "cpu")
        with torch.no_grad():  # as it is made no hidden state can make it sure of anything
            base.model.lm_head.weight.mul_(10)
        torch.manual_seed(0)
        roles = Roles(lora.fresh(base, recipe.lora), base.tokenizer.pad_token_id)
        prepared(roles)
        rendering = Rendering(base.tokenizer, generation=base.model.generation_config)

        def by_rule(answers: Sequence[Any]) -> list[float | None]:
            words = [
                rendering.tokenizer.decode(answer.tokens, skip_special_tokens=True).split()
                for answer in answers
            ]
            return [10 * sum(word in WISHED for word in each) / max(len(each), 1) for each in words]

        rewarder = Rewarder(recipe, ceiling, verdicts=verdicts or by_rule)
        settings = {"rewarder": rewarder, "seed": 7, "callback": callback or recorder()} | changes
        return Ppo(
            roles=roles,
            rendering=rendering,
            questions=asked(rendering, PROMPTS),
            recipe=recipe,
            out=tmp_path / name,
            **settings,
        )

    return make


def fingerprint(run: Any) -> str:
    """The policy's adapter, bit for bit."""
    from policies.training.model import lora

    return lora.fingerprint(run.roles.weights("default"))


def scramble(run: Any, seed: int = 0, size: float = 0.2) -> None:
    """Gives the policy's adapter weights of its own, so that it is not the base."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in run.roles.weights("default").values():
            value.add_(size * torch.randn(value.shape, generator=generator))
