"""Training: our recipe beside TRL's own trainer on the same pairs, model and epochs, in one process.

Both train two epochs in float32 on one thread without gradient checkpointing. TRL pads batches in random
order and runs the reference in every step; ours batches like lengths and runs the reference once, which is
counted. The figure is a ratio of CPU seconds: how many times less ours needs.
"""

import os
import random
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from policies.policy import DpoRecipe, Lora, TrainingGuards
from policies.records import Message
from policies.snapshot import Pair

PAIRS = 48
RECIPE = DpoRecipe(
    learning_rate=1e-4, epochs=2, batch_size=8, checkpoint_steps=10_000, lora=Lora(r=8, alpha=16)
)


def run() -> dict[str, float]:
    """Times both, in the order ours, theirs, theirs, ours, so that drift hits both alike."""
    os.environ["OMP_NUM_THREADS"] = "1"
    warnings.filterwarnings("ignore", category=FutureWarning)
    import torch

    torch.set_num_threads(1)
    from tests.tiny import build

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        base = str(build(root / "base", hidden=192, layers=4))
        pairs = _pairs()
        seconds = {"ours": 0.0, "theirs": 0.0}
        for number, who in enumerate(("ours", "theirs", "theirs", "ours")):
            trains = (
                _ours(base, pairs, root / str(number)) if who == "ours" else _theirs(base, pairs, root / who)
            )
            start = time.process_time()
            trains()
            seconds[who] += time.process_time() - start
    return {"training_bucketed_vs_plain_ratio": seconds["theirs"] / seconds["ours"]}


def _pairs() -> list[Pair]:
    """Lengths as agents' logs have them: long and uneven prompts, short answers."""
    from tests.tiny import WORDS

    rng, words = random.Random(0), WORDS.split()

    def text(most: float) -> str:
        return " ".join(
            rng.choice(words) for _ in range(max(3, min(200, int(rng.lognormvariate(most, 0.7)))))
        )

    return [
        Pair(
            preference=number,
            prompt=(Message(role="user", content=text(4.2)),),
            chosen=(Message(role="assistant", content=text(2.8)),),
            rejected=(Message(role="assistant", content=text(2.8)),),
        )
        for number in range(PAIRS)
    ]


def _ours(base: str, pairs: list[Pair], out: Path) -> Callable[[], Any]:
    from datasets import Dataset
    from transformers import PrinterCallback

    from policies.training.engines import batches, dpo
    from policies.training.model import lora
    from policies.training.model.dataset import prepare
    from policies.training.planning.plan import decide
    from tests.policies.training.planning.facts import facts

    loaded = lora.load(base, None, "cpu")
    rows = batches.rows(prepare(pairs, loaded.tokenizer, 4096).examples)
    trainer = dpo.PairTrainer(
        sft_weight=RECIPE.sft_weight,
        check_margin=True,
        extra_state=str,
        model=lora.fresh(loaded, RECIPE.lora),
        args=dpo.arguments(decide(RECIPE, TrainingGuards(), facts(PAIRS)).recipe, out, loaded, 0),
        train_dataset=Dataset.from_list(rows),
        processing_class=loaded.tokenizer,
        data_collator=batches.Collator(loaded.tokenizer.pad_token_id),
    )
    trainer.model.delete_adapter("ref")
    trainer.remove_callback(PrinterCallback)

    def train() -> None:
        trainer.train_dataset = dpo.with_reference(trainer, rows, lambda _done, _total: None)
        trainer.precompute_ref_logps = True
        trainer.train()

    return train


def _theirs(base: str, pairs: list[Pair], out: Path) -> Callable[[], Any]:
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import PrinterCallback
    from trl import DPOConfig, DPOTrainer

    from policies.training.model import lora

    loaded = lora.load(base, None, "cpu")
    plain = DPOConfig(
        output_dir=str(out), use_cpu=True, bf16=False, gradient_checkpointing=False, max_length=4096,
        loss_type=["sigmoid", "sft"], loss_weights=[1.0, RECIPE.sft_weight], beta=RECIPE.beta,
        learning_rate=RECIPE.learning_rate, num_train_epochs=RECIPE.epochs, save_strategy="no", report_to=[],
        per_device_train_batch_size=RECIPE.batch_size, logging_steps=1, disable_tqdm=True,
    )  # fmt: skip
    rows = [
        {
            side: [message.model_dump(include={"role", "content"}) for message in getattr(pair, side)]
            for side in ("prompt", "chosen", "rejected")
        }
        for pair in pairs
    ]
    shape = RECIPE.lora
    trainer = DPOTrainer(
        model=loaded.model,
        args=plain,
        train_dataset=Dataset.from_list(rows),
        processing_class=loaded.tokenizer,
        peft_config=LoraConfig(
            r=shape.r, lora_alpha=shape.alpha, target_modules=shape.target_modules, task_type="CAUSAL_LM"
        ),
    )
    trainer.remove_callback(PrinterCallback)
    train: Callable[[], Any] = trainer.train
    return train
