"""Daemons that are killed, ended and paused while their broker, their database and their judge come and go.

Records are written all the while, and a manifest says which. After each fault the next record must be stored;
in the end everything is there once, every judgement has ended, and what judges served is booked.
"""

import random
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Final

from sqlalchemy import Connection, func, select

from daemon.store import rollouts
from daemon.store.judgements import JUDGEMENT, TRACE
from daemon.store.spend import SPEND
from daemon.store.store import Store
from daemon.store.verdicts import VERDICT
from tests.daemon.configuration import TEXT
from tests.servers.judge import JudgeServer
from tests.soak import servers
from tests.soak.bounds import Figures, within
from tests.soak.manifest import Writer, accounts, totals, written
from tests.soak.scene import Fault, Plan, Scene
from tests.soak.servers import Servers
from tests.soak.victim import Victim
from tests.system.test_promotion import Site
from tests.system.test_several import site

PARTITIONS: Final = 4
CALL_USD: Final = 0.102
"""What the judge serves with a call, 1,020 tokens, at the configured price."""
CONCURRENCY: Final = 4
KILL_TO_RECORD_S: Final = 5.0
"""On a quiet machine."""
POLICY: Final = """\
  splits: {train: 0.01, calibrate: 0.01, audit: 0.01, gate: 0.97}
  judging: {samples: 1, audit_rate: 0.1}
"""
STAGES: Final = """\
stages: {claim_s: 10, sample_least: 512, sample_patience_s: 86400}
training: {interval_s: null}
"""
"""No policy answers here, and none is trained: the base model is a directory without a model."""


def shuffled(counts: Mapping[Fault, int]) -> tuple[Fault, ...]:
    """So many of each, mixed, always in the same order."""
    faults = [fault for fault, count in counts.items() for _ in range(count)]
    random.Random(7).shuffle(faults)
    return tuple(faults)


ONE: Final = Plan(
    shuffled(
        {
            Fault.KILL: 20,
            Fault.TERMINATE: 8,
            Fault.PAUSE: 5,
            Fault.BROKER: 3,
            Fault.DATABASE: 4,
            Fault.JUDGE: 3,
        }
    )
)
TWO: Final = Plan(
    shuffled(
        {
            Fault.KILL: 10,
            Fault.TERMINATE: 4,
            Fault.PAUSE: 3,
            Fault.BROKER: 2,
            Fault.DATABASE: 3,
            Fault.JUDGE: 2,
        }
    ),
    daemons=2,
    pause_s=20.0,  # longer than the lease and the session: the other one takes over meanwhile
    session_timeout_s=10.0,
)


def run() -> Figures:
    """Of one daemon and of two: what was lost, doubled, left open, not booked. Raises BoundsBrokenError."""
    figures: Figures = {}
    bounds = {"chaos_one_kill_to_record_s": (0.0, KILL_TO_RECORD_S)}
    for name, plan in (("one", ONE), ("two", TWO)):
        with servers.started() as own:
            found = wreck(own, plan)
        figures |= {f"chaos_{name}_{figure}": value for figure, value in found.items()}
        bounds |= {f"chaos_{name}_{figure}": bound for figure, bound in limits(plan).items()}
    return within(figures, bounds)


def limits(plan: Plan) -> dict[str, tuple[float, float]]:
    """What a plan's figures must be, the time from a kill to a record aside."""
    none = (0.0, 0.0)
    names = ("lost", "doubled", "miscounted", "unjudged", "judged_twice", "unended", "failed", "unbooked_usd")
    in_flight = float(2 * CONCURRENCY * len(plan.faults))
    return {
        **dict.fromkeys([*names, "stood_still", "fell", "ended_badly"], none),
        "records": (len(plan.faults), float("inf")),
        "paid_again": (0.0, in_flight),
        **({} if plan.daemons == 1 else {"epochs": (1.0, 1.0), "misserved": none}),
    }


