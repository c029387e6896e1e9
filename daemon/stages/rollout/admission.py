"""What an adapter must show before it may come into force."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from daemon.clock import Clock
from daemon.errors import AdapterRefusedError, HaltedError, RefusedError, RlaifdError
from daemon.store import agentversions, halts, rollouts
from daemon.store.rollouts import LastAttempt
from policies.basemodel import Base
from policies.gate.decision import DecisionKind
from policies.records import Scope
from policies.rollout import Assignment, RefusalKind

Verify = Callable[[Path, str], object]
"""`verify(directory, name)` raises AdapterRefusedError naming the file and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class AdapterRefusal:
    """Why an adapter may not come into force, in one line."""

    kind: RefusalKind
    message: str

    def error(self) -> RefusedError:
        """The refusal as the error that a command ends with."""
        return (
            HaltedError(self.message)
            if self.kind is RefusalKind.HALTED
            else AdapterRefusedError(self.message)
        )


class Admission:
    """The checks: those on the store for the transaction that makes the change, those on files before it.

    `base` answers the policy's base model as it is now.
    """

    def __init__(
        self,
        *,
        adapters_dir: Path,
        base: Callable[[], Base],
        verify: Verify,
        clock: Clock,
        reverify_s: float = 300.0,
    ) -> None:
        self._adapters_dir = adapters_dir
        self._base = base
        self._ours: Base | None = None
        self._verify = verify
        self._clock = clock
        self._reverify_s = reverify_s
        self._verified: dict[str, tuple[object, float, AdapterRefusal | None]] = {}

    def directory(self, adapter: str) -> Path:
        """Where the adapter's files are."""
        return self._adapters_dir / adapter

    def require_files(self, adapter: str | None) -> None:
        """Raises RlaifdError where the files of what is in force (None: the base model) are not here."""
        if adapter is not None and not self.directory(adapter).is_dir():
            raise RlaifdError(
                f"{self.directory(adapter)} is not here, and another daemon leads with {adapter} in force: "
                "daemons on one database share state_dir/adapters and rollout.file; or set "
                "rollout.lead: false for one that only ingests and judges"
            )

    def allowed(self, connection: Connection, adapter: str, state: Assignment) -> AdapterRefusal | None:
        """Known, not quarantined, of our base model, passed by the gate against what is in force, and
        promotion not halted.

        An adapter that was in force before needs no new comparison with the present one.
        """
        found = rollouts.known(connection, adapter)
        if found is None:
            return AdapterRefusal(
                RefusalKind.UNKNOWN, f"{adapter} is unknown: `rlaifd adapters` lists the published ones"
            )
        if found.quarantine is not None:
            return AdapterRefusal(RefusalKind.QUARANTINED, f"{adapter} is quarantined: {found.quarantine}")
        refusal = self.foreign(adapter, found.base)
        if refusal is not None:
            return refusal
        refusal = self._judged(connection, adapter, state)
        if refusal is not None:
            return refusal
        active = halts.active(connection, Scope.PROMOTION)
        if active:
            reasons = "; ".join(halt.reason for halt in active)
            return AdapterRefusal(
                RefusalKind.HALTED, f"promotion is halted ({reasons}): `rlaifd resume promotion` first"
            )
        return None

    def look(self) -> None:
        """Looks at the policy's base model anew. Reading a large one takes its time: to be called before a
        lock is taken or a transaction begun.
        """
        self._ours = self._base()

    def foreign(self, adapter: str, base: Base) -> AdapterRefusal | None:
        """Whether the adapter was made for another base model than the policy's at the last `look`."""
        if self._ours is None:
            self.look()
        assert self._ours is not None
        why = self._ours.refusal(adapter, base)
        return None if why is None else AdapterRefusal(RefusalKind.FOREIGN, why)

    def _judged(self, connection: Connection, adapter: str, state: Assignment) -> AdapterRefusal | None:
        judged = rollouts.judged(connection, adapter)
        if judged is None:
            return AdapterRefusal(
                RefusalKind.UNDECIDED, f"{adapter} was never evaluated: run `rlaifd evaluate {adapter}`"
            )
        if judged.decision is None:
            return AdapterRefusal(
                RefusalKind.UNDECIDED, f"{adapter} is still being evaluated: wait for the gate's decision"
            )
        why = "; ".join(judged.reasons) or "no reason recorded"
        if judged.decision == DecisionKind.HOLD:
            return AdapterRefusal(RefusalKind.UNDECIDED, f"{adapter} is held by the gate: {why}")
        if judged.decision != DecisionKind.PROMOTE:
            return AdapterRefusal(RefusalKind.REJECTED, f"{adapter} was rejected by the gate: {why}")
        return (
            None if rollouts.was_in_force(connection, adapter) else _stale(connection, adapter, judged, state)
        )

    def intact(self, adapter: str) -> AdapterRefusal | None:
        """Whether the files are what was published. Hashed again when they look changed, and now and then."""
        directory = self.directory(adapter)
        seen, now = _looks(directory), self._clock.monotonic()
        known = self._verified.get(adapter)
        if known is not None and known[0] == seen and now - known[1] < self._reverify_s:
            return known[2]
        refusal = None
        try:
            self._verify(directory, adapter)
        except AdapterRefusedError as error:
            refusal = AdapterRefusal(RefusalKind.CORRUPTED, str(error))
        self._verified[adapter] = (seen, now, refusal)
        return refusal


def _stale(
    connection: Connection, adapter: str, judged: LastAttempt, state: Assignment
) -> AdapterRefusal | None:
    """Whether what the gate compared it with, and for whom, is what there is now."""
    if judged.stable != state.stable:
        return AdapterRefusal(
            RefusalKind.STALE,
            f"{adapter} was compared with {_named(judged.stable)}, and {_named(state.stable)} is in "
            f"force now: run `rlaifd evaluate {adapter}`",
        )
    current = agentversions.current(connection)
    if None not in {judged.agent_version, current} and judged.agent_version != current:
        return AdapterRefusal(
            RefusalKind.STALE,
            f"{adapter} was compared on prompts of the agent's version {judged.agent_version}, and {current} "
            f"has the most of the traffic now: run `rlaifd evaluate {adapter}`",
        )
    return None


def _named(adapter: str | None) -> str:
    return adapter or "the base model"


def _looks(directory: Path) -> tuple[tuple[str, int, int, int, int], ...]:
    """Names, sizes, times and inodes of the files: what changes when a file is touched."""
    try:
        entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
        stats = [(entry.name, entry.stat(follow_symlinks=False)) for entry in entries]
    except OSError:
        return ()
    return tuple((name, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino) for name, s in stats)
