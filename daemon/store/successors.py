"""What waits for a judge that is configured no more goes to the one that has its role.

A judge that was given another name, or made way for another, would else leave prompts that are never looked
at and attempts at the gate that never end: nobody claims what is asked of it. What it said stays its own.
"""

from collections.abc import Sequence
from typing import cast

from sqlalchemy import Connection, Table, case, inspect, or_, select, update

from daemon.store import tally
from daemon.store.tables import JudgementRow
from policies.judging.judges import NamedJudge

JUDGEMENT = cast(Table, inspect(JudgementRow).local_table)
_C = JUDGEMENT.c
PAGE = 500
"""Judgements a call."""


def left_behind(connection: Connection, judges: Sequence[NamedJudge]) -> list[str]:
    """The names of judges that have open judgements and are none of these."""
    return sorted(tally.read(connection).open().keys() - {judge.name for judge in judges})


def inherit(connection: Connection, judges: Sequence[NamedJudge], *, now: float) -> int:
    """Passes a page of them on; returns how many. What the successor has been asked already is closed without
    a verdict. A claim that lasts is left alone, and so is a role that nobody has.
    """
    heirs = {judge.role.value: judge.name for judge in reversed(judges)}
    names = left_behind(connection, judges)
    if not names:
        return 0
    waiting = (
        select(_C.id, _C.key, _C.role)
        .where(_C.state == "open", _C.judge.in_(names), _C.role.in_(heirs))
        .where(or_(_C.token.is_(None), _C.expires_at <= now))
        .order_by(_C.id)
        .limit(PAGE)
        .with_for_update(skip_locked=True)
    )
    keys = {row.id: f"{heirs[row.role]}:{row.key.partition(':')[2]}" for row in connection.execute(waiting)}
    known = set(connection.scalars(select(_C.key).where(_C.key.in_(keys.values()))))
    asked = [each for each, key in keys.items() if key in known]
    _close(connection, asked, now)
    passed = [each for each in keys if each not in set(asked)]
    if passed:
        connection.execute(
            update(JUDGEMENT)
            .where(_C.id.in_(passed))
            .values(
                judge=case(heirs, value=_C.role),
                key=case({each: keys[each] for each in passed}, value=_C.id),
                owner=None,
                token=None,
                expires_at=None,
            )
        )
    return len(keys)


def _close(connection: Connection, ids: Sequence[int], now: float) -> None:
    if ids:
        closed = {"state": "failed", "done_at": now, "error": "its judge's successor was asked already"}
        connection.execute(update(JUDGEMENT).where(_C.id.in_(ids)).values(closed))
