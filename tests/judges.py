"""Judges as tests configure them: each is named as its role unless said otherwise."""

from collections.abc import Iterable

from policies.judging.judges import NamedJudge
from policies.records import Role


def named(role: Role, version: str = "v1", *, name: str | None = None) -> NamedJudge:
    """A judge of the role."""
    return NamedJudge(name or role.value, role, version)


def all_of(roles: Iterable[Role], version: str = "v1") -> tuple[NamedJudge, ...]:
    """One judge of each role, in the roles' order."""
    wanted = set(roles)
    return tuple(named(role, version) for role in Role if role in wanted)


SMALL, LARGE, GATE = BENCH = all_of(Role)
