"""Who may judge whom: a policy is never its own judge, and the gate never asks who made the training data.

Models are told apart by family, which a person writes, and by where they are asked: one model at one address
is one judge, whatever family is written beside it.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Literal

from policies.configured import kin, same_address
from policies.policy import EndpointSampling, PolicySpec
from policies.records import Role

Override = Literal["judge-of-own-family", "gate-of-training-family"]


@dataclass(frozen=True, slots=True)
class JudgeIdentity:
    """A judge as it is asked. `url` is "" for one that is asked in no network."""

    role: Role
    family: str
    model: str
    url: str


def problem(
    judges: Mapping[str, JudgeIdentity], policy: PolicySpec, overrides: Collection[Override]
) -> str | None:
    """The first rule that is broken and not set aside, with the keys; None: all are kept.

    `judges` are by name, as the keys have it.
    """
    own = () if "judge-of-own-family" in overrides else _own(judges, policy)
    gate = () if "gate-of-training-family" in overrides else _training(judges)
    return next(iter([*own, *gate]), None)


def _own(judges: Mapping[str, JudgeIdentity], policy: PolicySpec) -> Iterator[str]:
    """Judges that are the policy, or of its family."""
    sampling = policy.sampling
    for name, judge in judges.items():
        if kin(judge.family, policy.family):
            yield (
                f"judges.{name}.family ({judge.family}) is the policy's own ({policy.family}): a policy is "
                "never its own judge"
            )
        if isinstance(sampling, EndpointSampling) and _is_one(
            judge, JudgeIdentity(judge.role, "", sampling.model, sampling.base_url)
        ):
            yield (
                f"judges.{name}.model is that of policy.sampling, at the same base_url ({judge.model}): a "
                "policy is never its own judge"
            )


def _training(judges: Mapping[str, JudgeIdentity]) -> Iterator[str]:
    """Judges of the training data that are the gate's, or of its family."""
    gates = [(name, judge) for name, judge in judges.items() if judge.role is Role.GATE]
    others = [(name, judge) for name, judge in judges.items() if judge.role is not Role.GATE]
    for (named, gate), (name, other) in product(gates, others):
        if kin(other.family, gate.family):
            yield (
                f"judges.{named}.family ({gate.family}) is that of judges.{name} ({other.family}): the gate "
                "would ask the family that made the training data"
            )
        if _is_one(other, gate):
            yield (
                f"judges.{named}.model is that of judges.{name}, at the same base_url ({gate.model}): two "
                "names of a family do not make two judges of it"
            )


def _is_one(one: JudgeIdentity, other: JudgeIdentity) -> bool:
    """Whether both are one model at one address."""
    if not one.url or not other.url:
        return False
    return one.model.casefold() == other.model.casefold() and same_address(one.url, other.url)
