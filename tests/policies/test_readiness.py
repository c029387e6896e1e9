"""What is missing is named with what it waits for: events, people, the stages, or a change."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from policies.alignment import Alignment, Labelled, alignment
from policies.policy import ChildSampling, CurationRule, GateRule, HaltRules, JudgingRule, PolicySpec, Splits
from policies.readiness import Forecast, forecast
from policies.records import Role, Split
from policies.requirements import Asks, Lacks, Requirement
from policies.selection import Reason
from policies.statistics.intervals import bounds
from policies.stock import Stock, Supply, Traffic
from tests.judges import BENCH, SMALL

SPEC = PolicySpec(name="test", family="tiny", base_model="base")
ASKS = Asks(min_preferences=64, min_new=None, judges=BENCH)
EVERY = 300


def agreed(right: int, wrong: int = 0, undecided: int = 0, *, per_prompt: int = 1) -> Alignment:
    """As the gate measures it on so many labelled pairs, `per_prompt` of each prompt."""
    judges = ["a"] * right + ["b"] * wrong + [None] * undecided
    pairs = [
        Labelled(f"c{number // per_prompt}", judge, ("a",), 10, 20)  # type: ignore[arg-type]
        for number, judge in enumerate(judges)
    ]
    return alignment(pairs, limit=0.8, min_labels=50, window=200)


def labelled(found: Alignment, **changes: Any) -> Stock:
    """All is there, and people said of every judge what is given."""
    facts = {"labelled": found.asked, "settled": found.asked, **changes}
    return replace(THERE, alignment=dict.fromkeys(BENCH, found), **facts)


THERE = Stock(
    traffic=Traffic(events=EVERY, fresh=EVERY, contributors=EVERY, once=EVERY),
    prompts={Split.TRAIN: 210, Split.AUDIT: 15, Split.GATE: 60},
    curated=210,
    gave=210,
    stored=210,
    kept=210,
    possible=(6,) * 15,
    labelled=60,
    settled=60,
    alignment=dict.fromkeys(BENCH, agreed(58, 2)),
)


def row(found: Forecast, what: str) -> Requirement:
    (one,) = [each for each in found.requirements if each.what == what]
    return one


def test_where_all_is_there_nothing_is_said_to_be_missing() -> None:
    """No event, no bottleneck, no suggestion."""
    found = forecast(THERE, SPEC, ASKS)
    assert {each.lacks for each in found.requirements} == {Lacks.NOTHING}
    assert found.events is not None
    assert (found.events.most, found.bottleneck, found.suggestion) == (0, "", None)


def test_without_anything_the_configuration_alone_is_expected() -> None:
    """With the defaults of a policy, and the shares with which a small deployment waits half as long."""
    found = forecast(Stock(), SPEC, ASKS)
    counts = {each.what: (each.have, each.need) for each in found.requirements}
    assert counts == {
        "train prompts": (0, 64),
        "preferences": (0, 64),
        "audit prompts": (0, 13),
        **{f"labels: {role.value} judge": (0, 50) for role in Role},
        "gate prompts": (0, 40),
    }
    assert found.basis.startswith("expected from the configuration alone, at best")
    assert found.events is not None
    assert (found.events.about, found.bottleneck) == (256, "audit prompts")
    assert found.suggestion is not None
    assert found.suggestion.review_pairs == 6
    assert found.suggestion.events.about < 0.55 * found.events.about


def test_what_the_daemon_waits_for_by_itself_keeps_nobody_waiting() -> None:
    """It is a line of its own: `rlaifd train` begins without it."""
    alone = forecast(Stock(), SPEC, ASKS)
    scheduled = forecast(Stock(), SPEC, replace(ASKS, min_new=256))
    own = row(scheduled, "new preferences")
    assert (own.missing, own.events is not None, own.aside) == (256, True, True)
    assert (scheduled.events, scheduled.bottleneck) == (alone.events, alone.bottleneck)
    after = replace(THERE, fresh=250, uncurated=6)
    assert row(forecast(after, SPEC, replace(ASKS, min_new=256)), "new preferences").lacks is Lacks.WORK


def test_prompts_that_give_no_preference_are_counted_in() -> None:
    """Half of the train prompts gave one: it takes twice as many, less those that the stages have in hand."""
    half = replace(THERE, curated=40, gave=20, stored=20, kept=20, uncurated=8)
    found = forecast(half, SPEC, ASKS)
    assert row(found, "preferences").missing == 44
    assert "8 train event(s) are in hand" in row(found, "preferences").note
    prompts = row(found, "train prompts")
    assert prompts.missing == 80
    assert prompts.events is not None
    assert prompts.events.about == pytest.approx(80 / 0.7, rel=0.03)


def test_labels_are_sought_where_they_are_first() -> None:
    """Labelled and unjudged, then unlabelled, then unsampled, then in further events."""
    few = agreed(20)
    asked = {"labelled": 50, "settled": 50}
    for changes, lacks, said in (
        (asked, Lacks.WORK, "30 labelled pairs wait for this judge: `rlaifd judge`"),
        ({"unlabelled": 30}, Lacks.PEOPLE, "30 pairs wait for people: `rlaifd review export`"),
        ({"unlabelled": 22, "unsampled": 2}, Lacks.WORK, "2 audit event(s) wait to be sampled"),
        ({"unlabelled": 22}, Lacks.EVENTS, "22 pairs wait for people"),
    ):
        found = row(forecast(labelled(few, **changes), SPEC, ASKS), "labels: gate judge")
        assert (found.have, found.need, found.lacks) == (20, 50, lacks)
        assert said in found.note
    assert row(forecast(labelled(few, unlabelled=22), SPEC, ASKS), "audit prompts").missing == 2


def test_a_judge_that_decides_half_takes_twice_the_labels() -> None:
    """And so do people who prefer neither answer of half of the pairs."""
    half = agreed(20, undecided=20)
    assert row(forecast(labelled(half), SPEC, ASKS), "audit prompts").missing == 60 / 4
    ties = labelled(half, labelled=80, settled=40)
    assert row(forecast(ties, SPEC, ASKS), "audit prompts").missing == 120 / 4


@pytest.mark.parametrize(
    ("found", "need"),
    [(agreed(45, 5), 50), (agreed(87, 13), 50), (agreed(44, 6), 68), (agreed(60, per_prompt=6), 66)],
    ids=["sure", "surely", "unsure", "few-prompts"],
)
def test_the_lower_bound_may_ask_for_more_labels(found: Alignment, need: int) -> None:
    """At the agreement so far; pairs of one prompt that are alike count for one."""
    assert row(forecast(labelled(found), SPEC, ASKS), "labels: large judge").need == need


def test_the_labels_named_pass_the_gate_at_the_agreement_seen() -> None:
    """44 of 50 is not enough, and 68 are named: at the same share their bound is above the limit, first."""
    assert bounds(0.88, 68)[0] > 0.8 >= bounds(0.88, 67)[0]


def test_labels_come_from_enough_prompts() -> None:
    """Fifty pairs of nine prompts say at best as much as nine: that never passes a lower bound of 0.80."""
    policy = SPEC.model_copy(update={"judging": JudgingRule(review_pairs=6)})
    assert row(forecast(Stock(), policy, ASKS), "audit prompts").need == 11


CHANGES: list[tuple[str, Callable[[PolicySpec], dict[str, Any]], Stock, str, str]] = [
    (
        "room",
        lambda _: {"gate": GateRule(max_prompts=30)},
        THERE,
        "gate prompts",
        "max_prompts (30) is below",
    ),
    (
        "window",
        lambda _: {"halts": HaltRules(alignment_window=40)},
        THERE,
        "labels: small judge",
        "alignment_window lets 40 count",
    ),
    (
        "pairs",
        lambda _: {"curation": CurationRule(max_pairs=9)},
        THERE,
        "preferences",
        "max_pairs (9) is below",
    ),
    ("alone", lambda _: {"sampling": ChildSampling(candidates=0)}, Stock(), "preferences", "candidates is 0"),
    (
        "audit",
        lambda _: {"splits": Splits(train=0.8, calibrate=0.0, audit=0.0, gate=0.2)},
        Stock(),
        "audit prompts",
        "policy.splits.audit is 0",
    ),
    (
        "stale",
        lambda _: {},
        replace(THERE, prompts={}, traffic=Traffic(9, 0, {Split.TRAIN: 9}, 9, 9)),
        "gate prompts",
        "none of the newest 9 events brought a new prompt",
    ),
    (
        "flat",
        lambda _: {},
        replace(THERE, kept=0, gave=0),
        "preferences",
        "none of the newest 210 train events",
    ),
    (
        "same",
        lambda _: {},
        replace(labelled(agreed(3)), possible=(0, 0)),
        "labels: gate judge",
        "2 audit events have no",
    ),
    (
        "ties",
        lambda _: {},
        labelled(agreed(0), labelled=9, settled=0),
        "labels: gate judge",
        "people prefer no answer",
    ),
    ("mute", lambda _: {}, labelled(agreed(0, undecided=9)), "labels: small judge", "min_margin"),
    ("easy", lambda _: {}, labelled(agreed(55, undecided=300)), "labels: gate judge", "what is easy"),
    (
        "wrong",
        lambda _: {},
        labelled(agreed(35, 15)),
        "labels: gate judge",
        "70.0% of 50 pairs, not above 80%",
    ),
    (
        "unsure",
        lambda _: {},
        labelled(agreed(164, 36)),
        "labels: gate judge",
        "alignment_window lets 200 count",
    ),
    ("flips", lambda _: {}, replace(THERE, rulings=50, decided=9), "gate prompts", "decides 18% of its"),
    (
        "costly",
        lambda _: {"gate": GateRule(max_prompts=50)},
        replace(THERE, rulings=50, decided=30),
        "gate prompts",
        "it takes 67 prompts",
    ),
]


@pytest.mark.parametrize(
    ("changed", "stock", "what", "said"), [each[1:] for each in CHANGES], ids=[each[0] for each in CHANGES]
)
def test_where_more_does_not_help_it_says_what_does(
    changed: Callable[[PolicySpec], dict[str, Any]], stock: Stock, what: str, said: str
) -> None:
    """It is the bottleneck then, with the key or the judge to change, and no number of events is named."""
    found = forecast(stock, SPEC.model_copy(update=changed(SPEC)), ASKS)
    one = row(found, what)
    assert one.lacks is Lacks.CHANGE
    assert said in one.note
    assert found.events is None
    assert row(found, found.bottleneck).lacks is Lacks.CHANGE


def test_few_contributors_keep_training_from_beginning() -> None:
    """Each gives ten pairs at most: seven fill a snapshot of 64, of six it names the key to raise."""
    traffic = Traffic(events=EVERY, fresh=EVERY, contributors=7, once=0)
    stock = replace(THERE, traffic=traffic, stored=90, kept=60)
    assert row(forecast(stock, SPEC, ASKS), "preferences").lacks is Lacks.EVENTS
    few = replace(stock, traffic=replace(traffic, contributors=6))
    found = row(forecast(few, SPEC, ASKS), "preferences")
    assert found.lacks is Lacks.CHANGE
    assert "the caps let 60 pairs of the 6 contributors seen" in found.note
    assert "raise policy.curation.max_source_pairs, or lower" in found.note
    unfair = SPEC.curation.model_copy(update={"max_source_fair": 0.5})
    found = row(forecast(stock, SPEC.model_copy(update={"curation": unfair}), ASKS), "preferences")
    assert "raise policy.curation.max_source_fair, or lower" in found.note


def test_contributors_that_are_missing_are_asked_for() -> None:
    """While new ones come it takes events, and the number and the key are said; what is left out, too."""
    traffic = Traffic(events=EVERY, fresh=EVERY, contributors=6, once=3)
    left_out = {Reason.CONTRIBUTOR: 30}
    stock = replace(THERE, traffic=traffic, stored=90, kept=60, left_out=left_out)
    found = row(forecast(stock, SPEC, ASKS), "preferences")
    assert found.lacks is Lacks.EVENTS
    assert "the 6 contributors seen cannot give so many" in found.note
    assert "max_source_pairs (10): it takes 7, or a higher cap" in found.note
    assert "of 90 are left out: 30 beyond what one contributor may give" in found.note


def test_without_its_judges_nothing_is_labelled_or_promoted() -> None:
    """What the scores' judge alone can do is still asked for."""
    found = forecast(Stock(), SPEC, replace(ASKS, judges=(SMALL,)))
    assert "no judge of role large or gate" in row(found, "labels: small judge").note
    assert row(found, "gate prompts").note == "no judge of role gate is configured: nothing will be promoted"
    assert not [each for each in found.requirements if each.what == "labels: gate judge"]


