"""What there is to reach the gate with, counted without reading the store through.

Each figure is of the newest rows, or stops at a bound far above what is asked for, so that a look costs
about the same on thirty events as on thirty million.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, cast

from sqlalchemy import ColumnElement, Connection, Select, Table, distinct, func, inspect, select

from daemon.store import preferences, runs
from daemon.store.alignment import NEWEST_FIRST, Reviewed, for_gate
from daemon.store.hints import unindexed
from daemon.store.kinds import grouped, kind_of
from daemon.store.tables import JudgementRow, LabelRow, TraceRow, VerdictRow
from policies.alignment import adjudicate
from policies.judging.judges import NamedJudge
from policies.policy import PolicySpec
from policies.recipes import Recipe
from policies.records import Role, Split
from policies.selection import selected
from policies.states import Purpose
from policies.stock import ASKED_SPLITS, Stock, Supply, Traffic

TRACE = cast(Table, inspect(TraceRow).local_table)
JUDGEMENT = cast(Table, inspect(JudgementRow).local_table)
VERDICT = cast(Table, inspect(VerdictRow).local_table)
LABEL = cast(Table, inspect(LabelRow).local_table)

COUNTED = 2000
"""Prompts of a split, and events in hand, are counted so far; prompts as far as the gate asks, if more."""
LOOKED_AT = 1500
"""Newest preferences of which is said what a snapshot takes; four times what training asks for, if more."""
WINDOW = 1000
"""Newest events, and newest train events that were looked at, from which rates are taken."""
AUDITED = 500
"""Newest sampled audit events whose pairs are counted."""
RULINGS = 200
"""Newest comparisons of the gate's judge."""

_Pair = tuple[int, ...]
"""Trace, lower and higher candidate."""


def stock(
    connection: Connection, policy: PolicySpec, people: Reviewed, *, min_preferences: int, now: float
) -> Stock:
    """All of it, in the caller's transaction. `people`: of the configured judges."""
    most = max(LOOKED_AT, 4 * min_preferences)
    prompts = max(COUNTED, policy.gate.max_prompts)
    first, *others = (
        _supply(connection, policy, recipes, now, most=most) for recipes in grouped(policy.recipes)
    )
    audited = connection.scalars(_newest_done(Split.AUDIT, TRACE.c.sampled_at, AUDITED)).all()
    pairs = _pairs(connection, audited)
    said = [adjudicate(choices) for choices in people.said.values()]
    rulings = _rulings(connection, [judge for judge in people.judged if judge.role is Role.GATE])
    return Stock(
        traffic=_traffic(connection),
        prompts={split: _prompts(connection, split, prompts) for split in ASKED_SPLITS},
        others=tuple(others),
        unsampled=_in_hand(connection, Split.AUDIT, TRACE.c.sampled_at),
        possible=_possible(pairs, audited),
        unlabelled=len(pairs.keys() - _labelled(connection, audited)),
        labelled=len(said),
        settled=sum(each is not None for each in said),
        rulings=len(rulings),
        decided=sum(rulings),
        alignment={judge: for_gate(rows, policy) for judge, rows in people.judged.items()},
    ).of(first)


def _supply(
    connection: Connection, policy: PolicySpec, recipes: Sequence[Recipe], now: float, *, most: int
) -> Supply:
    """What these recipes learn from: what is looked at, and what a snapshot takes of it. Nothing is replayed,
    and labels are no traffic.
    """
    kind = kind_of(policy, recipes[0])
    found = kind.found(connection, most=most, replayed=False)
    selection = selected(found.offers, policy.curation, now=now)
    events = connection.scalars(
        _newest_done(Split.TRAIN, TRACE.c.curated_at, WINDOW) if kind.rivals else _newest_train()
    ).all()
    learned = runs.last_learned(connection, methods=[recipe.method for recipe in recipes])
    return Supply(
        method=recipes[0].method,
        called=kind.made_of,
        one=kind.one,
        rivals=kind.rivals,
        uncurated=_in_hand(connection, Split.TRAIN, TRACE.c.curated_at) if kind.rivals else 0,
        curated=len(events),
        gave=kind.gave(connection, events, found),
        stored=found.stored,
        kept=len(selection.kept),
        left_out=Counter(found.left_out) + Counter(selection.left_out),
        fresh=kind.since(connection, learned, most=most),
    )


