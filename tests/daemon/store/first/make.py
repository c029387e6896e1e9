"""Makes `store.json.gz`: a store of the first version, by the first version's own code.

    git worktree add DIRECTORY 736a047 && cd DIRECTORY
    PYTHONPATH=. python PATH/TO/make.py OUT

It has what the first version's judge stage, gate and reviewers leave, with what that version's own queries
say of it. It is run in that commit and nowhere else.
"""

# mypy: ignore-errors
# The modules that it imports are those of that commit.
import gzip
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from sqlalchemy import MetaData, select

from connectors.errors import PoisonError
from connectors.memory import MemoryJudge
from daemon.clock import FakeClock
from daemon.latch import Latch
from daemon.metrics.registry import Metrics
from daemon.store import alignment, evaluations
from daemon.store.schema import upgrade
from daemon.store.store import Store
from policies.records import Role, Scope
from tests.daemon.stages import seeding
from tests.daemon.stages.gate.world import World, seeded
from tests.daemon.stages.judge.court import PRICED, Court, answering, config, raising

LIMITS = {"limit": 0.8, "min_labels": 4, "window": 200, "min_gap": 1.0}
PAIRS = 6


def courts(store: Store, clock: FakeClock) -> dict[Role, Court]:
    """A real judge stage for each role."""
    return {
        role: Court(store, clock, role=role, config=config(model=f"{role.value}-model", price=PRICED))
        for role in Role
    }


def judged(store: Store, clock: FakeClock) -> dict[Role, str]:
    """Scores, comparisons and an abstention; returns the judges' versions."""
    found = courts(store, clock)
    small, large, gate = found.values()
    small.want_scores("a word", "some more words here", "x")
    small.drain()
    refusing = Court(
        store, clock, role=Role.SMALL, config=small.config, judge=MemoryJudge(raising(PoisonError("no")))
    )
    refusing.want_scores("refused")
    refusing.drain()
    for number in range(PAIRS):
        a, b = large.want_pair(f"a good long answer {number}", f"bad {number}")
        trace = next(row.trace_id for row in seeding.rows(store, seeding.CandidateRow) if row.id == a)
        from daemon.store import judgements
        from daemon.store.judgements import Wanted

        wanted = [Wanted(Role.GATE, "pair", "audit", trace, a, b)]
        wanted += [Wanted(Role.SMALL, "score", "audit", trace, each) for each in (a, b)]
        store.write(lambda c, wanted=wanted: judgements.request(c, wanted, clock.now()))
        clock.advance(1)
        for reviewer, choice in (("ann", "a"), ("bob", "a" if number else "b")):
            seeding.add_label(store, trace, a, b, choice, reviewer=reviewer, at=clock.now())
    large.judge = MemoryJudge(answering(verdict=lambda case: "A"))  # the first shown: a flip
    large.step()
    for court in (small, gate):
        court.drain()
    return {role: court.stage()._versions[role] for role, court in found.items()}


def gated(store: Store, clock: FakeClock) -> None:
    """An adapter that the gate let through, and one on which it waits for comparisons."""
    world = World(store, clock)
    seeded(store)
    seeding.add_adapter(store, "test-aaa")
    world.run()
    seeding.add_adapter(store, "test-bbb", created_at=1.0)
    world.stage().advance()
    world.stage().advance()


def halted(store: Store, clock: FakeClock) -> None:
    """The small judge's alignment halted training once, and was resumed."""
    latch = Latch(store, clock, Metrics())
    latch.halt(
        Scope.TRAINING, reason="drill", source="guard", actor="watch", fingerprint="guard:alignment-small"
    )
    clock.advance(1)
    latch.resume(Scope.TRAINING, actor="ann", reason="looked at it")


def says(store: Store, versions: dict[Role, str]) -> dict:
    """What the first version's queries say."""
    measured = {}
    for role, version in [*versions.items(), *((role, "v1") for role in Role)]:
        found = store.read(lambda c, r=role, v=version: alignment.measure(c, r, v, **LIMITS))
        flips = store.read(lambda c, r=role, v=version: alignment.flip_ratio(c, r, v, window=200))
        spread = store.read(lambda c, r=role, v=version: alignment.spread(c, r, v, window=200))
        measured[f"{role.value} {version}"] = {
            "alignment": json.loads(json.dumps(asdict(found))),
            "standing": found.standing.value,
            "flips": flips,
            "spread": asdict(spread),
        }
    attempts = store.read(lambda c: evaluations.recent(c, limit=10))
    return {"judges": measured, "attempts": [json.loads(json.dumps(asdict(each))) for each in attempts]}


def main(out: Path) -> None:
    with tempfile.TemporaryDirectory() as directory:
        store, clock = Store(f"sqlite:///{directory}/rlaifd.db"), FakeClock(1_700_000_000.0)
        upgrade(store)
        versions = judged(store, clock)
        gated(store, clock)
        courts(store, clock)[Role.SMALL].want_scores("still open", "also open")
        halted(store, clock)
        told = says(store, versions)
        metadata = MetaData()
        store.read(metadata.reflect)
        rows = {
            table.name: [
                dict(row) for row in store.read(lambda c, t=table: c.execute(select(t)).mappings().all())
            ]
            for table in metadata.sorted_tables
            if table.name != "alembic_version"
        }
        store.close()
    text = json.dumps({"rows": rows, "says": told, "limits": LIMITS}, sort_keys=True)
    out.write_bytes(gzip.compress(text.encode(), mtime=0))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
