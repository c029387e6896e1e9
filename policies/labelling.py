"""How many labels a judge lacks, and whether people, the stages or further events bring them.

A label counts for a judge where people prefer one of two answers and the judge's version decided too. It
takes a pair of an audit event's answers, so what is missing is looked for in this order: pairs that people
labelled and this judge has not seen, pairs that wait for people, audit events that wait to be sampled, and
further events.
"""

import math
from dataclasses import replace

from policies.alignment import COVERAGE_FLOOR, Alignment
from policies.judging.judges import NamedJudge
from policies.policy import GateRule, PolicySpec
from policies.records import Role, Split
from policies.requirements import Asks, Lacks, Need, Requirement, stated, up
from policies.statistics.intervals import needed, passing
from policies.stock import Stock
from policies.waits import Demand, known, observed

LABELS = "labels"
"""What the requirements here are named by, before the judge."""


def pairless(stock: Stock, policy: PolicySpec, roles: frozenset[Role]) -> str | None:
    """Why no audit event brings a pair for people to label; None where it does."""
    if not roles & {Role.LARGE, Role.GATE}:
        return "no judge of role large or gate is configured: what no judge compares nobody labels"
    if policy.sampling.candidates == 0:
        return "policy.sampling.candidates is 0: there is no second answer to compare with"
    if stock.pairs_per_prompt(policy, policy.judging.review_pairs) == 0:
        return f"the newest {len(stock.possible)} audit events have no two answers that differ"
    return None


def no_pair_yet(stock: Stock, policy: PolicySpec, roles: frozenset[Role]) -> str:
    """Why there is nothing to label, of a store in which there is no pair."""
    why = pairless(stock, policy, roles)
    if why is None and stock.unsampled:
        why = f"{stock.unsampled} audit event(s) wait to be sampled and compared: `rlaifd curate`"
    if why is None and stock.prompts.get(Split.AUDIT):
        why = "the answers to the audit prompts are not compared yet: `rlaifd curate`"
    share = policy.splits.audit
    return (
        why
        or f"no audit prompt is stored: policy.splits.audit gives {share:.0%} of the new prompts to people"
    )


def labels(judge: NamedJudge, stock: Stock, policy: PolicySpec, asks: Asks, crowding: float) -> Requirement:
    """The judge's decided labelled pairs. `crowding`: see `readiness`."""
    found = stock.alignment.get(judge)
    have, asked = (found.labels, found.asked) if found else (0, 0)
    what, need = f"{LABELS}: {judge.title}", _needed(found, policy, crowding)
    need = replace(need, stuck=need.stuck or _undecided(judge.role, have, asked, stock))
    missing = max(0, need.count - have)
    if need.stuck is not None or not missing:
        return stated(what, have, need, None)
    unjudged = max(0, stock.settled - asked)
    decides, settles = observed(have, asked), observed(stock.settled, stock.labelled)

    def beyond(deciding: float, settling: float) -> float:
        """Pairs that people must label, less those that they can label now."""
        return (missing / deciding - unjudged) / settling - stock.unlabelled

    now = beyond(decides.estimate, settles.estimate)
    ends = (now, beyond(decides.upper, settles.upper), beyond(decides.lower, settles.lower))
    counts = [_events(pairs, need.prompts, stock, policy) for pairs in ends]
    demand = Demand(Split.AUDIT, counts[0], counts[1], counts[2], known(1.0))
    if counts[0]:
        why = pairless(stock, policy, asks.roles)
        in_hand = f"{stock.unlabelled} pairs wait for people" if stock.unlabelled else ""
        return stated(what, have, replace(need, stuck=why), demand, in_hand)
    lacks, hand = _in_hand(stock, unjudged, now)
    return Requirement(what, have, need.count, lacks, f"{need.note}; {hand}", demand)


def _events(pairs: float, prompts: int, stock: Stock, policy: PolicySpec) -> int:
    """Further audit events that bring so many pairs, and together with what is there so many prompts."""
    per_event = stock.pairs_per_prompt(policy, policy.judging.review_pairs)
    wanted = up(pairs / per_event) - stock.unsampled if per_event else up(pairs)
    return max(0, wanted, prompts - stock.prompts.get(Split.AUDIT, 0))


def _in_hand(stock: Stock, unjudged: int, beyond: float) -> tuple[Lacks, str]:
    """Who has what is missing: the judge, people, or the stages before them."""
    if beyond + stock.unlabelled <= 0:
        return Lacks.WORK, f"{unjudged} labelled pairs wait for this judge: `rlaifd judge`"
    if beyond <= 0:
        return Lacks.PEOPLE, f"{stock.unlabelled} pairs wait for people: `rlaifd review export`"
    return Lacks.WORK, f"{stock.unsampled} audit event(s) wait to be sampled and compared: `rlaifd curate`"


def _undecided(role: Role, have: int, asked: int, stock: Stock) -> str | None:
    if stock.labelled and not stock.settled:
        return f"people prefer no answer in any of the {stock.labelled} labelled pairs"
    if asked and not have:
        gap = ": its scores differ by less than policy.curation.min_margin" if role is Role.SMALL else ""
        return f"the judge decided none of the {asked} labelled pairs that it was asked about{gap}"
    return None


def _needed(found: Alignment | None, policy: PolicySpec, crowding: float) -> Need:
    """How many decided labelled pairs pass the gate: the least number, and what the lower bound takes."""
    rule, window = policy.gate, policy.halts.alignment_window
    few = found is None or found.ratio is None or found.labels < rule.min_labels
    if found is None or found.ratio is None or (few and found.ratio <= rule.min_alignment):
        need = _at_best(rule)
    else:
        need = _at(found, found.ratio, rule, crowding)
    if need.stuck is None and need.count > window:
        why = (
            f"{need.count} labels are needed, and policy.halts.alignment_window lets {window} count: raise it"
        )
        need = replace(need, stuck=why)
    return need


def _at_best(rule: GateRule) -> Need:
    """The labels that suffice where people agree with nearly all; all pairs of a prompt may then be one."""
    alone = needed(1.0, rule.min_alignment)
    if alone is None:
        return Need(
            rule.min_labels, "", "policy.gate.min_alignment is 1: no number of labels is surely above"
        )
    count = max(rule.min_labels, alone)
    share = math.ceil(100 * passing(count, rule.min_alignment))
    note = f"policy.gate.min_labels; enough where people agree with {share} % of them or more"
    return Need(count, note, prompts=alone)


def _at(found: Alignment, ratio: float, rule: GateRule, crowding: float) -> Need:
    """The labels with which the lower bound passes the limit at this ratio."""
    least, limit, note = rule.min_labels, rule.min_alignment, "policy.gate.min_labels"
    said = f"people agree with {ratio:.1%} of {found.labels} pairs"
    if found.labels >= least and (found.coverage or 0.0) < COVERAGE_FLOOR:
        share = f"{found.coverage or 0.0:.0%} of the labelled pairs, and under {COVERAGE_FLOOR:.0%}"
        return Need(least, note, f"the judge decides {share} it is measured on what is easy for it")
    if ratio <= limit:
        return Need(least, note, f"{said}, not above {limit:.0%}: more labels do not help, another judge may")
    if found.lower > limit:
        return Need(least, note)
    alone = needed(ratio, limit)
    if alone is None:
        return Need(least, note, f"{said}: too close to {limit:.0%} for any number of labels to decide")
    count = max(least, found.labels + 1, up(alone * found.labels / found.effective * crowding))
    return Need(
        count, f"{said}; with about so many the lower bound passes {limit:.0%}" if count > least else note
    )
