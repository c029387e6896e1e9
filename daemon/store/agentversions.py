"""Versions of the agent: what is known of each source's, and which are in the traffic.

A batch reads its source's newest versions and writes back those that it changed. Of two writers at once each
may widen a template; the wider one stays, and what it lacks is learnt from the next trace that shows it.
"""

from collections.abc import Sequence
from typing import Any, cast

from sqlalchemy import ColumnElement, Connection, Table, func, inspect, or_, select, true, update

from daemon.store.inserts import insert_new
from daemon.store.tables import AgentSourceRow, AgentVersionRow, PositionRow, TraceRow
from policies.agentversion import MOST, RECENT, Rule, Share, Telling, Version
from policies.templates import Template

VERSION = cast(Table, inspect(AgentVersionRow).local_table)
SOURCE = cast(Table, inspect(AgentSourceRow).local_table)
POSITION = cast(Table, inspect(PositionRow).local_table)
TRACE = cast(Table, inspect(TraceRow).local_table)

KNOWN = 2 * MOST
"""Versions of a source that a trace is compared with, the newest."""


def telling(connection: Connection, source: str, rule: Rule) -> Telling:
    """What tells the versions of the source's next traces."""
    fallen = connection.scalar(select(SOURCE.c.fallen_until).where(SOURCE.c.source == source))
    return Telling(
        rule, _known(connection, source), number=_number(connection, source), fallen_until=fallen or 0
    )


def keep(connection: Connection, source: str, told: Telling, *, now: float) -> None:
    """Stores what the traces changed of the versions, and whether tools alone tell them from here on."""
    for _, version in sorted(told.changed.items()):  # in one order for all writers
        _keep(connection, source, version, now)
    if told.fell:
        row = {"source": source, "fallen_until": told.fallen_until, "fallen_at": now}
        if not insert_new(connection, SOURCE, [row]):
            connection.execute(update(SOURCE).where(SOURCE.c.source == source).values(row))


def _keep(connection: Connection, source: str, version: Version, now: float) -> None:
    template = None if version.template is None else list(version.template)
    values: dict[str, Any] = {"traces": version.traces, "last": version.last, "last_at": now}
    row = {
        "source": source,
        "name": version.name,
        "tools": version.tools,
        "template": template,
        "first_at": now,
    }
    if insert_new(connection, VERSION, [row | values]):
        return
    is_it = (VERSION.c.source == source, VERSION.c.name == version.name)
    there = connection.execute(select(VERSION).where(*is_it).with_for_update()).one()
    if _words(version.template) < _words(there.template):
        values["template"] = template
    values |= {"traces": max(version.traces, there.traces), "last": max(version.last, there.last)}
    connection.execute(update(VERSION).where(*is_it).values(values))


def _words(template: Sequence[str] | None) -> int:
    return sum(len(part) for part in template or ())


def _known(connection: Connection, source: str) -> list[Version]:
    query = select(VERSION).where(VERSION.c.source == source).order_by(VERSION.c.last.desc()).limit(KNOWN)
    return [
        Version(row.name, row.tools, _template(row.template), row.traces, row.last)
        for row in connection.execute(query)
    ]


def _template(stored: Sequence[str] | None) -> Template | None:
    return None if stored is None else tuple(stored)


def _number(connection: Connection, source: str) -> int:
    """How many traces the source has given."""
    query = select(func.sum(POSITION.c.stored + POSITION.c.revisions)).where(POSITION.c.source == source)
    return int(connection.scalar(query) or 0)


def shares(connection: Connection) -> list[Share]:
    """The versions of the newest `RECENT` traces, the one with the most first; of as many, the newest."""
    newest = select(TRACE.c.id, TRACE.c.agent_version).order_by(TRACE.c.id.desc()).limit(RECENT).subquery()
    query = select(
        newest.c.agent_version, func.count(), func.min(newest.c.id), func.max(newest.c.id)
    ).group_by(newest.c.agent_version)
    found = [Share(*row) for row in connection.execute(query)]
    return sorted(found, key=lambda each: (each.traces, each.last), reverse=True)


def current(connection: Connection) -> str | None:
    """The version with the most of the newest traces; None: none is known."""
    found = shares(connection)
    return found[0].version if found else None


def of_version(version: str | None) -> ColumnElement[bool]:
    """The condition that a trace is of the version (None: of any). One that is older than versions are told
    counts for every version, as it did before.
    """
    if version is None:
        return true()
    return or_(TRACE.c.agent_version.is_(None), TRACE.c.agent_version == version)


def untold(connection: Connection) -> dict[str, bool]:
    """Of each source that ever had too many versions, whether tools alone tell them now."""
    query = select(SOURCE.c.source, SOURCE.c.fallen_until).order_by(SOURCE.c.source)
    rows = connection.execute(query).all()
    return {row.source: _number(connection, row.source) < row.fallen_until for row in rows}
