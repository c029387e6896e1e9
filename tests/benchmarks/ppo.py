"""PPO: how many copies of the base a run holds, and its speed beside TRL's RLOO, which has no critic.

Both sample to the same prompts from the same model with the same adapter shape, at temperature 1, with a
reward by rule, KL to the reference in it, and one update a batch of samples. The model never ends an answer,
so that both sample the same number of tokens. Speed is in samples per CPU second with generation counted in
both, the better of two runs each; the figure is a ratio: how many times as fast ours is.
"""

import gc
import os
import random
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from policies.calibration import PRIOR
from policies.recipes import Lora
from policies.records import Message
from policies.training.jobs import Messages
from policies.training.planning.resolved import ResolvedPpo

STEPS = 3
RECIPE = ResolvedPpo(
    lora=Lora(r=8, alpha=16),
    steps=STEPS,
    prompts=8,
    answers=4,
    max_new_tokens=32,
    sampling_batch=32,
    inner_epochs=1,
    critic_epochs=1,
    minibatch=32,
    microbatch=8,
    learning_rate=1e-4,
    warmup_steps=0,
    critic_warmup_steps=0,
    ceiling="none",
)


def run() -> dict[str, float]:
    """Both figures. Who is timed goes ours, theirs, theirs, ours, so that drift hits both alike."""
    os.environ["OMP_NUM_THREADS"] = "1"
    warnings.filterwarnings("ignore", category=FutureWarning)
    import torch

    torch.set_num_threads(1)
    from tests.tiny import build

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        base = str(build(root / "base", hidden=192, layers=4))
        prompts = _prompts()
        speeds = {"ours": 0.0, "theirs": 0.0}
        copies = _copies(base, prompts, root / "copies")
        for number, who in enumerate(("ours", "theirs", "theirs", "ours")):
            time_one = _ours if who == "ours" else _theirs
            speeds[who] = max(speeds[who], time_one(base, prompts, root / str(number)))
    return copies | {"ppo_vs_rloo": speeds["ours"] / speeds["theirs"]}


def _prompts() -> list[Messages]:
    """Lengths as agents' logs have them, long and uneven."""
    from tests.tiny import WORDS

    rng, words = random.Random(0), WORDS.split()
    counts = [max(3, min(180, int(rng.lognormvariate(4.2, 0.7)))) for _ in range(RECIPE.prompts * STEPS)]
    return [
        (Message(role="user", content=" ".join(rng.choice(words) for _ in range(count))),) for count in counts
    ]


def _loaded(base: str) -> Any:
    """The base, which finds its end token as unlikely as can be."""
    import torch

    from policies.training.model import lora

    loaded = lora.load(base, None, "cpu")
    never = torch.zeros(loaded.model.config.vocab_size)
    never[loaded.tokenizer.eos_token_id] = -100.0
    loaded.model.lm_head.register_forward_hook(lambda _module, _inputs, logits: logits + never)
    return loaded


def _made(base: str, prompts: Sequence[Messages], out: Path, rewards: Path | None = None) -> Any:
    """A run of ours, with a reward by rule or by a reward model."""
    import torch
    from transformers import TrainerCallback

    from policies.training.engines import reward_model
    from policies.training.engines.ppo import Ppo
    from policies.training.engines.rewarding import Rewarder
    from policies.training.engines.roles import Roles
    from policies.training.model import lora
    from policies.training.model.rendering import Rendering
    from policies.training.sampling.questions import Question, questions

    loaded = _loaded(base)
    rendering = Rendering(loaded.tokenizer, generation=loaded.model.generation_config)
    torch.manual_seed(0)
    roles = Roles(lora.fresh(loaded, RECIPE.lora), rendering.pad)
    model = reward_model.load(roles, rewards, loaded) if rewards else None
    return Ppo(
        roles=roles,
        rendering=rendering,
        questions=[each for each in questions(rendering, prompts, (), 256) if isinstance(each, Question)],
        rewarder=Rewarder(RECIPE, None, model=model, verdicts=None if model else _rule),
        recipe=RECIPE,
        out=out,
        seed=0,
        callback=TrainerCallback(),
    )


