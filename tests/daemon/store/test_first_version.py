"""A store of the first version is brought along: verdicts, labels, alignment and decisions read as before."""

import gzip
import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, MetaData, func, select

from daemon.store import alignment, claims, evaluations, judgements, tally
from daemon.store.judgements import Wanted
from daemon.store.schema import MIGRATIONS, upgrade, verify
from daemon.store.store import Store
from daemon.store.tables import JudgementRow, LabelRow, VerdictRow
from policies.judging.judges import NamedJudge
from policies.records import Role
from tests.daemon.stages.seeding import rows

FIXTURE = Path(__file__).parent / "first" / "store.json.gz"
REVISION = "0002"
"""The schema of commit 736a047."""
ADDED: dict[str, set[str]] = {"judgement": {"judge"}}
"""Columns of the judging tables that came later."""


@pytest.fixture(scope="module")
def first() -> dict[str, Any]:
    """What the first version stored, and what it said of it (see `first/make.py`)."""
    found: dict[str, Any] = json.loads(gzip.decompress(FIXTURE.read_bytes()))
    return found


@pytest.fixture
def upgraded(empty: Store, first: dict[str, Any]) -> Store:
    """The first version's store, upgraded."""
    empty.write(lambda c: _fill(c, first["rows"]))
    assert upgrade(empty)[0] == REVISION
    verify(empty)
    return empty


def _fill(connection: Connection, stored: dict[str, list[dict[str, Any]]]) -> None:
    """The tables of the first version with its rows."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, REVISION)
    metadata = MetaData()
    metadata.reflect(connection)
    for table in metadata.sorted_tables:
        if stored.get(table.name):
            connection.execute(table.insert(), stored[table.name])
    if connection.dialect.name == "postgresql":
        for table in metadata.sorted_tables:
            if "id" in table.c and table.c.id.type.python_type is int:
                last = select(func.coalesce(func.max(table.c.id), 1)).scalar_subquery()
                sequence = func.pg_get_serial_sequence(table.name, "id")
                connection.execute(select(func.setval(sequence, last)))


@pytest.mark.parametrize("table", [VerdictRow, LabelRow, JudgementRow])
def test_every_row_is_what_it_was(upgraded: Store, first: dict[str, Any], table: type[Any]) -> None:
    """And each judgement is for the judge that has the name of its role."""
    name = str(table.__tablename__)
    then = first["rows"][name]
    now = [dict(row._mapping) for row in rows(upgraded, table)]
    assert len(now) == len(then) > 0
    for before, after in zip(then, now, strict=True):
        assert {key: after[key] for key in before} == before
        assert after.keys() - before.keys() == ADDED.get(name, set())
        assert after.get("judge", before.get("judge")) == before.get("role", after.get("judge"))


def test_alignment_flips_and_spread_are_what_they_were(upgraded: Store, first: dict[str, Any]) -> None:
    """Of every version of every judge, to the last digit."""
    told = first["says"]["judges"]
    assert len(told) == 6
    for key, before in told.items():
        role, version = key.split()
        judge = NamedJudge(role, Role(role), version)
        found = upgraded.read(lambda c, j=judge: alignment.measure(c, j, **first["limits"]))  # type: ignore[misc]
        now = json.loads(json.dumps(asdict(found)))
        assert {name: now[name] for name in before["alignment"]} == before["alignment"]
        assert found.standing.value == before["standing"]
        flips = upgraded.read(lambda c, j=judge: alignment.flip_ratio(c, j, window=200))  # type: ignore[misc]
        spread = upgraded.read(lambda c, j=judge: alignment.spread(c, j, window=200))  # type: ignore[misc]
        assert (flips, asdict(spread)) == (before["flips"], before["spread"])
    assert any(each["alignment"]["labels"] >= 4 for each in told.values())
    assert any(each["flips"] for each in told.values())


def test_what_the_gate_decided_is_what_it_was(upgraded: Store, first: dict[str, Any]) -> None:
    """With its evidence and reasons; an attempt that waits goes on waiting for the same comparisons."""
    found = upgraded.read(lambda c: evaluations.recent(c, limit=10))
    now = [json.loads(json.dumps(asdict(each))) for each in found]
    assert {each.pop("agent_version") for each in now} == {None}, "nothing says for which version it was"
    assert now == first["says"]["attempts"]
    assert Counter(each.decision for each in found) == {"promote": 1, None: 1}
    waiting = next(each.id for each in found if each.state == "judging")
    assert upgraded.read(lambda c: judgements.open_count(c, evaluation_id=waiting)) > 0


def test_a_halt_that_was_resumed_stays_so(upgraded: Store) -> None:
    """The guard of the judge that has its role's name goes on counting from there."""
    resumed = upgraded.read(lambda c: alignment.resumed_at(c, "guard:alignment-small"))
    assert resumed is not None


def test_what_was_open_is_claimed_by_name_and_not_asked_for_again(upgraded: Store) -> None:
    """The natural keys are the same, and the counts are those of the rows."""
    then = rows(upgraded, JudgementRow)
    open_small = [row for row in then if row.state == "open" and row.role == "small"]
    assert open_small
    again = [
        Wanted(
            _named(row),
            row.kind,
            row.purpose,
            row.trace_id,
            row.candidate_id,
            row.other_id,
            row.evaluation_id,
        )
        for row in then
        if not row.key.startswith("test:")
    ]
    assert again
    assert upgraded.write(lambda c: judgements.request(c, again, 5.0)) == 0
    taken = upgraded.write(
        lambda c: claims.claim(c, judge="small", owner="o", now=2e9, expires_at=3e9, limit=100)
    )
    assert {each.id for each in taken} == {row.id for row in open_small}
    assert upgraded.write(lambda c: claims.finish(c, taken[0], state="failed", now=2e9))
    counts = upgraded.read(tally.read)
    assert counts.judgements["small"] == Counter(
        row.state for row in rows(upgraded, JudgementRow) if row.role == "small"
    )
    assert sum(given.verdicts for given in counts.given().values()) == len(rows(upgraded, VerdictRow))


def _named(row: Any) -> NamedJudge:
    return NamedJudge(row.role, Role(row.role), "")
