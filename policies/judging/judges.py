"""Judges as everything but their connectors knows them: by name, with a role and a version.

The name is the user's, and what verdicts, money and alignment are kept under. Several judges may have one
role.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from policies.records import Role

JudgeName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
"""Part of natural keys, in which a colon ends it. Environment variables know no capital letters."""


@dataclass(frozen=True, slots=True)
class NamedJudge:
    """A configured judge. `version` is the digest of all that its verdicts depend on: another is another
    judge, which has to earn its alignment anew.
    """

    name: str
    role: Role
    version: str

    @property
    def title(self) -> str:
        """For a sentence: `small judge`, or `small judge haiku` where the name says more than the role."""
        named = "" if self.name == self.role.value else f" {self.name}"
        return f"{self.role.value} judge{named}"

    @property
    def labels(self) -> tuple[str, str]:
        """The values of the metric labels `judge` and `role`."""
        return self.name, self.role.value


def of_roles(judges: Iterable[NamedJudge], *roles: Role) -> tuple[NamedJudge, ...]:
    """The judges of these roles, in the order given."""
    return tuple(judge for judge in judges if judge.role in roles)


def roles_of(judges: Iterable[NamedJudge]) -> frozenset[Role]:
    """The roles that some judge has."""
    return frozenset(judge.role for judge in judges)
