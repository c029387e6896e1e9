"""What users do about answers, as far as the store has it: joined with its answers, and put to use.

Feedback finds its answer whichever came first; a correction becomes a candidate and a pair; retries and
rephrasings are looked for in the sessions of the log. Every part can be killed anywhere and run again.
"""

from collections import OrderedDict
from collections.abc import Sequence

from sqlalchemy import Connection

from daemon.clock import Clock
from daemon.log import get
from daemon.store import corrections, feedback, joined, sessions
from daemon.store.joined import Joined
from daemon.store.sessions import SessionTurn
from daemon.store.store import Store
from policies.behaviour import behaviour
from policies.feedback import About, FeedbackEvent
from policies.records import Feedback, digest
from policies.worth import FeedbackRule

log = get("hearing")

TURNS_AT_ONCE = 500
LOOKED_BACK = 5000
"""Traces before the newest in which a start looks for sessions again: what was found is found as the same."""
OPEN_SESSIONS = 10_000
"""Sessions whose last turn is kept in mind."""
SETTLED_S = 5.0
"""So old must a trace be before its session is looked at."""


class Hearing:
    """Joins, settles and follows. Used by one thread at a time."""

    def __init__(self, *, store: Store, clock: Clock, rule: FeedbackRule) -> None:
        self._store, self._clock, self._rule = store, clock, rule
        self._weighed = False
        self._reached: int | None = None
        """The last trace that was followed."""
        self._last: OrderedDict[tuple[str, str], SessionTurn] = OrderedDict()

    def step(self) -> int:
        """One batch of each; returns how much was done."""
        if not self._weighed:
            self._store.write(lambda c: corrections.reweigh(c, self._rule))
            self._weighed = True
        followed = self._follow() if self._rule.sessions else 0
        return self._join() + followed

    def all(self) -> None:
        """Whatever is due."""
        while self.step():
            pass

    def _join(self) -> int:
        now = self._clock.now()

        def work(connection: Connection) -> tuple[Joined, int]:
            found = joined.join(connection, now)
            return found, corrections.settle(connection, found.answers, self._rule, now)

        if not self._store.read(lambda c: joined.any_due(c, now)):
            return 0
        found, pairs = self._store.write(work)
        if pairs:
            log.info("corrections_stored", pairs=pairs)
        return found.looked_at

    def _follow(self) -> int:
        """Looks at the newest turns of sessions; returns how many there were."""
        if self._reached is None:
            self._reached = max(0, self._store.read(sessions.newest) - LOOKED_BACK)
        reached, before = self._reached, self._clock.now() - SETTLED_S
        turns = self._store.read(lambda c: sessions.after(c, reached, before=before, limit=TURNS_AT_ONCE))
        if not turns:
            return 0
        self._store_all([each for turn in turns if (each := self._heard(turn)) is not None])
        self._reached = turns[-1].trace_id
        return len(turns)

    def _heard(self, turn: SessionTurn) -> FeedbackEvent | None:
        """What a turn says of the answer before it."""
        key = (turn.source, turn.session)
        before = self._last.pop(key, None)
        self._last[key] = turn
        if len(self._last) > OPEN_SESSIONS:
            self._last.popitem(last=False)
        if before is None:
            return None
        kind = behaviour(before.asked, turn.asked, within_s=self._rule.again_within_s)
        return None if kind is None else FeedbackEvent(
            id=f"{kind.value}:{digest([before.asked.event, turn.asked.event])}",
            source=turn.source,
            ts=turn.asked.ts,
            about=About.EVENT,
            target=before.asked.event,
            said=Feedback(name=kind.value),
        )  # fmt: skip

    def _store_all(self, heard: Sequence[FeedbackEvent]) -> None:
        if not heard:
            return
        now = self._clock.now()
        by_source: dict[str, list[FeedbackEvent]] = {}
        for each in heard:
            by_source.setdefault(each.source, []).append(each)

        def work(connection: Connection) -> None:
            for source, events in by_source.items():
                feedback.put(connection, source, events, now)

        self._store.write(work)
