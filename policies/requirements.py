"""What training and gate ask for, held against what is there: one requirement each, with what it lacks."""

import math
from dataclasses import dataclass, replace
from enum import StrEnum

from policies.alignment import COVERAGE_FLOOR
from policies.judging.judges import NamedJudge, roles_of
from policies.policy import CurationRule, PolicySpec
from policies.records import Role, Split
from policies.selection import told
from policies.statistics.intervals import passing
from policies.stock import Stock, attainable
from policies.waits import Demand, Rate, Wait, known, observed


class Lacks(StrEnum):
    """What a requirement waits for."""

    NOTHING = "nothing"
    WORK = "work"
    """The stages have it in hand."""
    PEOPLE = "people"
    EVENTS = "events"
    CHANGE = "change"
    """More of the same does not help: the configuration, or a judge, must become another."""


@dataclass(frozen=True, slots=True)
class Asks:
    """What training asks for, and which judges there are. `min_new` is None where only people begin one."""

    min_preferences: int
    min_new: int | None
    judges: tuple[NamedJudge, ...]

    @property
    def roles(self) -> frozenset[Role]:
        """The roles that some judge has."""
        return roles_of(self.judges)


@dataclass(frozen=True, slots=True)
class Requirement:
    """One thing that is asked for: what is there, what is needed, and what the rest waits for.

    `note` says by which key it is asked for, what is in hand, or why more events do not help. `demand` is
    what further events must bring, `events` how many that takes. What is `aside` keeps nothing waiting.
    """

    what: str
    have: int
    need: int
    lacks: Lacks
    note: str
    demand: Demand | None = None
    events: Wait | None = None
    aside: bool = False

    @property
    def missing(self) -> int:
        """How many are not there yet."""
        return max(0, self.need - self.have)


@dataclass(frozen=True, slots=True)
class Need:
    """How much is asked for, by what, and why no more of it helps (`stuck`).

    `prompts`: from at least so many prompts.
    """

    count: int
    note: str
    stuck: str | None = None
    prompts: int = 0


def stated(what: str, have: int, need: Need, demand: Demand | None, in_hand: str = "") -> Requirement:
    """The requirement with what it lacks; `in_hand` is said where it is missing all the same."""
    if need.stuck is not None:
        return Requirement(what, have, need.count, Lacks.CHANGE, need.stuck, demand)
    if have >= need.count or demand is None:
        return Requirement(what, have, need.count, Lacks.NOTHING, need.note)
    lacks = Lacks.EVENTS if demand.hits else Lacks.WORK
    return Requirement(what, have, need.count, lacks, "; ".join(filter(None, (need.note, in_hand))), demand)


def up(value: float) -> int:
    """The whole number that is enough, whatever the rounding of a product."""
    return math.ceil(value - 1e-9)


def preferences(stock: Stock, policy: PolicySpec, asks: Asks) -> Requirement:
    """What the recipe learns from, of which the caps let a snapshot hold as many as training asks for."""
    need, rule = asks.min_preferences, policy.curation
    missing = max(0, need - stock.kept)
    room = stock.room(missing, rule)
    stuck = _alone(stock, policy) if missing else None
    if rule.max_pairs < need:
        stuck = f"policy.curation.max_pairs ({rule.max_pairs}) is below training.min_preferences: raise it"
    elif stuck is None and missing and room.estimate == 0:
        stuck = _capped(stock, rule, need)
    note = "training.min_preferences"
    if missing and (few := _few(stock, rule, need)):
        note += f"; {few}"
    if stock.left_out:
        note += f"; of {stock.stored} are left out: {told(stock.left_out)}"
    return _from_train(stock.called, stock, Need(need, note, stuck), have=stock.kept, room=room)


def new_preferences(stock: Stock, policy: PolicySpec, need: int) -> Requirement:
    """The same since the last training began, of which so many make the daemon begin one."""
    note = (
        "training.min_new_preferences: then the daemon trains by itself; `rlaifd train` does not wait for it"
    )
    asked = Need(need, note, _alone(stock, policy) if stock.fresh < need else None)
    found = _from_train(f"new {stock.called}", stock, asked, have=stock.fresh, room=known(1.0))
    return replace(found, aside=True)


def of_others(stock: Stock, policy: PolicySpec, asks: Asks) -> list[Requirement]:
    """What the policy's other recipes learn from. It keeps nobody waiting: the first makes a challenger."""
    return [
        replace(preferences(stock.of(each), policy, asks), what=f"{each.method}: {each.called}", aside=True)
        for each in stock.others
    ]


