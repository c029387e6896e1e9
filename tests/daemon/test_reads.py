"""What is looked at again and again costs the same however much is stored: rows read, at two sizes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text, update

from daemon.clock import FakeClock
from daemon.stages.train import feed
from daemon.stages.watch.watch import Watch
from daemon.store import agentversions, alignment, opinions, queues, readiness
from daemon.store.store import Store
from daemon.store.tables import JudgementRow, PreferenceRow, TraceRow
from daemon.wiring.parts import Wiring
from daemon.wiring.service import training_schedule
from policies.records import Role, Split
from tests.daemon.configuration import TEXT, settings
from tests.daemon.stages.seeding import (
    Within,
    add_labelled,
    add_traces,
    add_verdicts,
    at_once,
    put_many,
    table,
)
from tests.rowsread import MeasuredStore

SMALL, LARGE = 150, 1200
"""Events, each with a verdict, an open judgement and a preference."""
ROOM = 1.25
"""Times as much at the larger size: an index of so many more rows is deeper."""
BOUNDS = (
    (feed, "GLANCE", 40),
    (readiness, "COUNTED", 40),
    (readiness, "LOOKED_AT", 40),
    (readiness, "WINDOW", 40),
    (readiness, "AUDITED", 20),
    (readiness, "RULINGS", 20),
    (alignment, "READ_BACK", 2),
    (agentversions, "RECENT", 40),
    (opinions, "LOOKED_AT", 40),
    (queues, "LOOKED_AT", 20),
    (queues, "COUNTED", 40),
)
"""What a look stops at, so far down that the smaller size is beyond it."""
FEW = """\
training: {min_preferences: 8, min_new_preferences: 8}
policy:
  halts: {reward_window: 20}
  curation: {max_pairs: 20}
  gate: {min_prompts: 10, max_prompts: 20}
"""


@dataclass
class World:
    """A daemon's parts on a measured store."""

    parts: Wiring
    store: MeasuredStore

    def fill(self, name: str, events: int) -> None:
        """Events of every split that are sampled, judged and curated, and a queue for every judge."""
        at_once(self.store, lambda to: _fill(to, name, events))
        if not self.store.is_sqlite:
            with self.store.engine.connect() as connection:
                connection.execute(text("ANALYZE"))
                connection.commit()


def _fill(to: Within, name: str, events: int) -> None:
    stamps: dict[str, Any] = {"sampled_at": 2.0, "curated_at": 3.0}
    for split in (Split.TRAIN, Split.AUDIT, Split.GATE):
        names = [f"{name}-{split.value}-{number}" for number in range(events // 3)]
        ids = add_traces(to, names, split, **stamps)
        of = [{"trace_id": one, "candidate_id": one, "created_at": float(one)} for one in ids]
        add_verdicts(to, [{**each, "reward": None, "abstention": "refused"} for each in of])
        pair = {"kind": "pair", "purpose": "audit", "flipped": False}
        add_verdicts(to, [{**each, **pair, "role": "gate", "other_id": each["trace_id"]} for each in of])
        add_verdicts(to, [{**each, "reward": 5.0, "version": "older", "role": "large"} for each in of])
        put_many(to, JudgementRow, [_open(role.value, each) for role in Role for each in of])
        if split is Split.TRAIN:
            put_many(to, PreferenceRow, [_preference(one) for one in ids])


def _open(role: str, of: dict[str, Any]) -> dict[str, Any]:
    later = {"not_before": 1e12, "error": "credit is empty"} if of["trace_id"] % 2 else {"not_before": 0.0}
    fixed = {"kind": "score", "purpose": "traffic", "probability": 1.0, "state": "open", "attempts": 0}
    return {
        **of,
        **fixed,
        "judge": role,
        "role": role,
        "key": f"{role}:{of['trace_id']}",
        "error": "",
        "created_at": 1.0,
        **later,
    }


def _preference(trace_id: int) -> dict[str, Any]:
    pair = {"chosen_id": trace_id, "rejected_id": trace_id, "margin": 5.0, "difference": 1.0}
    whose = {"trace_id": trace_id, "cluster": "x", "contributor": f"subject:{trace_id}", "verdict_ids": []}
    return {**whose, **pair, "weight": 1.0, "soft": 0.9, "created_at": 1.0}


@pytest.fixture
def world(store: Store, tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for module, bound, value in BOUNDS:
        monkeypatch.setattr(module, bound, value)
    clock.advance(1_700_000_000.0)
    given = settings(tmp_path, TEXT.replace("policy:\n", FEW))
    parts = Wiring(given, clock)
    measured = MeasuredStore(store.url.render_as_string(hide_password=False))
    parts.store = measured
    at_once(measured, lambda to: add_labelled(to, {f"labelled{number}": True for number in range(5)}))
    measured.write(lambda c: c.execute(update(table(TraceRow)).values(sampled_at=2.0, curated_at=3.0)))
    yield World(parts, measured)
    parts.close()


def watch_anew(parts: Wiring) -> Watch:
    """A watch that measures, as one does whenever a verdict came."""
    vars(parts).pop("watch", None)
    return parts.watch


LOOKS: dict[str, Callable[[Wiring], object]] = {
    "status": lambda parts: parts.status(),
    "watch": lambda parts: watch_anew(parts).step(),
    "plan": lambda parts: parts.plan.step(),
    "recheck": lambda parts: parts.recheck.step(),
    "curate": lambda parts: parts.curate.step(),
    "evaluate": lambda parts: parts.evaluate.step(),
    "promote": lambda parts: parts.promote.step(),
    "rollout": lambda parts: parts.rollout.reconcile(),
    "schedule": lambda parts: training_schedule(parts).explain(),
}


def test_no_look_grows_with_what_is_stored(world: World) -> None:
    """The status, and every step that the daemon repeats, read as much of the eightfold store."""
    world.fill("small", SMALL)
    for look in LOOKS.values():  # what is done once is done
        look(world.parts)
    before = {name: world.store.measure(lambda look=look: look(world.parts)) for name, look in LOOKS.items()}  # type: ignore[misc]
    world.fill("large", LARGE - SMALL)
    for look in LOOKS.values():
        look(world.parts)
    after = {name: world.store.measure(lambda look=look: look(world.parts)) for name, look in LOOKS.items()}  # type: ignore[misc]
    grown = {name: (cost, after[name]) for name, cost in before.items() if after[name] > ROOM * cost + 20}
    assert not grown
    assert before["status"] > 50
