"""`rlaifd run`: the parts as loops, with the listener, the schedule and the order of the end."""

import os
from collections.abc import Mapping
from functools import partial
from typing import Any

from daemon.errors import ConfigError, RefusedError, RlaifdError, line_of
from daemon.service.health import Heartbeats, Readiness
from daemon.service.leadership import NAME, TTL_S, Leader
from daemon.service.lease import Lease
from daemon.service.loops import AsyncLoop, Loop
from daemon.service.service import Beside, Closer, Ends, Service
from daemon.stages.ingest.files import FILE
from daemon.stages.ingest.ingest import Ingest
from daemon.stages.train.schedule import Due, Schedule
from daemon.store.store import ping
from daemon.store.traces import sources
from daemon.web.access import Door
from daemon.web.alerts import Alerts
from daemon.web.app import Web
from daemon.web.listener import Listener
from daemon.wiring.check import base_model
from daemon.wiring.parts import Wiring

CHILD_BOUND_S = 6 * 3600.0
"""A step that waits for a child process may take long; the child's own stall limit ends it."""
RECEIVE_S = 0.5
RECHECK_S = 30.0


def service(parts: Wiring) -> Service:
    """The daemon, ready to run. Clears up after one that was killed, once the state directory is its own."""
    settings = parts.settings
    heartbeats = Heartbeats(parts.clock)
    stages = {f"ingest:{source.name}": parts.ingest(source) for source in settings.sources}
    lease = None if parts.store.is_sqlite else Lease(parts.store, parts.clock, NAME, parts.owner, TTL_S)
    leader = Leader(lease, parts.clock, may_lead=settings.rollout.lead)
    loops, closers = _loops(parts, stages, leader)
    schedule = training_schedule(parts, leader)
    return Service(
        loops=loops,
        state_dir=settings.state_dir,
        heartbeats=heartbeats,
        metrics=parts.metrics,
        clock=parts.clock,
        log=parts.logger("service"),
        beside=Beside(_listener(parts, heartbeats, schedule), schedule),
        ends=Ends(lambda: _prepare(parts, leader), lambda: _stop_children(parts), closers),
    )


def training_schedule(parts: Wiring, leader: Leader | None = None) -> Schedule:
    """When training starts. Without a leader it answers as the one that leads."""
    return Schedule(
        terms=parts.occasion.terms,
        facts=lambda: parts.occasion.facts(leads=leader is None or leader.leads),
        train=lambda: _train(parts),
        clock=parts.clock,
        metrics=parts.metrics,
        log=parts.logger("schedule"),
    )


def _prepare(parts: Wiring, leader: Leader) -> None:
    if parts.store.is_sqlite and not parts.settings.rollout.lead:
        raise ConfigError(
            "rollout.lead is false, and nobody else can lead on SQLite: name a PostgreSQL store.url"
        )
    try:
        base_model(parts.settings.policy)
    except ConfigError as error:  # a way back must start without it, and judging is paid for in vain
        parts.logger("service").warning("base_model_unusable", reason=str(error))
    parts.trainer.recover()
    parts.policy_work.sweep()
    _tell_new_sources(parts)
    _first_look(parts)
    leader.step()
    if parts.settings.rollout.lead and not leader.leads:
        parts.rollout.require_files()


def _first_look(parts: Wiring) -> None:
    """The gauges, before anybody can scrape them. Their loop tries again, and `/readyz` waits for it."""
    try:
        parts.watch.step()
    except RlaifdError:
        raise
    except Exception as error:  # noqa: BLE001 - one bad row must not keep `/alerts` from being served
        parts.logger("service").error("watch_failed", error=line_of(error), exc_info=error)


def _tell_new_sources(parts: Wiring) -> None:
    """A source that was given another name is read again from its start: its events are new events."""
    known = parts.store.read(sources)
    configured = {source.name for source in parts.settings.sources}
    left = sorted(known - configured - {FILE})
    for name in sorted(configured - known) if left else ():
        parts.logger("service").warning(
            "source_new",
            source=name,
            no_longer_read=left,
            reason="it is read from its start; if it is one of those under a new name, all of it comes again",
            fix="give it its old name to go on where that one was",
        )