def wreck(own: Servers, plan: Plan) -> Figures:
    """Plays the plan on servers of its own, and counts. What `limits` names is measured, and how long it took
    from a kill to the first new record where there is one daemon.
    """
    topic = own.broker.create_topic(partitions=PARTITIONS)
    with ExitStack() as stack:
        judge = stack.enter_context(JudgeServer(latency_s=0.02))
        store = Store(own.postgres.create())
        stack.callback(store.close)
        homes = [_home(own, store, topic, judge, plan, number) for number in range(plan.daemons)]
        for each in homes:
            stack.callback(each.parts.close)
        writer = stack.enter_context(Writer(own.broker, topic, plan.per_second).writing())
        victims = [stack.enter_context(Victim(each.config).running()) for each in homes]
        scene = Scene(own, plan, judge, store, victims)
        scene.moved(0.0)
        promoted = homes[0].publish(1, "promote", "good") if plan.daemons > 1 else None
        for fault in plan.faults:
            scene.strike(fault)
        manifest = writer.finish()
        records = written(own.broker, topic)
        scene.wait(lambda: store.read(totals).records >= records and store.read(_open) == 0)
        figures = scene.figures() | store.read(lambda c: accounts(c, manifest, records))
        figures |= store.read(lambda c: _judged(c, judge.answered))
        if promoted is not None:
            scene.wait(lambda: all(each.served == promoted for each in homes))
            figures["misserved"] = float(sum(each.served != promoted for each in homes))
            figures["epochs"] = float(len(store.read(rollouts.changes)))
        for victim in victims:
            victim.end()
        return figures | {"ended_badly": float(sum(victim.badly for victim in victims))}


def _home(own: Servers, store: Store, topic: str, judge: JudgeServer, plan: Plan, number: int) -> Site:
    """A daemon's home with an `init` file of its own; all but the first see the first one's adapters."""
    source = (
        f"{{type: kafka, name: agent, bootstrap_servers: '{own.broker.bootstrap}', topics: [{topic}], "
        f"group_id: {topic}, session_timeout_s: {plan.session_timeout_s:g}}}"
    )
    asked = f"concurrency: {CONCURRENCY}, deadline_s: 3, attempts: 2, daily_budget_usd: 100000, "
    price = "price: {input_per_million: 100, output_per_million: 100}"
    text = TEXT.replace("{type: jsonl, name: agent, path: logs}", source)
    text = text.replace("http://127.0.0.1:1/v1", judge.openai_url).replace(
        "api_key: k", f"api_key: k, {asked}{price}"
    )
    text = text.replace("  base_model: base\n", "  base_model: base\n" + POLICY).replace(
        "...\n", STAGES + "...\n"
    )
    shares = None if number == 0 else own.folder / "daemon-0" / "state" / "adapters"
    return site(store, own.folder / f"daemon-{number}", shares=shares, text=text)


def _open(connection: Connection) -> int:
    """Judgements under way, and traces for which none was planned yet."""
    unplanned = select(func.count()).select_from(TRACE).where(TRACE.c.planned_at.is_(None))
    waiting = select(func.count()).select_from(JUDGEMENT).where(JUDGEMENT.c.state == "open")
    return (connection.scalar(unplanned) or 0) + (connection.scalar(waiting) or 0)


def _judged(connection: Connection, answered: int) -> Figures:
    """What became of the judgements, and of the money for what the judge has answered."""
    small = JUDGEMENT.c.role == "small"
    counted = select(JUDGEMENT.c.state, func.count()).group_by(JUDGEMENT.c.state)
    states: dict[str, int] = {row[0]: row[1] for row in connection.execute(counted)}
    traces = connection.scalar(select(func.count()).select_from(TRACE)) or 0
    scored = connection.scalar(select(func.count()).select_from(JUDGEMENT).where(small)) or 0
    told = connection.scalar(select(func.count(func.distinct(JUDGEMENT.c.trace_id))).where(small)) or 0
    verdicts = connection.scalar(select(func.count()).select_from(VERDICT)) or 0
    booked = connection.scalar(select(func.sum(SPEND.c.reserved_usd + SPEND.c.settled_usd))) or 0.0
    return {
        "judgements": float(sum(states.values())),
        "unended": float(states.get("open", 0)),
        "failed": float(states.get("failed", 0)),
        "unjudged": float(traces - told),
        "judged_twice": float(scored - told),
        "paid_again": float(max(0, answered - verdicts)),
        "unbooked_usd": max(0.0, round(answered * CALL_USD - booked, 6)),
    }
