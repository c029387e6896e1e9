"""The job that tries out a base model's tokenizer and chat template, before anything is paid for."""

from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoTokenizer, GenerationConfig, PretrainedConfig

from policies import architectures
from policies.training.errors import JobError
from policies.training.jobs import InspectJob, InspectResult
from policies.training.model import selftest
from policies.training.model.rendering import Rendering
from policies.training.model.responses import Responses
from policies.training.sampling.questions import positions_of


def run_inspect(job: InspectJob) -> InspectResult:
    """Loads everything but the weights. Raises JobError where it cannot be loaded."""
    common: dict[str, Any] = {"trust_remote_code": False, "local_files_only": Path(job.base_model).is_dir()}
    if not common["local_files_only"]:
        common["revision"] = job.revision
    try:
        raw, _ = PretrainedConfig.get_config_dict(job.base_model, **common)
        problem = architectures.problem(raw)
        if problem is not None:
            raise JobError(f"{job.base_model}: config.json: {problem}")
        config = AutoConfig.from_pretrained(job.base_model, **common)
        tokenizer = AutoTokenizer.from_pretrained(job.base_model, **common)
    except (OSError, ValueError) as error:
        raise JobError(f"{job.base_model}: {' '.join(str(error).split())[:300]}") from None
    rendering = Rendering(tokenizer, generation=_generation(job.base_model, common))
    found = selftest.examine(rendering, Responses(rendering))
    return InspectResult(
        state="done" if found.refusal is None else "failed",
        reason=found.refusal or "",
        notes=found.notes,
        positions=positions_of(config, tokenizer),
    )


def _generation(base_model: str, common: dict[str, Any]) -> GenerationConfig | None:
    try:
        return GenerationConfig.from_pretrained(base_model, **common)
    except (OSError, ValueError):
        return None  # many bases have none: the tokenizer's end token is then all there is
