"""Rechecking: a judge of a new version is asked again about the pairs that people labelled.

A new model, prompt or rubric is a new judge, and its alignment starts from nothing. The labels are there
already: what it says of those pairs shows at once whether people agree with it. What waits for a judge of
another name, which is configured no more, goes to the one that has its role.
"""

from collections.abc import Sequence

from sqlalchemy import Connection

from daemon.clock import Clock
from daemon.log import get
from daemon.store import successors
from daemon.store.judgements import Wanted, request
from daemon.store.labels import LabelledPair, labelled_pairs, unjudged_answers, unjudged_pairs
from daemon.store.store import Store
from policies.judging.judges import NamedJudge
from policies.records import Role
from policies.states import Purpose

log = get("recheck")


class Recheck:
    """Puts labelled pairs into the queue of each judge that has no verdict of its present version on them.

    `judges` are the configured ones. `most` is how many labelled pairs, newest first, are looked at.
    `step()` answers how many judgements it asked for or passed on; asking twice adds nothing.
    """

    def __init__(self, *, store: Store, clock: Clock, judges: Sequence[NamedJudge], most: int) -> None:
        self._store = store
        self._clock = clock
        self._judges = judges
        self._most = most

    def step(self) -> int:
        return self._inherit() + self._recheck()

    def _inherit(self) -> int:
        """Passes on what waits for judges that are configured no more."""
        if not self._store.read(lambda connection: successors.left_behind(connection, self._judges)):
            return 0
        count, now = 0, self._clock.now()
        while some := self._store.write(lambda c: successors.inherit(c, self._judges, now=now)):
            count += some
        if count:
            log.info("judgements_inherited", judgements=count)
        return count

    def _recheck(self) -> int:
        wanted = self._store.read(self._look)
        if not wanted:
            return 0
        count = self._store.write(lambda connection: request(connection, wanted, self._clock.now()))
        if count:
            log.info("labelled_pairs_rechecked", judgements=count)
        return count

    def _look(self, connection: Connection) -> list[Wanted]:
        pairs = labelled_pairs(connection, limit=self._most)
        return [wanted for judge in self._judges for wanted in _wanted(connection, judge, pairs)]


def _wanted(connection: Connection, judge: NamedJudge, pairs: list[LabelledPair]) -> list[Wanted]:
    """A small judge is asked for scores, the others for comparisons, as they are about unlabelled ones."""
    if judge.role is Role.SMALL:
        return [
            Wanted(
                judge, "score", Purpose.AUDIT, pair.trace_id, one, probability=pair.probability, again=True
            )
            for one, pair in unjudged_answers(connection, judge, pairs)
        ]
    return [
        Wanted(
            judge,
            "pair",
            Purpose.AUDIT,
            pair.trace_id,
            pair.low,
            pair.high,
            probability=pair.probability,
            again=True,
        )
        for pair in unjudged_pairs(connection, judge, pairs)
    ]