def test_a_gate_judge_that_decides_less_takes_more_prompts() -> None:
    """Of 50 comparisons it decided 40: fifty prompts for forty decided ones."""
    found = row(forecast(replace(THERE, rulings=50, decided=40), SPEC, ASKS), "gate prompts")
    assert (found.have, found.need, found.lacks) == (60, 50, Lacks.NOTHING)
    assert "the gate's judge decides 80%" in found.note


def test_a_suggestion_counts_what_is_split_already_and_saves_a_fifth() -> None:
    """One that lacks gate prompts alone gets them from the others' shares; then there is no more to save."""
    lacking = replace(THERE, prompts={**THERE.prompts, Split.GATE: 10})
    found = forecast(lacking, SPEC, ASKS)
    assert found.suggestion is not None
    given = found.suggestion.splits
    assert (given.audit, given.calibrate, given.gate >= 0.89, given.train >= 0.05) == (0.05, 0.0, True, True)
    assert found.suggestion.review_pairs == SPEC.judging.review_pairs
    assert found.events is not None
    assert found.suggestion.events.about < found.events.about / 4
    asked = SPEC.model_copy(update={"splits": found.suggestion.splits})
    assert forecast(lacking, asked, ASKS).suggestion is None


def test_a_split_without_a_share_is_suggested_one() -> None:
    """No number of events is enough as it is."""
    policy = SPEC.model_copy(update={"splits": Splits(train=0.9, calibrate=0.0, audit=0.1, gate=0.0)})
    found = forecast(Stock(), policy, ASKS)
    assert (found.events, found.bottleneck) == (None, "gate prompts")
    assert found.suggestion is not None
    assert found.suggestion.splits.gate > 0.3


