"""What the store says of the agent's version to a gate attempt."""

from typing import cast

from sqlalchemy import Connection, Table, exists, func, inspect, or_, select

from daemon.store import agentversions
from daemon.store.agentversions import of_version
from daemon.store.evaluations import held
from daemon.store.tables import AdapterRow, EvaluationRow, TraceRow
from policies.gate.decision import AgentEvidence, DecisionKind
from policies.records import Split

TRACE = cast(Table, inspect(TraceRow).local_table)
ADAPTER = cast(Table, inspect(AdapterRow).local_table)
EVALUATION = cast(Table, inspect(EvaluationRow).local_table)

UNREJECTED = (DecisionKind.HOLD.value, DecisionKind.PROMOTE.value)
AWAITED = "awaited_agent_version"
"""In the evidence of an attempt that was held before it sampled: the version that lacked prompts."""


def agent_of(connection: Connection, *, least: int, compared: str | None = None) -> AgentEvidence | None:
    """What the traffic and the gate's prompts say of the agent's version; None: none is known. `compared` is
    the version whose prompts an attempt answered.

    Prompts are counted up to `least`, and of others it is looked whether there is one, where they matter:
    that is soon known but for the time after a change, in which the gate waits anyway.
    """
    current = agentversions.current(connection)
    if current is None:
        return None
    usable = (TRACE.c.split == Split.GATE.value, TRACE.c.refused.is_(None))
    some = select(TRACE.c.cluster).where(*usable, of_version(current)).distinct().limit(least).subquery()
    prompts = int(connection.scalar(select(func.count()).select_from(some)) or 0)
    other = select(TRACE.c.id).where(*usable, ~of_version(current)).limit(1)
    others = prompts < least and connection.execute(other).first() is not None
    return AgentEvidence(current, compared, prompts, others=others)


def outlived(connection: Connection, *, stable: str | None, current: str, limit: int) -> str | None:
    """The adapter of the oldest of the newest attempts that was held or passed with another version of the
    agent, or awaited prompts of this one. None where it was compared with this version's prompts before: one
    attempt a version, whichever way the traffic goes.
    """
    for attempt in reversed(held(connection, stable=stable, limit=limit, decisions=UNREJECTED)):
        made = attempt.agent_version
        if made == current or (made is None and AWAITED not in attempt.evidence):
            continue
        tried = exists().where(EVALUATION.c.adapter == attempt.adapter, EVALUATION.c.agent_version == current)
        barred = exists().where(ADAPTER.c.name == attempt.adapter, ADAPTER.c.quarantined_at.is_not(None))
        if attempt.adapter != stable and not connection.scalar(select(or_(tried, barred))):
            return attempt.adapter
    return None
