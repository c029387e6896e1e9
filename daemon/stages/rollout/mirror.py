"""Makes every target serve what is in force, and says what keeps one from doing so."""

from collections.abc import Sequence
from dataclasses import dataclass

from connectors.base import ServingTarget
from connectors.errors import ConnectorError, FatalError
from daemon.stages.rollout.admission import Admission
from policies.rollout import Assignment, ConditionKind


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that keeps the wish from being served, or would: one line. `target`: at which one; '': at all
    of them.
    """

    kind: ConditionKind
    message: str
    target: str = ""

    def __str__(self) -> str:
        at = f"target {self.target}: " if self.target else ""
        return f"{self.kind}: {at}{self.message}"


class Mirror:
    """The targets as copies of the assignment in force. It asserts again what a target has lost.

    Each target is brought to it by itself: what one refuses or cannot do keeps no other from following.
    """

    def __init__(self, *, targets: Sequence[ServingTarget], admission: Admission) -> None:
        self._targets = tuple(targets)
        self._admission = admission
        self._asserted: dict[str, Assignment] = {}

    def look(self, state: Assignment) -> list[Condition]:
        """What is wrong, changing nothing."""
        found = self._intact(state)
        for target in self._targets:
            if not _serves(target, state):
                message = f"does not serve {state.stable or 'the base model'}"
                found.append(Condition(ConditionKind.UNSERVED, message, target.name))
        return found

    def converge(self, state: Assignment) -> list[Condition]:
        """Makes the targets serve `state` and returns the conditions that remain. Damaged files are never
        deployed again.
        """
        found = self._intact(state)
        if found:
            return found
        return [
            condition
            for target in self._targets
            if self._asserted.get(target.name) != state or not _serves(target, state)
            for condition in self._told(target, state)
        ]

    def tell(self, state: Assignment) -> list[Condition]:
        """Tells every target to serve the state, and asks each whether it does."""
        return [condition for target in self._targets for condition in self._told(target, state)]

    def _told(self, target: ServingTarget, state: Assignment) -> list[Condition]:
        directories = {name: self._admission.directory(name) for name in state.adapters}
        try:
            target.serve(state, directories)
            served = target.served().assignment
        except FatalError as error:
            return [Condition(ConditionKind.FENCED, str(error), target.name)]
        except ConnectorError as error:
            return [Condition(ConditionKind.UNSERVED, str(error), target.name)]
        if served.at(state.epoch) != state:
            message = f"serves {served.stable or 'the base model'}"
            return [Condition(ConditionKind.UNSERVED, message, target.name)]
        self._asserted[target.name] = state
        return []

    def _intact(self, state: Assignment) -> list[Condition]:
        refusals = [
            refusal for name in state.adapters if (refusal := self._admission.intact(name)) is not None
        ]
        return [
            Condition(ConditionKind.CORRUPTED, f"the adapter in force is damaged: {refusal.message}")
            for refusal in refusals
        ]


def _serves(target: ServingTarget, state: Assignment) -> bool:
    try:
        return target.served().assignment.at(state.epoch) == state
    except ConnectorError:
        return False
