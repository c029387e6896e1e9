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
        asked = self._store.write(self._request)
        for role, count in asked.items():
            if count:
                log.info("labelled_pairs_rechecked", role=role.value, judgements=count)
        return sum(asked.values())

    def _request(self, connection: Connection) -> dict[Role, int]:
        pairs = labelled_pairs(connection, limit=self._most)
        now = self._clock.now()
        return {
            role: request(connection, _wanted(connection, role, version, pairs), now)
            for role, version in self._versions.items()
        }


def _wanted(connection: Connection, role: Role, version: str, pairs: list[LabelledPair]) -> list[Wanted]:
    """The small judge is asked for scores, the others for comparisons, as they are about unlabelled ones."""
    if role is Role.SMALL:
        return [
            Wanted(role, "score", "audit", trace_id, candidate_id, version=version)
            for trace_id, candidate_id in unjudged_answers(connection, role, version, pairs)
        ]
    return [
        Wanted(role, "pair", "audit", pair.trace_id, pair.low, pair.high, version=version)
        for pair in unjudged_pairs(connection, role, version, pairs)
    ]