def _capped(stock: Stock, rule: CurationRule, need: int) -> str:
    """What the caps on one contributor let in, and the key that lets more in."""
    seen = stock.traffic.contributors
    enough = math.ceil(need / max(seen, 1))
    key = "max_source_pairs" if rule.max_source_pairs < enough else "max_source_fair"
    return (
        f"the caps let {attainable(seen, rule)} pairs of the {seen} contributors seen into a snapshot: "
        f"raise policy.curation.{key}, or lower training.min_preferences"
    )


def _few(stock: Stock, rule: CurationRule, need: int) -> str:
    """That the contributors seen cannot fill a snapshot, and what would; "" where they can."""
    seen = stock.traffic.contributors
    if not seen or attainable(seen, rule) >= need:
        return ""
    return (
        f"the {seen} contributors seen cannot give so many under policy.curation.max_source_pairs "
        f"({rule.max_source_pairs}): it takes {math.ceil(need / rule.max_source_pairs)}, or a higher cap"
    )


def _from_train(what: str, stock: Stock, asked: Need, *, have: int, room: Rate) -> Requirement:
    """What train events become: those in hand first, further ones for the rest."""
    missing = max(0, asked.count - have)
    gives = observed(stock.gave, stock.curated)
    if missing and asked.stuck is None and gives.estimate == 0:
        why = f"none of the newest {stock.curated} train events gave {stock.one}"
        if stock.rivals:
            why += (
                ": their answers differ by less than policy.curation.min_margin or min_difference, or were "
                "cut off"
            )
        asked = replace(asked, stuck=why)
    demand = _demand(Split.TRAIN, missing, stock.uncurated, gives * room)
    in_hand = f"{stock.uncurated} train event(s) are in hand" if stock.uncurated else ""
    return stated(what, have, asked, demand, in_hand)


def _alone(stock: Stock, policy: PolicySpec) -> str | None:
    """Why nothing is compared or preferred."""
    if policy.sampling.candidates or not stock.rivals:
        return None
    return "policy.sampling.candidates is 0: there is no second answer to prefer one to"


def gate_prompts(stock: Stock, policy: PolicySpec, asks: Asks) -> Requirement:
    """Distinct prompts of the gate's split: as many as leave enough decided ones."""
    rule, decides = policy.gate, observed(stock.decided, stock.rulings)
    counts = [
        up(rule.min_prompts / max(each, COVERAGE_FLOOR))
        for each in (decides.estimate, decides.upper, decides.lower)
    ]
    have = stock.prompts.get(Split.GATE, 0)
    hits, least, most = (max(0, each - have) for each in counts)
    share = math.ceil(100 * passing(rule.min_prompts, rule.min_win_rate, confidence=rule.confidence))
    note = f"policy.gate.min_prompts; so many decided ones pass a win rate of {share} % or more"
    if decides.estimate < 1:
        note += f"; the gate's judge decides {decides.estimate:.0%}"
    need = Need(counts[0], note, _ungated(decides, counts[0], policy, asks))
    return stated("gate prompts", have, need, Demand(Split.GATE, hits, least, most, known(1.0)))


def _ungated(decides: Rate, count: int, policy: PolicySpec, asks: Asks) -> str | None:
    """Why no number of prompts lets the gate decide."""
    rule, share = policy.gate, f"the gate's judge decides {decides.estimate:.0%} of its comparisons"
    if Role.GATE not in asks.roles:
        return "no judge of role gate is configured: nothing will be promoted"
    if rule.max_prompts < rule.min_prompts:
        return f"policy.gate.max_prompts ({rule.max_prompts}) is below policy.gate.min_prompts: raise it"
    if decides.estimate < COVERAGE_FLOOR:
        return f"{share}, and under {COVERAGE_FLOOR:.0%} that is what is easy for it: another judge may"
    if count > rule.max_prompts:
        return (
            f"{share}: it takes {count} prompts, and policy.gate.max_prompts is {rule.max_prompts}: raise it"
        )
    return None


def _demand(split: Split, missing: int, in_hand: int, yields: Rate) -> Demand:
    """What further events must bring when those in hand bring what they usually do."""
    hits, least, most = (
        max(0, up(missing - in_hand * each)) for each in (yields.estimate, yields.upper, yields.lower)
    )
    return Demand(split, hits, least, most, yields)
