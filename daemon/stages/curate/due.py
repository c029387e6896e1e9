"""Whether prompts are to be sampled now, for the stage and for whoever shows what it waits for."""

from daemon.store.candidates import Waiting

NONE_ASKED_FOR = "policy.sampling.candidates is 0: no answers are sampled beside the logged ones"


def few(waiting: Waiting, *, now: float, least: int, patience_s: float) -> str | None:
    """Why so few prompts are not sampled yet, in a line; None: they are enough, or waited long enough."""
    if waiting.oldest is None:
        return "no prompt of the train, calibrate or audit split waits for answers"
    if waiting.prompts < least and now - waiting.oldest < patience_s:
        return f"{waiting.prompts} of stages.sample_least ({least}) prompts wait for answers"
    return None
