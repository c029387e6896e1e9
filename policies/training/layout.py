"""The names of what lies in a job's directory, and how a training may end: light, for who asks no child."""

from typing import Literal

JOB = "job.json"
PROGRESS = "progress.jsonl"
LOG = "log.txt"
RESULT = "result.json"
PLAN = "plan.json"
ADAPTER = "adapter"
REWARD = "reward"
"""The directory of a reward model, inside the job's."""
CHECKPOINTS = "checkpoints"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"

TrainState = Literal["done", "unchanged", "halted", "stopped", "failed"]
"""How a training may end."""
