"""What happens after the last step: an adapter that is worth keeping, read back from disk, or a reason."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from policies.training.errors import JobError
from policies.training.guarding.change import unchanged
from policies.training.jobs import AdapterFile, Probe
from policies.training.model import lora, probe
from policies.training.model.lora import POLICY, LoadedBase
from policies.training.model.naming import listed

TOLERANCE_NATS = {torch.float32: 1e-3}
"""How far a sequence's log-probability may be from the trained model's when the files are read back. The same
kernels run on the same numbers; what is lost or misnamed costs more than what LEAST_LOGP_NATS asks for."""
ROUNDED_NATS = 0.05
"""The same where the base model computes in half precision."""


@dataclass(frozen=True, slots=True)
class Ending:
    """What training made. Without files it is the policy that was there before, and `reason` says so."""

    probe: Probe
    reason: str | None
    files: dict[str, AdapterFile]


def end(
    model: Any,
    base: LoadedBase,
    texts: Sequence[probe.ProbeText],
    directory: Path,
    *,
    reference: str | None,
    before: str,
    served_as: str | None,
    remedy: str,
) -> Ending:
    """Scores the trained adapter on the texts against its reference (an adapter on the model, None: the
    base), and writes it to the directory where it differs.

    `remedy` is what to do where it does not. `before` is the fingerprint of the weights that training began
    with. The model is bare afterwards. Raises JobError where what was written is not what was trained.
    """
    scores = probe.score(model, texts, policy=POLICY, reference=reference)
    if not all(map(math.isfinite, (*scores.policy, *scores.kl))):
        raise JobError("the trained adapter answers with numbers that are not finite")
    exact = base.model.dtype == torch.float32
    noise = None if exact else probe.jitter(model, texts, policy=reference)
    found = probe.describe(texts, scores, noise)
    same = lora.fingerprint(lora.trainable(model)) == before
    reason = unchanged(found, same_weights=same, remedy=remedy)
    if reason is not None:
        return Ending(found, reason, {})
    files = lora.save(model, directory, base, served_as)
    _read_back(model, base, directory, texts, scores)
    return Ending(found, None, files)


def _read_back(
    model: Any,
    base: LoadedBase,
    directory: Path,
    texts: Sequence[probe.ProbeText],
    trained: probe.ProbeScores,
) -> None:
    """Raises JobError unless the files, on the bare base, are the trained adapter: same weights, same
    answers.
    """
    lora.require_own(base, directory)
    weights = lora.state(model)
    model.unload()
    again = lora.with_adapters(base, {POLICY: directory})
    found = lora.state(again)
    other = {name for name in weights.keys() | found.keys() if not _equal(weights.get(name), found.get(name))}
    if other:
        raise JobError(f"the adapter read back is not what was trained: {listed(other, 2)} differ")
    scores = probe.score(again, texts, policy=POLICY, reference=POLICY)
    pairs = zip(scores.policy, trained.policy, strict=True)
    worst = max(abs(one - other) for one, other in pairs)
    limit = TOLERANCE_NATS.get(base.model.dtype, ROUNDED_NATS)
    if not worst <= limit:
        raise JobError(
            f"the adapter read back does not answer as what was trained: a log-probability is {worst:.4g} "
            f"nats away, and {limit:g} is the most: its configuration says something else than training did"
        )


def _equal(one: torch.Tensor | None, other: torch.Tensor | None) -> bool:
    return one is not None and other is not None and torch.equal(one, other)
