"""`python -m tests.servers.gguf_model FILE.gguf DIRECTORY`: an ordinary model directory from a GGUF file.

Written are the configuration, float32 weights as safetensors, the tokenizer with the chat template that the
file carries, and generation settings that end at the tokenizer's end of turn. A process of its own: it needs
three times the model's size in memory.
"""

import sys
from pathlib import Path
from typing import Any

END = "<|im_end|>"
CHATML = ("<|im_start|>", END)


class ConversionError(Exception):
    """The file is not the chat model that it should be. One line for a person."""


def convert(file: Path, directory: Path) -> None:
    """Writes the model. Raises ConversionError where the file's tokenizer is no ChatML one."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = {"gguf_file": file.name, "local_files_only": True}
    tokenizer = AutoTokenizer.from_pretrained(str(file.parent), **where)
    loaded = AutoModelForCausalLM.from_pretrained(str(file.parent), dtype=torch.float32, **where)
    config = loaded.config
    _prepare(tokenizer, config.max_position_embeddings)
    # What came from GGUF refuses to be saved, so its weights go into a fresh model of the same shape.
    del config.quantization_config, config._model_name_or_path
    config.eos_token_id, config.pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(loaded.state_dict())
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config._from_model_config = False
    model.save_pretrained(str(directory))
    tokenizer.save_pretrained(str(directory))


def _prepare(tokenizer: Any, positions: int) -> None:
    """Gives the tokenizer what the conversion loses.

    GGUF names the pre-tokenizer ("smollm") and does not hold it: every digit is a word of its own, then
    GPT-2's rules follow (llama.cpp, `LLAMA_VOCAB_PRE_TYPE_SMOLLM`).
    """
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence

    template = tokenizer.chat_template or ""
    if (
        tokenizer.eos_token != END
        or tokenizer.pad_token is None
        or any(mark not in template for mark in CHATML)
    ):
        raise ConversionError(f"no ChatML tokenizer: it ends with {tokenizer.eos_token!r}, not {END!r}")
    tokenizer.backend_tokenizer.pre_tokenizer = Sequence(
        [Digits(individual_digits=True), ByteLevel(add_prefix_space=False, use_regex=True)]
    )
    tokenizer.model_max_length = positions
    for name in ("is_local", "local_files_only"):  # how it was loaded here, which is nobody's business
        tokenizer.init_kwargs.pop(name, None)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
