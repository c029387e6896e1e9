"""What the store says of the agent's version to a gate attempt."""

from typing import cast

from sqlalchemy import Connection, Table, exists, func, inspect, or_, select

from daemon.store import agentversions
from daemon.store.agentversions import of_version
from daemon.store.evaluations import Evaluation, held
from daemon.store.tables import AdapterRow, EvaluationRow, TraceRow
from policies.gate.decision import Agent
from policies.records import Split

TRACE = cast(Table, inspect(TraceRow).local_table)
ADAPTER = cast(Table, inspect(AdapterRow).local_table)
EVALUATION = cast(Table, inspect(EvaluationRow).local_table)

AWAITED = "awaited_agent_version"
"""In the evidence of an attempt that was held before it sampled: the version that lacked prompts."""


def agent_of(connection: Connection, evaluation: Evaluation | None = None) -> Agent | None:
    """What the traffic and the gate's prompts say of the agent's version; None: none is known."""
    current = agentversions.current(connection)
    if current is None:
        return None
    usable = (TRACE.c.split == Split.GATE.value, TRACE.c.refused.is_(None))
    count = select(func.count(TRACE.c.cluster.distinct())).where(*usable)
    prompts = int(connection.scalar(count.where(of_version(current))) or 0)
    others = int(connection.scalar(count.where(~of_version(current))) or 0)
    return Agent(current, None if evaluation is None else evaluation.agent_version, prompts, others)


def outlived(connection: Connection, *, stable: str | None, current: str, limit: int) -> str | None:
    """The adapter of the oldest of the newest held attempts that was made with another version of the agent,
    or awaited prompts of this one. None where it was compared with this version's prompts before: one attempt
    a version, whichever way the traffic goes.
    """
    for attempt in reversed(held(connection, stable=stable, limit=limit)):
        made = attempt.agent_version
        if made == current or (made is None and AWAITED not in attempt.evidence):
            continue
        tried = exists().where(EVALUATION.c.adapter == attempt.adapter, EVALUATION.c.agent_version == current)
        barred = exists().where(ADAPTER.c.name == attempt.adapter, ADAPTER.c.quarantined_at.is_not(None))
        if attempt.adapter != stable and not connection.scalar(select(or_(tried, barred))):
            return attempt.adapter
    return None
