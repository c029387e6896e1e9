"""What the base model's tokenizer and chat template can do, tried out by a child before anybody is paid."""

import tempfile
from pathlib import Path

from daemon.children.child import Child, ChildFailedError
from daemon.errors import ConfigError
from policies.policy import PolicySpec
from policies.training.jobs import InspectJob

TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json")
"""Any of these files makes a tokenizer that can be loaded."""


def notes(policy: PolicySpec) -> list[str]:
    """What training and sampling will have to do without, a line each; of a hub's model nothing is known yet.

    Raises ConfigError without a tokenizer, and where the family cannot be trained rightly.
    """
    directory = Path(policy.base_model)
    if not directory.is_dir():
        return []
    if not any((directory / name).exists() for name in TOKENIZERS):
        one_of = ", ".join(TOKENIZERS)
        raise ConfigError(
            f"policy.base_model: {directory} holds no tokenizer, none of {one_of}: nothing can "
            "be sampled or trained with it: fetch the model's tokenizer files too"
        )
    with tempfile.TemporaryDirectory(prefix="rlaifd-check-") as out:
        try:
            found = Child(InspectJob(out=Path(out), base_model=str(directory))).run()
        except ChildFailedError as error:
            reason = str(error).removeprefix("inspect failed: ").partition(" (log: ")[0]
            raise ConfigError(f"policy.base_model: {reason}") from None
    return [f"policy.base_model: {note}" for note in found.notes]
