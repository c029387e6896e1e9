"""`rlaifd run`: the parts as loops, with the listener, the schedule and the order of the end."""

from collections.abc import Mapping
from functools import partial

from connectors.errors import FatalError, TransientError
from daemon.checks import base_model
from daemon.errors import ConfigError
from daemon.health import Heartbeats, Readiness
from daemon.leader import NAME, TTL_S, Leader
from daemon.lease import Lease
from daemon.loops import AsyncLoop, Loop
from daemon.schedule import Facts, Schedule
from daemon.service import Closer, Service
from daemon.stages.ingest import Ingest
from daemon.stages.judge import JudgeStage
from daemon.store import preferences, runs
from daemon.store.store import ping
from daemon.web.alerts import Alerts
from daemon.web.app import Web
from daemon.web.door import Door
from daemon.web.listener import Listener
from daemon.wiring import Wiring
from policies.records import Role, Scope

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
    schedule = Schedule(
        interval_s=settings.training.interval_s,
        min_new=settings.training.min_new_preferences,
        facts=lambda: _facts(parts, leader),
        train=lambda: parts.trainer.train_each(parts.curate.freeze().id, actor="schedule"),
        clock=parts.clock,
        metrics=parts.metrics,
        log=parts.logger("schedule"),
    )
    return Service(
        loops=loops,
        state_dir=settings.state_dir,
        heartbeats=heartbeats,
        metrics=parts.metrics,
        clock=parts.clock,
        log=parts.logger("service"),
        listener=_listener(parts, heartbeats),
        schedule=schedule,
        prepare=lambda: _prepare(parts, leader),
        stop_training=lambda: _stop_children(parts),
        closers=closers,
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
    parts.watch.step()
    leader.step()
    if parts.settings.rollout.lead and not leader.leads:
        parts.rollout.require_files()


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
    bound_s = parts.settings.stages.claim_s + parts.settings.stages.poll_s
    for role in (role for role in Role if role in parts.roles):
        judging = partial(_judge, parts.judge_stage, role)
        loops.append(AsyncLoop(f"judge:{role}", judging, poll_s, bound_s=bound_s))
        closers.append((f"judge:{role}", parts.judges[role].close))
    closers.append(("leader", leader.release))
    return loops, closers


def _reconcile(parts: Wiring, leader: Leader) -> int:
    """One look at the rollout. What it found is told there; there is never more to do at once."""
    parts.rollout.reconcile(leads=leader.leads)
    return 0


async def _judge(stage: JudgeStage, role: Role) -> int:
    """One step of a judge. A judge that refuses us stops judging, not the daemon: a key that was rotated must
    not keep records from being stored. The loop shows as failing and tries again.
    """
    try:
        return await stage.step(role)
    except FatalError as error:
        raise TransientError(str(error)) from error


def _listener(parts: Wiring, heartbeats: Heartbeats) -> Listener:
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
        status=parts.status,
        alerts=alerts,
        door=Door(token=lambda: parts.alert_token, names=(web.host, *web.names)),
        metrics=parts.metrics,
        heartbeats=heartbeats,
        readiness=Readiness(heartbeats, store=lambda: ping(parts.store)),
        clock=parts.clock,
        log=log,
    )
    return Listener(site.app, host=web.host, port=web.port, log=log)


def _facts(parts: Wiring, leader: Leader) -> Facts:
    learned = parts.store.read(runs.last_learned)
    return Facts(
        last_start=parts.store.read(runs.last_start),
        new_preferences=parts.store.read(lambda c: preferences.since(c, learned)),
        halted=any(halt.scope == Scope.TRAINING for halt in parts.latch.active()),
        running=parts.store.read(runs.running),
        leads=leader.leads,
        released=parts.trainer.released(),
    )


def _stop_children(parts: Wiring) -> None:
    parts.policy_work.stop()
    parts.trainer.stop()
