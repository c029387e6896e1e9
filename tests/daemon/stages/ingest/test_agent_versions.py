"""Every stored trace has the version of the agent that answered it, over batches, daemons and kills."""

from typing import Any

import pytest
from sqlalchemy import select

from connectors.base import Partition
from daemon.store import agentversions
from daemon.store.store import Store
from daemon.store.tables import AgentVersionRow, TraceRow
from daemon.store.traces import Arrival, store_batch
from policies.agentversion import MOST, WINDOW
from policies.policy import Splits
from policies.records import Trace
from tests.daemon.stages.ingest.intake import T
from tests.daemon.stages.seeding import rows, table
from tests.policies.test_agentversion import prompt, trace


def stored(store: Store, systems: list[Trace], *, start: int = 0, partition: Partition = T) -> None:
    """Stores the traces as one batch, each a record from the offset on."""
    events = [
        each.model_copy(update={"id": f"{partition.partition}-{at}"})
        for at, each in enumerate(systems, start=start)
    ]
    arrivals = [Arrival(partition, at, at + 1, b"", (event,)) for at, event in enumerate(events, start=start)]
    store.write(lambda c: store_batch(c, source="s", arrivals=arrivals, splits=Splits(), now=1.0))


def versions(store: Store) -> list[str | None]:
    made = table(TraceRow)
    return list(store.read(lambda c: c.scalars(select(made.c.agent_version).order_by(made.c.id))))


def test_versions_are_told_over_batches(store: Store) -> None:
    """A learnt template is kept; a change of the prompt is a new version, with a row of its own."""
    prompts = [trace(prompt(number)) for number in range(WINDOW)]
    stored(store, prompts[:70])
    stored(store, prompts[70:], start=70)
    stored(store, [trace(prompt(number, "Never promise it.")) for number in range(5)], start=WINDOW)
    found = versions(store)
    assert [len(set(found[:WINDOW])), len(set(found[WINDOW:])), len(set(found))] == [1, 1, 2]
    known = rows(store, AgentVersionRow)
    assert [(row.traces, row.last) for row in known] == [(WINDOW, WINDOW), (5, WINDOW + 5)]
    shares = store.read(agentversions.shares)
    assert [(each.traces, each.first, each.last) for each in shares] == [
        (WINDOW, 1, WINDOW),
        (5, WINDOW + 1, WINDOW + 5),
    ]
    assert store.read(agentversions.current) == found[0]


def test_a_batch_that_is_stored_again_changes_nothing(store: Store) -> None:
    """As after a kill before the source was told."""
    prompts = [trace(prompt(number)) for number in range(20)]
    stored(store, prompts)
    before: list[Any] = rows(store, AgentVersionRow)
    stored(store, prompts)
    assert rows(store, AgentVersionRow) == before


def test_two_daemons_tell_the_same_version(store: Store) -> None:
    """What one has learnt the other knows; of two that widened one template at once the wider stays."""
    first, second = trace("You help Ann. Be kind."), trace("You help Bob. Be kind.")
    stored(store, [first], partition=Partition("t", 1))
    telling = store.read(lambda c: agentversions.telling(c, "s", "auto"))  # and is slow to write
    telling.tell(first)
    stored(store, [second], partition=Partition("t", 2))
    store.write(lambda c: agentversions.keep(c, "s", telling, now=2.0))
    (row,) = rows(store, AgentVersionRow)
    assert row.template == ["You help", "Be kind."]
    assert len(set(versions(store))) == 1


def test_too_many_versions_are_a_condition_until_they_are_fewer(store: Store) -> None:
    """Tools alone tell them from then on, also in the next batch."""
    many = [trace("Help.", name=f"build-{number}") for number in range(MOST + 1)]
    stored(store, many)
    assert store.read(agentversions.untold) == {"s": True}
    stored(store, many[:1], start=MOST + 1)
    found = versions(store)
    assert len(set(found[:MOST])) == MOST
    assert [str(each)[:6] for each in found[MOST:]] == ["tools-", "tools-"]


@pytest.mark.parametrize("name", ["v1", None])
def test_a_version_is_part_of_no_digest_where_the_log_names_none(name: str | None) -> None:
    """A store that holds digests from before finds its duplicates; a name that is another is a revision."""
    plain = trace("Help.")
    assert (trace("Help.", name=name).digest == plain.digest) is (name is None)
