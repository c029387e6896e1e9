"""A storm of rollback alerts: one cause is one step back, whatever tells of it and how often."""

import json
from collections.abc import Sequence

import pytest

from daemon.latch import Latch
from daemon.log import get
from daemon.metrics.registry import Metrics
from daemon.store import rollouts
from daemon.web.alerts import Alerts
from policies.records import Scope, Split
from policies.rollout import Assignment
from tests.daemon.stages.rollout.world import A, B, C, World
from tests.daemon.stages.seeding import add_candidate, add_label, add_trace

FIRST, LATER = "2026-11-21T08:00:00Z", "2026-11-21T09:00:00Z"


class Daemon:
    """What a daemon has of the halt path, on a world's store. Another one: the same after a restart."""

    def __init__(self, world: World) -> None:
        metrics = Metrics()
        latch, rollout = Latch(world.store, world.clock, metrics), world.rollout()
        self.alerts = Alerts(
            latch=latch,
            rollback=lambda reason, epoch: rollout.step_back(epoch=epoch, actor="alert", reason=reason),
            metrics=metrics,
            clock=world.clock,
            log=get("web"),
        )

    def send(self, judges: Sequence[int], starts_at: str = FIRST) -> dict[str, int]:
        breaches = [
            {
                "status": "firing",
                "labels": {
                    "alertname": "RlaifdJudgeAlignmentBreach",
                    "halts": "rollback",
                    "judge": f"{judge}",
                },
                "startsAt": starts_at,
            }
            for judge in judges
        ]
        return self.alerts.receive(json.dumps({"alerts": breaches}).encode()).counts


def quarantined(world: World) -> list[str]:
    return sorted(world.store.read(rollouts.quarantined))


def more_labels(world: World, name: str) -> None:
    trace = add_trace(world.store, name, Split.AUDIT)
    one, other = (add_candidate(world.store, trace, "words", sample=sample) for sample in (0, 1))
    add_label(world.store, trace, one, other, "a")


@pytest.mark.parametrize("judges", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("together", [5, 2, 1], ids=["one payload", "two each", "one each"])
@pytest.mark.parametrize("restarts", ["between rounds", "between payloads"])
def test_one_to_five_judges_are_one_step(small: World, judges: int, together: int, restarts: str) -> None:
    """Repeated, and told anew after a restart, which gives every alert another start."""
    small.promoted(A, B, C)
    payloads = [range(first, min(first + together, judges)) for first in range(0, judges, together)]
    daemon = Daemon(small)
    for starts_at in (FIRST, FIRST, LATER):
        for payload in payloads:
            daemon.send(payload, starts_at)
            daemon = daemon if restarts == "between rounds" else Daemon(small)
        daemon = Daemon(small)
    assert small.rollout().in_force() == Assignment(B, 4)
    assert quarantined(small) == [C]
    assert small.memory.served().adapter == B


def test_after_a_resume_nothing_moves_without_a_newer_label(world: World) -> None:
    """Neither the judges that were told of, nor one that is told of late; one label more is news."""
    world.promoted(A, B, C)
    Daemon(world).send([0, 1])
    world.latch.resume(Scope.PROMOTION, actor="ann", reason="one reviewer was wrong")
    assert Daemon(world).send([0, 1], LATER) == {"repeated": 2}
    assert world.latch.active() == ()
    assert Daemon(world).send([2], LATER) == {"halted": 1}
    assert world.rollout().in_force().stable == B
    world.latch.resume(Scope.PROMOTION, actor="ann", reason="the same")
    more_labels(world, "one")
    assert Daemon(world).send([0, 1, 2], LATER) == {"halted": 2, "repeated": 1}
    assert world.rollout().in_force().stable == A
    assert quarantined(world) == [B, C]


def test_a_rollback_by_hand_is_the_step(small: World) -> None:
    """A person was faster than the alert."""
    rollout = small.promoted(A, B)
    rollout.rollback(actor="ann", reason="customers complain")
    Daemon(small).send([0])
    assert small.rollout().in_force().stable == A


@pytest.mark.parametrize("jump_s", [-3600.0, 3600.0])
def test_a_clock_that_jumps_loses_no_rollback(small: World, jump_s: float) -> None:
    """The first attempt fails, the clock jumps, the alert comes again; then the step is made, once."""
    small.promoted(A, B)
    small.clock.advance(jump_s)
    broken = Daemon(small)
    broken.alerts._rollback = _away
    assert broken.send([0]) == {"unavailable": 1}
    small.clock.advance(-2 * jump_s)
    for _ in range(3):
        Daemon(small).send([0])
    assert small.rollout().in_force() == Assignment(A, 3)


def _away(reason: str, epoch: int) -> None:
    raise OSError(f"the store is away: {reason} at {epoch}")
