"""Makes the target serve what is in force, and says what keeps it from doing so."""

from dataclasses import dataclass
from typing import Literal

from connectors.base import ServingTarget
from connectors.errors import FatalError, TransientError
from daemon.stages.rollout.admission import Admission
from daemon.store.rollouts import InForce

ConditionKind = Literal[
    "file_invalid",
    "refused",
    "contradicted",
    "quarantined",
    "corrupted",
    "foreign",
    "unserved",
    "fenced",
    "store_lost",
]


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that keeps the wish from being served, or would: one line."""

    kind: ConditionKind
    message: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


class Mirror:
    """The target as a copy of the state in force. It asserts again what the target has lost."""

    def __init__(self, *, target: ServingTarget, admission: Admission) -> None:
        self._target = target
        self._admission = admission
        self._asserted: InForce | None = None

    def look(self, state: InForce) -> list[Condition]:
        """What is wrong, changing nothing."""
        found = self._intact(state)
        if not self._serves(state):
            message = f"the {self._target.name} target does not serve {state.stable or 'the base model'}"
            found.append(Condition("unserved", message))
        return found

    def converge(self, state: InForce) -> list[Condition]:
        """Makes the target serve the state; what is wrong then. Corrupted files are never served anew."""
        found = self._intact(state)
        if found or (self._asserted == state and self._serves(state)):
            return found
        return self.tell(state)

    def tell(self, state: InForce) -> list[Condition]:
        """Tells the target to serve the state and asks it whether it does."""
        stable = state.stable
        directory = None if stable is None else str(self._admission.directory(stable))
        try:
            self._target.serve(stable, directory, state.epoch)
            served = self._target.served().adapter
        except TransientError as error:
            return [Condition("unserved", str(error))]
        except FatalError as error:
            return [Condition("fenced", str(error))]
        if served != stable:
            return [
                Condition("unserved", f"the {self._target.name} target serves {served or 'the base model'}")
            ]
        self._asserted = state
        return []

    def _intact(self, state: InForce) -> list[Condition]:
        refusal = None if state.stable is None else self._admission.intact(state.stable)
        if refusal is None:
            return []
        return [Condition("corrupted", f"the adapter in force is damaged: {refusal.message}")]

    def _serves(self, state: InForce) -> bool:
        try:
            return self._target.served().adapter == state.stable
        except (TransientError, FatalError):
            return False
