"""A tiny causal language model from nothing: its own tokenizer, a small Llama, full supervised training.

For demonstrations and tests on a CPU: half a million parameters learn a templated language in half a minute.
The result is an ordinary model directory that transformers, peft and trl load like any other.
"""

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from policies.training.toy.agent import Lesson, TinySpec

PAD, END, USER, ASSISTANT = "<pad>", "<end>", "<user>", "<assistant>"
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %}"
    f"{ASSISTANT}{{{{ message['content'] }}}}{END}"
    "{% else %}"
    f"{USER}{{{{ message['content'] }}}}"
    "{% endif %}{% endfor %}"
    f"{{% if add_generation_prompt %}}{ASSISTANT}{{% endif %}}"
)

Progress = Callable[[int, float], None]
"""Called after each step with its number (from 1) and its loss (nats per token)."""


def tokenizer_for(texts: Sequence[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer trained on the texts, with a two-role chat template."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, END, USER, ASSISTANT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=PAD,
        eos_token=END,
        chat_template=CHAT_TEMPLATE,
        additional_special_tokens=[USER, ASSISTANT],
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )


def blank_model(spec: TinySpec, tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """An untrained Llama of the given shape, float32, reproducible from the seed."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=spec.hidden,
        intermediate_size=spec.hidden * 2,
        num_hidden_layers=spec.layers,
        num_attention_heads=spec.heads,
        num_key_value_heads=spec.heads,
        max_position_embeddings=spec.positions,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    return LlamaForCausalLM(config)


def teach(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    lessons: Sequence[Lesson],
    spec: TinySpec,
    *,
    seed: int,
    progress: Progress = lambda _step, _loss: None,
) -> None:
    """Trains all weights on the answers of the lessons, `spec.steps` batches of `spec.batch_size`."""
    encoded = [_encode(tokenizer, lesson) for lesson in lessons]
    chance = random.Random(f"teach-{seed}")
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=spec.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=spec.learning_rate, total_steps=spec.steps, pct_start=0.1
    )
    model.train()
    for step in range(1, spec.steps + 1):
        batch = chance.sample(encoded, min(spec.batch_size, len(encoded)))
        inputs, labels = _stack(batch, int(tokenizer.pad_token_id))
        loss = model(input_ids=inputs, attention_mask=inputs.ne(tokenizer.pad_token_id), labels=labels).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        progress(step, float(loss.detach()))
    model.eval()


def build(
    directory: Path,
    lessons: Sequence[Lesson],
    spec: TinySpec,
    *,
    seed: int,
    progress: Progress = lambda _step, _loss: None,
) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """Trains a model from nothing on the lessons, writes it to the directory, and returns it."""
    tokenizer = tokenizer_for([text for lesson in lessons for text in lesson], spec.vocabulary)
    model = blank_model(spec, tokenizer, seed)
    teach(model, tokenizer, lessons, spec, seed=seed, progress=progress)
    model.save_pretrained(directory, safe_serialization=True)
    tokenizer.save_pretrained(directory)
    return model, tokenizer


def _encode(tokenizer: PreTrainedTokenizerFast, lesson: Lesson) -> tuple[list[int], int]:
    """Token ids of prompt and answer, and how many of them are prompt."""
    prompt, answer = lesson
    before: list[int] = tokenizer(f"{USER}{prompt}{ASSISTANT}", add_special_tokens=False)["input_ids"]
    after: list[int] = tokenizer(f"{answer}{END}", add_special_tokens=False)["input_ids"]
    return before + after, len(before)


def _stack(batch: Sequence[tuple[list[int], int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids [B, T] padded on the right, and labels [B, T] with -100 at prompt and padding."""
    longest = max(len(ids) for ids, _ in batch)
    inputs = torch.full((len(batch), longest), pad)
    labels = torch.full((len(batch), longest), -100)
    for row, (ids, start) in enumerate(batch):
        inputs[row, : len(ids)] = torch.tensor(ids)
        labels[row, start : len(ids)] = torch.tensor(ids[start:])
    return inputs, labels