def _loops(
    parts: Wiring, stages: Mapping[str, Ingest], leader: Leader
) -> tuple[list[Loop | AsyncLoop], list[Closer]]:
    poll_s = parts.settings.stages.poll_s
    loops: list[Loop | AsyncLoop] = []
    closers: list[Closer] = []
    for name, stage in stages.items():
        loops.append(Loop(name, partial(stage.step, RECEIVE_S), 0.0, awaited=True))
        closers.append((name, stage.close))
    loops += [
        Loop("plan", parts.plan.step, poll_s),
        Loop("recheck", leader.only(parts.recheck.step), RECHECK_S),
        Loop("leader", leader.step, TTL_S / 3),
        Loop("hear", leader.only(parts.hearing.step), poll_s),
        Loop("curate", leader.only(parts.curate.step), poll_s, bound_s=CHILD_BOUND_S),
        Loop("evaluate", leader.only(parts.evaluate.step), poll_s, bound_s=CHILD_BOUND_S),
        Loop("release", leader.only(parts.releases.step), poll_s, bound_s=CHILD_BOUND_S),
        Loop("watch", parts.watch.step, poll_s, awaited=True),
    ]
    if parts.settings.rollout.lead:
        step = partial(_reconcile, parts, leader)
        loops.append(Loop("rollout", step, parts.settings.rollout.poll_s, awaited=True))
    if parts.settings.rollout.auto_promote:
        loops.append(Loop("promote", leader.only(parts.promote.step), poll_s))
    # A turn that finishes nothing ends with the claims in hand, the last of which may be as old as the first.
    bound_s = 2 * parts.settings.stages.claim_s + parts.settings.stages.poll_s
    for assessor in parts.assessors:
        name = assessor.named.name
        judging = partial(parts.judge_stage.step, name)
        finish = partial(parts.judge_stage.finish, name)
        loops.append(AsyncLoop(f"judge:{name}", judging, poll_s, bound_s=bound_s, finish=finish))
        closers.append((f"judge:{name}", assessor.close))
    closers.append(("leader", leader.release))
    return loops, closers


def _reconcile(parts: Wiring, leader: Leader) -> int:
    """One look at the rollout. What it found is told there; there is never more to do at once."""
    parts.rollout.reconcile(leads=leader.leads)
    return 0


def _known(parts: Wiring, schedule: Schedule) -> dict[str, Any]:
    """What only this process can say in the status."""
    return {
        "runs": True,
        "pid": os.getpid(),
        "state_dir": str(parts.settings.state_dir.resolve()),
        "lag": parts.metrics.behind(),
        "training": schedule.explain(),
    }


def _listener(parts: Wiring, heartbeats: Heartbeats, schedule: Schedule) -> Listener:
    web = parts.settings.web
    log = parts.logger("web")
    alerts = Alerts(
        latch=parts.latch,
        rollback=lambda reason, epoch: parts.rollout.step_back(epoch=epoch, actor="alert", reason=reason),
        metrics=parts.metrics,
        clock=parts.clock,
        log=log,
    )
    site = Web(
        status=lambda: parts.status(_known(parts, schedule)),
        alerts=alerts,
        door=Door(token=lambda: parts.alert_token, names=(web.host, *web.names)),
        metrics=parts.metrics,
        heartbeats=heartbeats,
        readiness=Readiness(heartbeats, store=lambda: ping(parts.store)),
        clock=parts.clock,
        log=log,
    )
    return Listener(site.app, host=web.host, port=web.port, log=log)


def _train(parts: Wiring) -> None:
    """What the schedule found due: a run that was cut off, or each recipe on what there is by then."""
    cut_off = parts.trainer.cut_off()
    courses = parts.occasion.freeze_each() if cut_off is None else parts.occasion.going_on(cut_off)
    if isinstance(courses, Due):
        raise RefusedError(courses.reason)
    parts.trainer.train_each(courses, actor="schedule")


def _stop_children(parts: Wiring) -> None:
    parts.policy_work.stop()
    parts.trainer.stop()