def _rule(answers: Sequence[Any]) -> list[float | None]:
    return [float(answer.tokens[0] % 10) for answer in answers]


def _ours(base: str, prompts: Sequence[Messages], out: Path) -> float:
    """Samples per CPU second."""
    made = _made(base, prompts, out)
    start = time.process_time()
    tokens = [made.step(step)["answer_tokens"] for step in range(1, STEPS + 1)]
    seconds = time.process_time() - start
    if set(tokens) != {RECIPE.max_new_tokens}:
        raise AssertionError(f"ours sampled {tokens} tokens an answer")
    return STEPS * RECIPE.prompts * RECIPE.answers / seconds


def _theirs(base: str, prompts: Sequence[Messages], out: Path) -> float:
    """Samples per CPU second."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import PrinterCallback
    from trl import RLOOConfig, RLOOTrainer

    loaded = _loaded(base)
    lengths: list[int] = []

    def rule(completion_ids: list[list[int]], **_others: Any) -> list[float]:
        lengths.extend(map(len, completion_ids))
        return [float(ids[0] % 10) for ids in completion_ids]

    size = RECIPE.prompts * RECIPE.answers
    rows = [{"prompt": [{"role": "user", "content": prompt[0].content}]} for prompt in prompts]
    trainer = RLOOTrainer(
        model=loaded.model,
        reward_funcs=rule,
        args=RLOOConfig(
            output_dir=str(out), use_cpu=True, bf16=False, gradient_checkpointing=False, report_to=[],
            per_device_train_batch_size=size, num_generations=RECIPE.answers, max_steps=STEPS,
            max_completion_length=RECIPE.max_new_tokens, learning_rate=RECIPE.learning_rate, beta=0.05,
            save_strategy="no", logging_steps=STEPS, disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=loaded.tokenizer,
        peft_config=LoraConfig(
            r=RECIPE.lora.r, lora_alpha=RECIPE.lora.alpha, target_modules="all-linear", task_type="CAUSAL_LM"
        ),
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    start = time.process_time()
    trainer.train()
    seconds = time.process_time() - start
    if lengths != [RECIPE.max_new_tokens] * STEPS * size:
        raise AssertionError(f"theirs sampled {lengths} tokens an answer")
    return len(lengths) / seconds


def _copies(base: str, prompts: Sequence[Messages], out: Path) -> dict[str, float]:
    """Copies of the base after a step with a reward model, over every module that is alive, and the control:
    the same with a model loaded once more.
    """
    import torch

    from policies.training.engines.roles import base_copies
    from policies.training.model import lora

    made = _made(base, prompts, out, _reward_model(base, out))
    made.step(1)
    gc.collect()

    def alive() -> list[Any]:
        """Every module in this process that is not a part of another."""
        found = [each for each in gc.get_objects() if issubclass(type(each), torch.nn.Module)]
        parts = {id(part) for each in found for part in each.children()}
        return [each for each in found if id(each) not in parts]

    one = base_copies(*alive())
    control = lora.load(base, None, "cpu")
    two = base_copies(*alive())
    del made, control
    gc.collect()
    return {"ppo_base_copies": one, "ppo_base_copies_control": two}


def _reward_model(base: str, out: Path) -> Path:
    """A reward model of two folds, untrained: what it says does not matter here."""
    from policies.training.engines import heads, reward_model
    from policies.training.model import lora

    loaded = lora.load(base, None, "cpu")
    directory = out / "reward"
    for number in range(2):
        model = lora.fresh(loaded, RECIPE.lora)
        lora.save(model, directory / reward_model.fold_name(number), loaded)
        head = heads.fresh(heads.width_of(model), number, loaded.device)
        heads.save(head, directory / reward_model.fold_name(number))
        model.unload()
    reward_model.write_manifest(directory, [PRIOR] * 2)
    return directory
