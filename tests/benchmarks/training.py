"""Training: our engine beside TRL's own trainer on the same pairs, model and epoch, in one process.

Both train a Llama of 5.15 million parameters for one epoch in float32, on one thread, without gradient
checkpointing. TRL pads batches in random order, computes a prompt for each of its two answers, and runs the
reference in every step; ours batches like lengths and computes a prompt once, and its reference pass is
counted too. The figure is pairs a second of CPU time over TRL's.

`python -m tests.benchmarks.training PAIRS` measures with fewer pairs.
"""

import os
import random
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any, Literal

from policies.policy import TrainingGuards
from policies.recipes import DpoRecipe, Lora
from policies.records import Message
from policies.snapshot import Pair

PAIRS = 512
BATCH = 8
MOST = 490
"""Tokens of the longest prompt, and of the longest answer a quarter of them."""
RECIPE = DpoRecipe(
    learning_rate=1e-4, epochs=1, batch_size=BATCH, gradient_accumulation=1, gradient_checkpointing=False,
    checkpoint_steps=10_000, lora=Lora(r=8, alpha=16),
)  # fmt: skip
SAME = 1e-4
"""Nats by which an answer's two log-probabilities may differ."""


def run(pairs: int = PAIRS) -> dict[str, float]:
    """Ours before and after theirs, so that drift hits both; then every answer's log-probability by both.

    Raises AssertionError where those differ: a fast engine that computes something else is none.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    warnings.filterwarnings("ignore", category=FutureWarning)
    import torch

    torch.set_num_threads(1)
    learned = _pairs(pairs)
    with tempfile.TemporaryDirectory() as folder:
        base = str(_model(Path(folder) / "base"))
        first, ours = _ours(base, learned, Path(folder) / "first")
        seconds, theirs = _theirs(base, learned, Path(folder) / "theirs")
        second, _ = _ours(base, learned, Path(folder) / "second")
    apart = _apart(ours, theirs)
    assert apart < SAME, f"an answer's log-probability is {apart:.2g} nats off"
    return {
        "dpo_speedup": 2 * seconds / (first + second),
        "dpo_pairs_per_second": 2 * pairs / (first + second),
        "dpo_largest_difference_nats": apart,
    }


def _pairs(count: int) -> list[Pair]:
    """Lengths as agents' logs have them: long and uneven prompts, short answers."""
    from tests.tiny import WORDS

    rng, words = random.Random(0), WORDS.split()

    def said(role: Literal["user", "assistant"], middle: float, spread: float, most: int) -> Message:
        size = max(3, min(most, round(rng.lognormvariate(middle, spread))))
        return Message(role=role, content=" ".join(rng.choice(words) for _ in range(size)))

    return [
        Pair(
            preference=number,
            prompt=(said("user", 4.7, 0.75, MOST - 2),),
            chosen=(said("assistant", 3.4, 0.4, MOST // 4),),
            rejected=(said("assistant", 3.2, 0.4, MOST // 4),),
        )
        for number in range(count)
    ]


def _model(directory: Path) -> Path:
    """A model directory: five layers of 288, and a vocabulary of 600."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from tests.tiny import build

    build(directory)
    config = LlamaConfig.from_pretrained(directory)
    config.update(
        {
            "vocab_size": 600, "hidden_size": 288, "intermediate_size": 768, "num_hidden_layers": 5,
            "num_attention_heads": 6, "num_key_value_heads": 6, "head_dim": 48,
            "max_position_embeddings": 1024, "tie_word_embeddings": True,
        }
    )  # fmt: skip
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(directory)
    return directory


def _ours(base: str, pairs: list[Pair], out: Path) -> tuple[float, Any]:
    """CPU seconds of the training, the probe before it counted, and the trainer."""
    from policies.training.engines import batches, pair_trainer
    from policies.training.model import lora
    from policies.training.model.dataset import prepare
    from policies.training.model.rendering import Rendering
    from policies.training.planning.dpo import decide
    from tests.policies.training.planning.facts import dpo, facts

    loaded = lora.load(base, None, "cpu")
    trainer = pair_trainer.PairTrainer(
        sft_weight=RECIPE.sft_weight,
        check_margin=True,
        extra_state=str,
        pad=loaded.tokenizer.pad_token_id,
        rows=batches.rows(prepare(pairs, Rendering(loaded.tokenizer), 4096).examples),
        model=lora.fresh(loaded, RECIPE.lora),
        args=pair_trainer.arguments(dpo(decide(RECIPE, TrainingGuards(), facts(PAIRS))), out, loaded, 0),
        processing_class=loaded.tokenizer,
    )
    trainer.model.delete_adapter(lora.REFERENCE)
    start = time.process_time()
    trainer.share()
    return _trained(trainer, start), trainer


def _theirs(base: str, pairs: list[Pair], out: Path) -> tuple[float, Any]:
    """CPU seconds of TRL's training, and its trainer."""
    from datasets import Dataset
    from peft import LoraConfig
    from trl import DPOConfig, DPOTrainer

    from policies.training.model import lora

    loaded = lora.load(base, None, "cpu")
    plain = DPOConfig(
        output_dir=str(out), use_cpu=True, bf16=False, gradient_checkpointing=False, max_length=4096,
        loss_type=["sigmoid", "sft"], loss_weights=[1.0, RECIPE.sft_weight], beta=RECIPE.beta,
        learning_rate=RECIPE.learning_rate, num_train_epochs=RECIPE.epochs, save_strategy="no", report_to=[],
        per_device_train_batch_size=BATCH, logging_steps=1, disable_tqdm=True,
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
    return _trained(trainer, time.process_time()), trainer


def _trained(trainer: Any, start: float) -> float:
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return time.process_time() - start


def _apart(ours: Any, theirs: Any) -> float:
    """The largest difference between our and TRL's log-probability of an answer, under our adapter."""
    import torch

    from policies.training.engines.batches import IGNORED
    from policies.training.model import lora

    theirs.model.load_state_dict(lora.trainable(ours.model), strict=False)
    ours.model.eval()
    theirs.model.eval()
    tokens = list(theirs.train_dataset)
    order = sorted(range(len(tokens)), key=lambda index: len(tokens[index]["prompt_ids"]))
    largest = 0.0
    for start in range(0, len(order), BATCH):
        part = order[start : start + BATCH]
        batch = theirs.data_collator([tokens[index] for index in part])
        labels = batch["input_ids"].masked_fill(batch.pop("completion_mask") == 0, IGNORED)
        with torch.no_grad():
            stock = theirs.model(**batch, labels=labels, fused_lm_head=True).log_probs.double().sum(dim=1)
            own = ours.scores([ours.rows[index] for index in part]).log_probs.double().sum(dim=1)
        largest = max(largest, (stock - own).abs().max().item())
    return largest


if __name__ == "__main__":
    sys.stdout.write(f"{run(int(sys.argv[1]))}\n")
