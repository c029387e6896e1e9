"""Whether training changed the policy at all: a decision on numbers.

An adapter that is its parent with a new name costs a gate's evidence and can win nothing. The limits are
where nothing can be seen: at a KL of 0.01 nats per answer at most 7 % of the answers' probability lies
elsewhere (Pinsker's inequality: total variation <= sqrt(KL / 2)), so that a judge who prefers every one of
them would find a win rate of 0.57 at most, and 200 prompts bound it to 0.06 either way. Measured on a real
model: six steps at 5e-6 gave a KL of 0.0001 and log-probabilities 0.009 away, two epochs at 3e-4 a KL of 1.85
and 5.4.
"""

from policies.training.jobs import Probe

LEAST_KL_NATS = 0.01
"""Least mean KL of the probe's answers to the parent, per sequence. Below it nothing was learned, unless one
answer moved by LEAST_LOGP_NATS."""
LEAST_LOGP_NATS = 0.1
"""Least difference of one answer's log-probability to the parent's: a tenth of its probability."""
NOISE = 2.0
"""How many times what rounding alone does counts as nothing. In bfloat16 a change of 1e-6, which float32 does
not show, gave a KL of 0.005 and a log-probability 0.12 away on answers of 100 tokens.
"""


def unchanged(probe: Probe, *, same_weights: bool, remedy: str) -> str | None:
    """Why the adapter is not worth publishing, with the remedy; None: it changed something.

    `same_weights`: its weights are bit for bit those that training began with.
    """
    if same_weights:
        return f"training changed no weight: {remedy}"
    least_kl = LEAST_KL_NATS + NOISE * probe.rounding_kl
    least_logp = LEAST_LOGP_NATS + NOISE * probe.rounding_largest
    if probe.kl_sequence >= least_kl or probe.largest >= least_logp:
        return None
    return (
        f"training changed nothing that can be seen: on {len(probe.sequences)} answers KL "
        f"{probe.kl_sequence:.4f} nats (least {least_kl:.3g}) and log-probabilities within "
        f"{probe.largest:.4f} (least {least_logp:.3g}): {remedy}"
    )
