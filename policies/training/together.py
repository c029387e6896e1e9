"""How the processes of one training come to one mind. What distributes the steps is accelerate's and torch's.

The weights are the same in all of them, and so are the losses, which are means over all. What may differ is
what a process sees for itself: free memory, a request to stop, an answer that a card sampled otherwise. There
the first process decides: where one ended and another went on, the latter would wait for ever.
"""

import os
from collections.abc import Callable
from typing import TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from policies.training.errors import JobError
from policies.training.jobs import TrainJob
from policies.training.place import here

T = TypeVar("T")

CUT_UP = {"ACCELERATE_USE_FSDP": "FSDP", "ACCELERATE_USE_DEEPSPEED": "DeepSpeed"}
"""What `accelerate launch` sets where its configuration cuts the model itself into pieces."""


def meet(job: TrainJob) -> None:
    """Waits for the other processes, where there are any. Raises JobError where they cannot do the job."""
    place = here()
    if place.alone:
        return
    refusal = job.launch.refusal(job.recipe.method)
    if refusal is not None:
        raise JobError(refusal)
    for variable, name in CUT_UP.items():
        if os.environ.get(variable, "").lower() in {"true", "1"}:
            raise JobError(
                f"training.launch.config_file cuts the base among the cards ({name}), and such a base is "
                "neither read nor saved here: write distributed_type MULTI_GPU"
            )
    on_cpu = job.device == "cpu" or (job.device == "auto" and not torch.cuda.is_available())
    if not on_cpu and place.processes > torch.cuda.device_count():
        raise JobError(
            f"training.launch.processes is {place.processes} and {torch.cuda.device_count()} cards are seen: "
            "each process needs one of its own"
        )
    PartialState(cpu=on_cpu)


def agreed(decide: Callable[[], T]) -> T:
    """What the first process decides, in all of them; the others do not call `decide`."""
    place = here()
    if place.alone:
        return decide()
    found = [decide() if place.leads else None]
    broadcast_object_list(found)
    return found[0]  # type: ignore[return-value]
