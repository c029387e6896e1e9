"""The latch: halts that stay until a person resumes them.

Whatever stops the daemon from reading the halts halts it: a promotion that cannot know must not be. A halt
that cannot be stored holds in this process's memory until it can. It uses the store's urgent connections, on
the calling thread: a busy writer or an exhausted pool does not keep a halt waiting.
"""

import threading
import uuid
from collections.abc import Sequence
from typing import Protocol

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from daemon.clock import Clock
from daemon.errors import HaltedError, UsageError
from daemon.log import get
from daemon.metrics.registry import Metrics
from daemon.store import halts
from daemon.store.halts import ActiveHalt, HaltRequest
from daemon.store.store import Store, StoreError
from policies.halts import Evidence
from policies.records import Scope
from policies.states import HaltSource

MOST_UNSTORED = 1000
"""Halts kept in memory until they can be stored. One more of a scope that is among them changes nothing."""
log = get("latch")


class Halts(Protocol):
    """The part of the latch that a stage asks."""

    def check(self, scope: Scope) -> None:
        """Returns when the scope may work. Raises HaltedError otherwise."""


class Latch:
    """Halts and resumes scopes. Safe to use from any thread; never from inside `store.write`:
    there, use `daemon.store.halts` on the connection at hand.
    """

    def __init__(self, store: Store, clock: Clock, metrics: Metrics) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._unstored: dict[tuple[str, str, str], HaltRequest] = {}
        self._lock = threading.Lock()

    def halt(
        self,
        scope: Scope,
        *,
        reason: str,
        source: HaltSource,
        actor: str,
        fingerprint: str | None = None,
        starts_at: str = "",
    ) -> bool:
        """Latches a halt; it is committed, with its ledger entry, when this returns. True: it is new.

        Idempotent on (scope, fingerprint, starts_at): an alert that is sent again is one halt, and does not
        undo a resume. A fingerprint without a start is a condition of ours: it halts anew after a resume.
        No fingerprint: every call is a halt of its own. Raises StoreError when it could not be stored; the
        scope is then halted in this process until it is.
        """
        request = HaltRequest(
            Scope(scope), reason, source, actor, fingerprint or f"once:{uuid.uuid4().hex}", starts_at
        )
        return self.take([request])[0]

    def take(self, requests: Sequence[HaltRequest], *, cleared: Sequence[tuple[str, str]] = ()) -> list[bool]:
        """Latches many halts in one transaction, as `halt` does; returns which are new. `cleared` are alerts,
        by fingerprint and start, whose condition went away, which resumes nothing.
        """
        for request in requests:
            self._keep(request)
            self._metrics.halt_active.labels(request.scope).set(1)
        return self._persist(requests, cleared)

    def resume(self, scope: Scope, *, actor: str, reason: str) -> int:
        """Ends the scope's active halts; returns how many. Raises UsageError without actor and reason."""
        if not actor.strip() or not reason.strip():
            raise UsageError("resume needs an actor and a reason: both go into the ledger")
        self._flush(Scope(scope))
        now = self._clock.now()
        count = self._store.write(
            lambda c: halts.resume(c, Scope(scope), actor=actor, reason=reason, now=now), urgent=True
        )
        if count:
            log.warning("scope_resumed", scope=str(scope), actor=actor, reason=reason, halts=count)
        self.active()
        return count

    def clear(self, fingerprint: str, starts_at: str) -> int:
        """Records that an alert's condition went away; returns for how many halts. Resumes nothing."""
        now = self._clock.now()
        return self._store.write(
            lambda c: halts.clear(c, fingerprint=fingerprint, starts_at=starts_at, now=now), urgent=True
        )

    def leaves(self, evidence: Evidence | None) -> int | None:
        """The epoch that an alert may move serving back from; None: it may not (`daemon.store.halts`)."""
        return self._store.read(lambda c: halts.leaves(c, evidence), urgent=True)

    def active(self) -> tuple[ActiveHalt, ...]:
        """The halts in force, oldest first; sets the gauges. Raises StoreError when they cannot be read."""
        try:
            found = self._store.read(halts.active, urgent=True)
        except (StoreError, SQLAlchemyError):
            for scope in Scope:
                self._metrics.halt_active.labels(scope).set(1)
            raise
        halted = {halt.scope for halt in found} | {request.scope for request in self._pending()}
        for scope in Scope:
            self._metrics.halt_active.labels(scope).set(scope in halted)
        return found

    def check(self, scope: Scope) -> None:
        """Returns when the scope may work. Raises HaltedError when it is halted, or when nobody can tell."""
        scope = Scope(scope)
        unstored = [request for request in self._pending() if request.scope == scope]
        try:
            self._flush(scope)
            reasons = [halt.reason for halt in self.active() if halt.scope == scope]
        except (StoreError, SQLAlchemyError) as error:
            if not unstored:
                raise HaltedError(f"{scope} is halted: the halts cannot be read: {error}") from error
            reasons = []
        reasons += [request.reason for request in unstored if request.reason not in reasons]
        if reasons:
            more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
            raise HaltedError(f"{scope} is halted: {reasons[0]}{more}; `rlaifd resume {scope}` lets it go on")

    def _keep(self, request: HaltRequest) -> None:
        """Remembers a halt until it is stored."""
        with self._lock:
            full = len(self._unstored) >= MOST_UNSTORED
            if not full or all(kept.scope != request.scope for kept in self._unstored.values()):
                self._unstored.setdefault(_key(request), request)

    def _persist(
        self, requests: Sequence[HaltRequest], cleared: Sequence[tuple[str, str]] = ()
    ) -> list[bool]:
        now = self._clock.now()

        def work(connection: Connection) -> list[bool]:
            new = halts.latch_all(connection, requests, now=now)
            for fingerprint, starts_at in cleared:
                halts.clear(connection, fingerprint=fingerprint, starts_at=starts_at, now=now)
            return new

        try:
            new = self._store.write(work, urgent=True)
        except (StoreError, SQLAlchemyError) as error:
            for request in requests:
                log.critical(
                    "halt_not_stored", scope=request.scope.value, reason=request.reason, error=str(error)
                )
            raise
        with self._lock:
            for request in requests:
                self._unstored.pop(_key(request), None)
        for request in (request for request, is_new in zip(requests, new, strict=True) if is_new):
            self._metrics.halts.labels(request.scope, request.source).inc()
            log.warning(
                "scope_halted", scope=request.scope.value, source=request.source, reason=request.reason
            )
        return new

    def _flush(self, scope: Scope) -> None:
        """Stores what could not be stored before. Raises StoreError when it still cannot be."""
        waiting = [request for request in self._pending() if request.scope == scope]
        if waiting:
            self._persist(waiting)

    def _pending(self) -> list[HaltRequest]:
        with self._lock:
            return list(self._unstored.values())


def _key(request: HaltRequest) -> tuple[str, str, str]:
    """What makes a repeated request the same."""
    return request.scope.value, request.fingerprint, request.starts_at
