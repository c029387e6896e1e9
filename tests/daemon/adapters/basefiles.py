"""A base model's directory as far as the daemon looks at it: a configuration and safetensors, no model."""

import json
import random
import struct
from pathlib import Path

CONFIG = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 8}


def tensors(*, seed: int = 0, names: tuple[str, ...] = ("a", "b"), size: int = 256) -> bytes:
    """A safetensors file of float32 tensors with random bytes."""
    rng, data, header = random.Random(seed), b"", {}
    for name in names:
        start, data = len(data), data + rng.randbytes(size)
        header[name] = {"dtype": "F32", "shape": [size // 4], "data_offsets": [start, len(data)]}
    head = json.dumps(header).encode()
    return struct.pack("<Q", len(head)) + head + data


def write_base(directory: Path, *, seed: int = 0, config: dict[str, object] | None = None) -> Path:
    """Writes one whose weights depend on the seed; returns the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(CONFIG | (config or {})), encoding="utf-8")
    (directory / "model.safetensors").write_bytes(tensors(seed=seed))
    return directory
