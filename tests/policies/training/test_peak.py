"""The memory that a training's child really takes, beside the estimate."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from policies.policy import Guard, TrainingGuards
from policies.recipes import DpoRecipe
from policies.training.jobs import TrainJob, TrainResult
from policies.training.layout import JOB, RESULT
from tests.killing import ROOT
from tests.policies.training.conftest import pair

pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("ignore::FutureWarning")]

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="peaks are in kilobytes on Linux alone")


@pytest.fixture
def wide_model(tiny_model: Path, tmp_path: Path) -> Path:
    """A Llama wide enough that its tensors outweigh the libraries, with the tiny model's tokenizer."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=4096, hidden_size=256, intermediate_size=704, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, pad_token_id=0, eos_token_id=1, bos_token_id=None,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(str(tmp_path / "wide"))
    AutoTokenizer.from_pretrained(str(tiny_model)).save_pretrained(str(tmp_path / "wide"))
    return tmp_path / "wide"


@LINUX
def test_the_peak_is_near_the_estimate(job_for: Callable[..., TrainJob], wide_model: Path) -> None:
    """One step of 4 pairs of 310 tokens in a child of its own: the estimate is within two fifths. What the
    libraries map differs between machines.
    """
    job = job_for(
        pairs=[pair(n, chosen="yes " * 300, rejected="no " * 299) for n in range(4)],
        base_model=str(wide_model),
        recipe=DpoRecipe(batch_size=4, max_steps=1, gradient_checkpointing=False, max_length=400),
        guards=TrainingGuards(samples=1, kl_nats=Guard(limit=1e6)),
        guard_max_new_tokens=1,
    )
    (job.out / JOB).write_text(job.model_dump_json(), encoding="utf-8")
    command = [sys.executable, "-m", "policies.training.child", str(job.out / JOB)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    result = TrainResult.model_validate_json((job.out / RESULT).read_bytes())
    assert (child.returncode, result.state) == (0, "done"), result.reason
    assert result.plan is not None
    assert 0.6 < result.plan.memory.total / (used.ru_maxrss * 1024) < 1.4
