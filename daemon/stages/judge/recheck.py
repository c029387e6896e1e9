"""Rechecking: a judge of a new version is asked again about the pairs that people labelled.

A new model, prompt or rubric is a new judge, and its alignment starts from nothing. The labels are there
already: what it says of those pairs shows at once whether people agree with it.
"""

from collections.abc import Mapping

from sqlalchemy import Connection

from daemon.clock import Clock
from daemon.log import get
from daemon.store.judgements import Wanted, request
from daemon.store.labels import LabelledPair, labelled_pairs, unjudged_answers, unjudged_pairs
from daemon.store.store import Store
from policies.records import Role

log = get("recheck")


class Recheck:
    """Puts labelled pairs into the queue of each judge that has no verdict of its present version on them.

    `versions` are the configured judges. `most` is how many labelled pairs, newest first, are looked at.
    `step()` answers how many judgements it asked for; asking twice adds nothing.
    """

    def __init__(self, *, store: Store, clock: Clock, versions: Mapping[Role, str], most: int) -> None:
        self._store = store
        self._clock = clock
        self._versions = versions
        self._most = most

    def step(self) -> int:
        wanted = self._store.read(self._look)
        if not wanted:
            return 0
        count = self._store.write(lambda connection: request(connection, wanted, self._clock.now()))
        if count:
            log.info("labelled_pairs_rechecked", judgements=count)
        return count

    def _look(self, connection: Connection) -> list[Wanted]:
        pairs = labelled_pairs(connection, limit=self._most)
        return [
            wanted
            for role, version in self._versions.items()
            for wanted in _wanted(connection, role, version, pairs)
        ]


def _wanted(connection: Connection, role: Role, version: str, pairs: list[LabelledPair]) -> list[Wanted]:
    """The small judge is asked for scores, the others for comparisons, as they are about unlabelled ones."""
    if role is Role.SMALL:
        return [
            Wanted(role, "score", "audit", pair.trace_id, one, probability=pair.probability, version=version)
            for one, pair in unjudged_answers(connection, role, version, pairs)
        ]
    return [
        Wanted(
            role,
            "pair",
            "audit",
            pair.trace_id,
            pair.low,
            pair.high,
            probability=pair.probability,
            version=version,
        )
        for pair in unjudged_pairs(connection, role, version, pairs)
    ]