def _traffic(connection: Connection) -> Traffic:
    """The newest events: which of them brought a new prompt, and who is behind them."""
    columns = ("id", "cluster", "split", "subject", "session", "source", "event_id")
    query = select(*(TRACE.c[name] for name in columns)).order_by(TRACE.c.id.desc()).limit(WINDOW)
    events = connection.execute(query).all()[::-1]
    if not events:
        return Traffic()
    known = _known_before(connection, events[0].id)
    repeats: Counter[Split] = Counter()
    for event in events:
        if event.cluster in known:
            repeats[Split(event.split)] += 1
        known.add(event.cluster)
    behind = Counter(preferences.contributor(event) for event in events)
    return Traffic(
        events=len(events),
        fresh=len(events) - repeats.total(),
        repeats=dict(repeats),
        contributors=len(behind),
        once=sum(count == 1 for count in behind.values()),
    )


def _known_before(connection: Connection, start: int) -> set[str]:
    """The clusters of the events from the id `start` on that an older event has too.

    One older row of each is looked for, by the cluster's index: a question may have a million.
    """
    older = TRACE.alias("older")
    one = select(older.c.id).where(older.c.cluster == TRACE.c.cluster, older.c.id < start).limit(1)
    query = select(TRACE.c.cluster).where(TRACE.c.id >= start, one.scalar_subquery().is_not(None))
    return set(connection.scalars(query))


def _prompts(connection: Connection, split: Split, most: int) -> int:
    """Distinct prompts among so many events of a split."""
    some = select(TRACE.c.cluster).where(TRACE.c.split == split.value).limit(most).subquery()
    return connection.execute(select(func.count(distinct(some.c.cluster)))).scalar_one()


def _in_hand(connection: Connection, split: Split, done_at: ColumnElement[Any]) -> int:
    """Events of a split that a stage has not done, up to `COUNTED`."""
    some = select(TRACE.c.id).where(TRACE.c.split == split.value, done_at.is_(None)).limit(COUNTED)
    return connection.execute(select(func.count()).select_from(some.subquery())).scalar_one()


def _newest_train() -> Select[Any]:
    """The newest train events, whatever was done with them."""
    training = unindexed(TRACE.c.split) == Split.TRAIN.value
    return select(TRACE.c.id).where(training).order_by(TRACE.c.id.desc()).limit(WINDOW)


def _newest_done(split: Split, done_at: ColumnElement[Any], limit: int) -> Select[Any]:
    return (
        select(TRACE.c.id)
        .where(TRACE.c.split == split.value, done_at > 0)
        .order_by(done_at.desc())
        .limit(limit)
    )


def _pairs(connection: Connection, audited: Collection[int]) -> dict[_Pair, float]:
    """The pairs of these events' answers that go to people, and with which probability each was drawn."""
    c = JUDGEMENT.c
    query = select(c.trace_id, c.candidate_id, c.other_id, c.probability).where(
        c.trace_id.in_(audited), c.purpose == Purpose.AUDIT, c.kind == "pair", c.other_id.is_not(None)
    )
    return {
        (row.trace_id, *sorted((row.candidate_id, row.other_id))): row.probability
        for row in connection.execute(query)
    }


def _possible(pairs: Mapping[_Pair, float], audited: Collection[int]) -> tuple[int, ...]:
    """Of each event, how many pairs of its answers differ: those drawn, over the probability of each."""
    drawn = Counter(trace for trace, *_ in pairs)
    probability = {trace: each for (trace, *_), each in pairs.items()}
    return tuple(round(drawn[trace] / probability[trace]) if trace in drawn else 0 for trace in audited)


def _labelled(connection: Connection, audited: Collection[int]) -> set[_Pair]:
    c = LABEL.c
    query = select(c.trace_id, c.candidate_id, c.other_id).where(c.trace_id.in_(audited))
    return {(row.trace_id, row.candidate_id, row.other_id) for row in connection.execute(query)}


def _rulings(connection: Connection, judges: Sequence[NamedJudge]) -> list[bool]:
    """Of the newest comparisons by the gate's judges, whether they decided."""
    query = (
        select(VERDICT.c.choice.is_not(None) & ~VERDICT.c.flipped)
        .where(VERDICT.c.kind == "pair")
        .order_by(*NEWEST_FIRST)
        .limit(RULINGS)
    )
    return [
        decided
        for judge in judges
        for decided in connection.scalars(query.where(VERDICT.c.judge == judge.name))
    ]
