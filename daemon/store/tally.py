"""How much there is, read from rows that every commit keeps: the same few, however many there are to count.

The triggers of migrations 0009 and 0016 keep them, so that a count is of the same snapshot as everything
else a transaction reads, and so that no writer can forget them.
"""

from dataclasses import dataclass, field
from typing import cast

from sqlalchemy import Connection, Table, func, inspect, select

from daemon.store.tables import TallyRow

TALLY = cast(Table, inspect(TallyRow).local_table)
_C = TALLY.c


@dataclass(frozen=True, slots=True)
class VerdictCount:
    """A judge's verdicts. `first_at`: when the first was given, in seconds since the epoch."""

    verdicts: int = 0
    abstentions: int = 0
    rewarded: int = 0
    reward_sum: float = 0.0
    first_at: float | None = None

    def __add__(self, other: "VerdictCount") -> "VerdictCount":
        times = [at for at in (self.first_at, other.first_at) if at is not None]
        return VerdictCount(
            self.verdicts + other.verdicts,
            self.abstentions + other.abstentions,
            self.rewarded + other.rewarded,
            self.reward_sum + other.reward_sum,
            min(times, default=None),
        )

    @property
    def mean_reward(self) -> float | None:
        """None where no verdict has a reward."""
        return self.reward_sum / self.rewarded if self.rewarded else None


@dataclass(frozen=True, slots=True)
class Tally:
    """Rows by table; judgements by judge and state; verdicts by judge and version."""

    rows: dict[str, int] = field(default_factory=dict)
    judgements: dict[str, dict[str, int]] = field(default_factory=dict)
    verdicts: dict[tuple[str, str], VerdictCount] = field(default_factory=dict)

    def of(self, table: str) -> int:
        """The table's rows."""
        return self.rows.get(table, 0)

    def open(self) -> dict[str, int]:
        """Open judgements by judge; a judge without one is left out."""
        counts = {judge: states.get("open", 0) for judge, states in self.judgements.items()}
        return {judge: count for judge, count in counts.items() if count}

    def given(self) -> dict[str, VerdictCount]:
        """Verdicts by judge, of all versions."""
        found: dict[str, VerdictCount] = {}
        for (judge, _), given in self.verdicts.items():
            found[judge] = found.get(judge, VerdictCount()) + given
        return found


def read(connection: Connection) -> Tally:
    """All of it, as of the caller's transaction."""
    sums = (func.sum(_C[name]).label(name) for name in ("total", "abstained", "rewarded", "reward_sum"))
    key = (_C.subject, _C.judge, _C.state)
    query = select(*key, *sums, func.min(_C.first_at).label("first_at")).group_by(*key).order_by(*key)
    found = Tally()
    for row in connection.execute(query):
        total = int(row.total)
        if total:
            found.rows[row.subject] = found.rows.get(row.subject, 0) + total
        if total and row.subject == "judgement":
            found.judgements.setdefault(row.judge, {})[row.state] = total
        if total and row.subject == "verdict":
            counts = (total, int(row.abstained), int(row.rewarded), float(row.reward_sum))
            found.verdicts[row.judge, row.state] = VerdictCount(*counts, first_at=row.first_at)
    return found
