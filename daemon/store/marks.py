"""How much evidence there is, as a mark of each kind: another mark is other evidence.

Marks are compared and never ordered, so that a clock that jumps makes nothing older or newer than it is.
"""

from typing import cast

from sqlalchemy import Connection, Executable, Table, func, inspect, select

from daemon.store.tables import EvaluationRow, LabelRow, SpendRow, VerdictRow
from policies.halts import Evidence

LABEL = cast(Table, inspect(LabelRow).local_table)
VERDICT = cast(Table, inspect(VerdictRow).local_table)
EVALUATION = cast(Table, inspect(EvaluationRow).local_table)
SPEND = cast(Table, inspect(SpendRow).local_table)

_QUERIES: dict[Evidence, Executable] = {
    Evidence.LABELS: select(func.count(LABEL.c.id), func.max(LABEL.c.id), func.max(LABEL.c.created_at)),
    Evidence.VERDICTS: select(func.max(VERDICT.c.id)),
    Evidence.EVALUATIONS: select(func.max(EVALUATION.c.id), func.max(EVALUATION.c.decided_at)),
    Evidence.SPEND: select(SPEND.c.day, func.sum(SPEND.c.calls))
    .group_by(SPEND.c.day)
    .order_by(SPEND.c.day.desc())
    .limit(1),
}


def of(connection: Connection, evidence: Evidence) -> str:
    """The mark of one kind; equal as long as nothing of it was added or, of labels, changed."""
    found = connection.execute(_QUERIES[evidence]).one_or_none()
    return "" if found is None else " ".join(str(value) for value in found)


def of_all(connection: Connection) -> dict[str, str]:
    """The mark of every kind."""
    return {evidence.value: of(connection, evidence) for evidence in Evidence}
