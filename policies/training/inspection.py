"""The job that tries out a base model's tokenizer and chat template, before anything is paid for."""

from policies.training.jobs import InspectJob, InspectResult
from policies.training.model import loading, selftest
from policies.training.model.rendering import Rendering
from policies.training.model.responses import Responses
from policies.training.sampling.questions import positions_of


def run_inspect(job: InspectJob) -> InspectResult:
    """Loads everything but the weights. Raises JobError where it cannot be loaded."""
    config = loading.load_config(job.base_model, job.revision)
    tokenizer = loading.load_tokenizer(job.base_model, job.revision)
    generation = loading.generation_settings(job.base_model, job.revision)
    rendering = Rendering(tokenizer, generation=generation)
    found = selftest.examine(rendering, Responses(rendering))
    return InspectResult(
        state="done" if found.refusal is None else "failed",
        reason=found.refusal or "",
        notes=found.notes,
        positions=positions_of(config, tokenizer),
    )