def test_thumbs_come_at_their_own_rate_and_need_no_rival() -> None:
    """Three of a hundred events have one: it takes 33 times as many events, whatever gives a preference."""
    supply = Supply(
        *("kto", "answers", "an answer to learn from"),
        rivals=False,
        curated=1000,
        gave=30,
        stored=30,
        kept=30,
    )
    few = THERE.of(supply)
    found = forecast(few, SPEC.model_copy(update={"sampling": ChildSampling(candidates=0)}), ASKS)
    own = row(found, "answers")
    assert (own.missing, own.lacks) == (34, Lacks.EVENTS)
    assert own.events is not None
    assert own.events.about == pytest.approx(34 / 0.03 / 0.7, rel=0.05)
    assert found.basis.endswith("30 of 1000 train prompts gave an answer to learn from")
    none = forecast(replace(few, gave=0), SPEC, ASKS)
    assert row(none, "answers").note == "none of the newest 1000 train events gave an answer to learn from"


def test_each_kind_of_several_recipes_is_shown_and_the_first_counts() -> None:
    """What the others lack is said, and keeps nobody waiting."""
    others = (
        Supply("ppo", "prompts", "a prompt", rivals=False, curated=1000, gave=900, stored=900, kept=500),
        Supply("kto", "answers", "an answer", rivals=False, curated=1000, gave=10, stored=10, kept=10),
    )
    found = forecast(replace(THERE, others=others), SPEC, ASKS)
    assert (row(found, "ppo: prompts").have, row(found, "ppo: prompts").lacks) == (500, Lacks.NOTHING)
    kto = row(found, "kto: answers")
    assert (kto.missing, kto.lacks, kto.aside) == (54, Lacks.EVENTS, True)
    assert found.events is not None
    assert (found.events.most, found.bottleneck) == (0, "")
