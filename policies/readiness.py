"""What is missing until a training begins and the gate decides, and how many more events that takes.

Counts are exact: so many labels, gate prompts and preferences are there, so many are asked for. Events are an
estimate, because a hash decides in which split a prompt falls: it says with how many all is there as likely
as not, and between which numbers in nine of ten cases. Where more events do not help, it says what does:
people, the stages' own work, or a key of the configuration.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from policies.labelling import labels
from policies.policy import PolicySpec, Splits
from policies.records import Split
from policies.requirements import (
    Asks,
    Lacks,
    Requirement,
    gate_prompts,
    new_preferences,
    of_others,
    preferences,
    up,
)
from policies.splitting import shares
from policies.stock import Stock, Traffic, most_pairs
from policies.waits import Demand, Wait, wait

WORTH = 0.8
"""Other splits are suggested where they take no more than this share of the events."""
MOST_REVIEW_PAIRS = 6
"""Suggested at most: the pairs of one prompt are alike, and the more there are the less each tells."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Shares, and pairs of an audit prompt, with which all is there after fewer events."""

    splits: Splits
    review_pairs: int
    events: Wait


@dataclass(frozen=True, slots=True)
class Forecast:
    """Every requirement, and the events until all are met; None where no number of them is enough.

    `bottleneck` is what takes longest, '' where nothing is missing. `basis` says where the rates are from.
    """

    requirements: tuple[Requirement, ...]
    events: Wait | None
    bottleneck: str
    basis: str
    suggestion: Suggestion | None


def forecast(stock: Stock, policy: PolicySpec, asks: Asks) -> Forecast:
    """Holds what is there against what training and gate will ask for."""
    found = _requirements(stock, policy, asks)
    events = _together(found, stock.traffic, policy.splits)
    stuck = any(each.lacks is Lacks.CHANGE and not each.aside for each in found)
    return Forecast(
        requirements=found,
        events=None if stuck else events,
        bottleneck=_bottleneck(found),
        basis=_basis(stock),
        suggestion=_suggestion(stock, policy, asks, events),
    )


def _requirements(
    stock: Stock, policy: PolicySpec, asks: Asks, *, crowding: float = 1.0
) -> tuple[Requirement, ...]:
    """All of them, in the order in which the loop comes to them.

    `crowding`: how many pairs of a prompt are to be labelled for one that the labels so far come from. More
    pairs of one prompt are alike, so the bound on alignment is taken to need as many prompts as before.
    """
    training = [preferences(stock, policy, asks)]
    by_itself = [] if asks.min_new is None else [new_preferences(stock, policy, asks.min_new)]
    people = [labels(judge, stock, policy, asks, crowding) for judge in asks.judges]
    return tuple(
        _awaited(each, stock, policy)
        for each in (
            _prompts(Split.TRAIN, stock, training),
            *training,
            *by_itself,
            *of_others(stock, policy, asks),
            _prompts(Split.AUDIT, stock, people),
            *people,
            gate_prompts(stock, policy, asks),
        )
    )


def _prompts(split: Split, stock: Stock, served: list[Requirement]) -> Requirement:
    """The prompts of a split that the others are made of: how many further ones the neediest takes."""
    have = stock.prompts.get(split, 0)
    demands = [each.demand for each in served if each.lacks is Lacks.EVENTS and each.demand is not None]
    most = max(demands, key=lambda each: each.hits / each.yields.estimate, default=None)
    more = 0 if most is None else up(most.hits / most.yields.estimate)
    note = f"for the {stock.called if split is Split.TRAIN else 'labels'}"
    lacks = Lacks.EVENTS if more else Lacks.NOTHING
    return Requirement(f"{split.value} prompts", have, have + more, lacks, note, most)


def _awaited(found: Requirement, stock: Stock, policy: PolicySpec) -> Requirement:
    """The requirement with the events it takes, or with why no event brings it."""
    if found.lacks is not Lacks.EVENTS or found.demand is None:
        return found
    chances = stock.traffic.chances(policy.splits)
    events, split = wait([found.demand], chances), found.demand.split
    if events is not None:
        return replace(found, events=events)
    why = f"policy.splits.{split.value} is 0" if not getattr(policy.splits, split.value) else ""
    why = why or f"none of the newest {stock.traffic.events} events brought a new prompt"
    return replace(found, lacks=Lacks.CHANGE, note=why)


def _together(found: Iterable[Requirement], traffic: Traffic, splits: Splits) -> Wait | None:
    """The wait for all of them. Of those that one split serves the slowest counts: they share its events."""
    chances = traffic.chances(splits)
    slowest: dict[Split, tuple[Wait, Demand]] = {}
    for demand in _demands(found):
        alone = wait([demand], chances)
        if alone is None:
            return None
        if demand.split not in slowest or alone.about > slowest[demand.split][0].about:
            slowest[demand.split] = (alone, demand)
    return wait([demand for _, demand in slowest.values()], chances)


def _demands(found: Iterable[Requirement]) -> list[Demand]:
    return [each.demand for each in found if each.demand is not None and not each.aside]


def _bottleneck(found: Iterable[Requirement]) -> str:
    """What no event helps first, else what takes the most events, else what others have in hand."""
    order = (Lacks.CHANGE, Lacks.EVENTS, Lacks.PEOPLE, Lacks.WORK)
    open_ones = [each for each in found if each.lacks is not Lacks.NOTHING and not each.aside]
    slowest = min(
        open_ones,
        key=lambda each: (order.index(each.lacks), -(each.events.about if each.events else 0)),
        default=None,
    )
    return "" if slowest is None else slowest.what


def _suggestion(stock: Stock, policy: PolicySpec, asks: Asks, present: Wait | None) -> Suggestion | None:
    """Other shares, and more pairs where pairs are missing; None where they save little."""
    before = policy.judging.review_pairs
    if any(each.split is Split.AUDIT and each.hits for each in _demands(_requirements(stock, policy, asks))):
        pairs = max(before, min(MOST_REVIEW_PAIRS, most_pairs(policy)))
    else:
        pairs = before
    judging = policy.judging.model_copy(update={"review_pairs": pairs})
    other = policy.model_copy(update={"judging": judging})
    now = stock.pairs_per_prompt(policy, before)
    crowding = stock.pairs_per_prompt(policy, pairs) / now if now else 1.0
    found = _requirements(stock, other, asks, crowding=crowding)
    splits = shares(_demands(found), stock.traffic)
    events = None if splits is None else _together(found, stock.traffic, splits)
    if splits is None or events is None or (present and events.about > WORTH * present.about):
        return None
    return Suggestion(splits, pairs, events)


def _basis(stock: Stock) -> str:
    """What the estimate of events rests on."""
    traffic = stock.traffic
    if not traffic.events:
        return (
            "expected from the configuration alone, at best: every event brings a new prompt, every train "
            f"prompt {stock.one}, every pair a label"
        )
    new = f"{traffic.fresh} of the newest {traffic.events} events brought a new prompt"
    if not stock.curated:
        return f"{new}; every train prompt is taken to give {stock.one}: none was looked at yet"
    return f"{new}; {stock.gave} of {stock.curated} train prompts gave {stock.one}"
