"""Halts that a test sets by hand, where no store with a latch is needed."""

from dataclasses import dataclass, field

from daemon.errors import HaltedError
from policies.records import Scope


@dataclass
class FakeHalts:
    """Every scope in `halted` is refused, as the latch refuses it."""

    halted: set[Scope] = field(default_factory=set)

    def check(self, scope: Scope) -> None:
        if scope in self.halted:
            raise HaltedError(f"{scope} is halted")
