"""No contributor dominates a snapshot, and what is left out is counted by its reason."""

import math
import time
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import selection
from policies.policy import CurationRule, TopicMix
from policies.selection import Offer, Reason, Selection, told

RULE = CurationRule()


def given_by(owners: list[int]) -> list[Offer]:
    """Newest first: ids fall."""
    return [Offer(str(owner), id=-index) for index, owner in enumerate(owners)]


def selected(offers: list[Offer], rule: CurationRule, limit: int | None = None) -> Selection:
    return selection.selected(offers, rule, now=0.0, limit=limit)


def of(found: Selection) -> Counter[str]:
    return Counter(item.contributor for item in found.kept)


def test_fifty_regular_customers_all_give_what_they_have() -> None:
    """Of 495 pairs of 50 subjects none is left out: each has fewer than ten, and its fair share."""
    found = selected(given_by([index % 50 for index in range(495)]), RULE)
    assert (len(found.kept), found.left_out) == (495, {})


def test_nobody_gives_more_than_ten() -> None:
    """However fair the shares are."""
    found = selected(given_by([index % 50 for index in range(1000)]), RULE)
    assert set(of(found).values()) == {10}
    assert found.left_out == {Reason.CONTRIBUTOR: 500}


def test_a_flooding_contributor_gets_its_share() -> None:
    """Of 2,000 others and one with 500, the one gives five: 0.25 % of what remains, more than two shares."""
    found = selected(given_by([-1] * 500 + list(range(2000))), RULE)
    flooding = [-item.id for item in found.kept if item.contributor == "-1"]
    assert flooding == [0, 1, 2, 3, 4]
    assert (len(found.kept), found.left_out) == (2005, {Reason.CONTRIBUTOR: 495})


def test_a_flooding_contributor_of_a_small_snapshot_gets_two_fair_shares() -> None:
    """Of 49 others with a pair each and one with 500, the one gives two."""
    found = selected(given_by([-1] * 500 + list(range(49))), RULE)
    assert of(found)["-1"] == 2
    assert len(found.kept) == 51


def test_one_contributor_alone_gives_its_ten() -> None:
    """It has the whole of the fair shares; whether that is enough for a run is another question."""
    assert len(selected(given_by([0] * 500), RULE).kept) == 10


def test_the_limit_keeps_the_newest() -> None:
    """Rows come newest first and the first ones stay, up to the limit and to the rule's bound."""
    rows = given_by(list(range(20)))
    found = selected(rows, RULE, limit=3)
    assert [-row.id for row in found.kept] == [0, 1, 2]
    assert found.left_out == {Reason.LIMIT: 17}
    assert len(selected(rows, RULE.model_copy(update={"max_pairs": 2}), limit=3).kept) == 2


@given(
    st.lists(st.integers(0, 6), max_size=120),
    st.sampled_from([0.0025, 0.05, 0.3, 1.0]),
    st.sampled_from([0.5, 1.0, 2.0, 100.0]),
    st.integers(1, 10),
    st.none() | st.integers(1, 60),
)
def test_the_caps_always_hold(
    owners: list[int], share: float, fair: float, most: int, limit: int | None
) -> None:
    """Whatever the mixture: each cap holds of the result, the order is kept, every row is accounted for."""
    rule = CurationRule(max_source_share=share, max_source_pairs=most, max_source_fair=fair)
    rows = given_by(owners)
    found = selected(rows, rule, limit=limit)
    pairs, contributors = len(found.kept), len(of(found))
    for count in of(found).values():
        assert count <= min(most, max(1, share * pairs + 1e-6, fair * pairs / contributors + 1e-6))
    assert [-row.id for row in found.kept] == sorted(-row.id for row in found.kept)
    assert pairs <= (limit or len(rows))
    assert pairs + sum(found.left_out.values()) == len(rows)
    assert {row.contributor for row in rows} == set(of(found)) or limit is not None


@given(st.lists(st.integers(0, 3), max_size=40), st.sampled_from([0.0025, 0.3]), st.sampled_from([1.0, 2.0]))
def test_no_higher_cap_would_fit(owners: list[int], share: float, fair: float) -> None:
    """Of all numbers that one contributor could give, the highest that fits its own result is taken."""
    rule = CurationRule(max_source_share=share, max_source_fair=fair)
    had = Counter(map(str, owners))

    def fits(cap: int) -> bool:
        pairs = sum(min(cap, count) for count in had.values())
        return cap <= max(1, share * pairs + 1e-9, fair * pairs / max(1, len(had)) + 1e-9)

    cap = max((cap for cap in range(1, 11) if fits(cap)), default=1)
    assert of(selected(given_by(owners), rule)) == {who: min(cap, count) for who, count in had.items()}


@pytest.mark.parametrize(
    ("left_out", "said"),
    [
        ({}, ""),
        ({Reason.CONTRIBUTOR: 444}, "444 beyond what one contributor may give"),
        ({Reason.LIMIT: 0}, ""),
    ],
)
def test_what_is_left_out_is_said(left_out: dict[Reason, int], said: str) -> None:
    """Each reason with its count, and nothing where there is none."""
    assert told(left_out) == said


def test_every_reason_has_its_words() -> None:
    """A reason without words would be left out in silence."""
    assert all(told({why: 1}) for why in Reason)


NOW = 1_800_000_000.0
DAY = 86_400.0


def test_near_copies_are_let_in_up_to_their_number() -> None:
    """Four that share a number, whoever they are from; one with no sketch is like nothing."""
    alike = [Offer(f"a{n}", id=100 - n, sketch=(f"own{n}", "shared")) for n in range(10)]
    others = [Offer(f"b{n}", id=50 - n, sketch=(f"other{n}",)) for n in range(3)]
    unknown = [Offer(f"c{n}", id=20 - n) for n in range(10)]
    found = selected([*alike, *others, *unknown], RULE)
    assert [offer.id for offer in found.kept if offer.id > 50] == [100, 99, 98, 97]
    assert (len(found.kept), found.left_out) == (17, {Reason.ALIKE: 6})


def test_near_copies_need_not_share_the_same_number() -> None:
    """One that is like four others, each by another number, is the fifth."""
    four = [Offer(f"a{n}", id=100 - n, sketch=(f"number{n}",)) for n in range(4)]
    fifth = Offer("b", id=1, sketch=tuple(f"number{n}" for n in range(4)))
    assert selected([*four, fifth], RULE).left_out == {Reason.ALIKE: 1}
    assert selected([*four[:3], fifth], RULE).left_out == {}


def test_the_look_for_near_copies_is_linear() -> None:
    """Eight times as many, each with numbers that many have, cost at most twelve times as much."""
    rule = RULE.model_copy(update={"max_pairs": 10**6})

    def cost(pairs: int) -> float:
        offers = [
            Offer(f"u{n}", id=-n, sketch=(f"{n}", *(f"{n % 50}-{band}" for band in range(7))))
            for n in range(pairs)
        ]
        best = math.inf
        for _ in range(5):
            start = time.process_time()
            selected(offers, rule)
            best = min(best, time.process_time() - start)
        return best

    assert cost(16_000) <= 12 * cost(2_000)


def test_old_events_are_left_out() -> None:
    """By the age of the event, to the day."""
    rule = RULE.model_copy(update={"max_age_days": 30.0})
    offers = [Offer(f"u{days}", id=100 - days, at=NOW - days * DAY) for days in range(60)]
    found = selection.selected(offers, rule, now=NOW)
    assert [round((NOW - offer.at) / DAY) for offer in found.kept] == list(range(31))
    assert found.left_out == {Reason.STALE: 29}


def test_a_topic_has_its_share_of_what_is_kept() -> None:
    """Of 90 of one topic and 10 of another, with half for each, ten and ten; the newest of each."""
    rule = RULE.model_copy(update={"mix": TopicMix(tag="topic")})
    offers = [Offer(f"u{n}", id=200 - n, topic="a" if n % 10 else "b") for n in range(100)]
    found = selected(offers, rule)
    assert Counter(offer.topic for offer in found.kept) == {"a": 10, "b": 10}
    assert found.left_out == {Reason.TOPIC: 80}
    assert [offer.id for offer in found.kept if offer.topic == "a"] == [
        offer.id for offer in offers if offer.topic == "a"
    ][:10]


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ({"a": 0.9}, {"a": 90, "b": 10}),
        ({"a": 0.8}, {"a": 40, "b": 10}),
        ({"a": 0.0}, {"b": 10}),
        ({"a": 0.2, "b": 0.2}, {"a": 10, "b": 10}),
        ({"a": 0.3, "b": 0.1}, {"a": 30, "b": 10}),
    ],
)
def test_named_topics_have_the_share_they_are_given(
    shares: dict[str, float], expected: dict[str, int]
) -> None:
    """As far as there are enough of the others; shares that make no whole are meant as a proportion."""
    rule = RULE.model_copy(update={"mix": TopicMix(tag="topic", shares=shares)})
    offers = [Offer(f"u{n}", id=200 - n, topic="a" if n % 10 else "b") for n in range(100)]
    assert Counter(offer.topic for offer in selected(offers, rule).kept) == expected


def test_one_topic_alone_fills_the_snapshot() -> None:
    """A mix of what is not there leaves out nothing."""
    rule = RULE.model_copy(update={"mix": TopicMix(tag="topic", shares={"b": 0.1})})
    assert len(selected([Offer(f"u{n}", id=-n, topic="a") for n in range(20)], rule).kept) == 20


def test_a_full_snapshot_keeps_a_place_for_what_was_learned_before() -> None:
    """A tenth of it is drawn from old ones that newer ones would have pushed out, not the newest of them."""
    rule = RULE.model_copy(update={"max_pairs": 100})
    offers = [Offer(f"u{n}", id=1000 - n, seen=n >= 300) for n in range(1000)]
    found = selected(offers, rule)
    replayed = [offer for offer in found.kept if offer.seen]
    assert (len(found.kept), len(replayed)) == (100, 10)
    assert [offer.id for offer in found.kept if not offer.seen] == [1000 - n for n in range(90)]
    assert max(offer.id for offer in replayed) - min(offer.id for offer in replayed) > 100
    assert found == selected(offers, rule)
    later = selected([Offer("new", id=1001), *offers], rule)
    assert {offer.id for offer in later.kept if offer.seen} != {offer.id for offer in replayed}
    without = selected(offers, rule.model_copy(update={"replay_share": 0.0}))
    assert not [offer for offer in without.kept if offer.seen]


def test_what_is_too_old_comes_in_as_replay_alone() -> None:
    """Beside thirty fresh ones ten old ones, a quarter of all; never one that was not learned."""
    rule = RULE.model_copy(update={"max_age_days": 1.0, "replay_share": 0.25})
    fresh = [Offer(f"u{n}", id=500 - n, at=NOW) for n in range(30)]
    old = [Offer(f"o{n}", id=400 - n, at=NOW - 9 * DAY, seen=n % 2 == 0) for n in range(100)]
    found = selection.selected([*fresh, *old], rule, now=NOW)
    assert Counter(offer.seen for offer in found.kept) == {False: 30, True: 10}
    assert all(offer.at == NOW or offer.seen for offer in found.kept)
    assert found.left_out == {Reason.STALE: 90}


OFFERS = st.lists(
    st.builds(
        Offer,
        contributor=st.sampled_from("abcdef"),
        at=st.sampled_from([NOW, NOW - 9 * DAY]),
        topic=st.sampled_from(["", "x", "y", "z"]),
        sketch=st.lists(st.sampled_from("123456789"), max_size=2, unique=True).map(tuple),
        seen=st.booleans(),
    ),
    max_size=80,
).map(lambda found: [replace(offer, id=len(found) - n) for n, offer in enumerate(found)])
RULES = st.builds(
    CurationRule,
    max_source_pairs=st.integers(1, 10),
    max_source_fair=st.sampled_from([0.5, 2.0]),
    max_alike=st.integers(1, 4),
    max_age_days=st.none() | st.just(1.0),
    mix=st.none()
    | st.builds(
        TopicMix,
        tag=st.just("topic"),
        most=st.sampled_from([0.1, 0.5, 1.0]),
        shares=st.dictionaries(st.sampled_from(["x", "y"]), st.sampled_from([0.0, 0.2, 0.6])),
    ),
    replay_share=st.sampled_from([0.0, 0.1, 0.5]),
    max_pairs=st.integers(1, 60),
)


@given(OFFERS, RULES)
def test_every_rule_holds_of_the_result(offers: list[Offer], rule: CurationRule) -> None:
    """Whatever the mixture, and what is left out is counted to the last."""
    found = selection.selected(offers, rule, now=NOW)
    kept = found.kept
    assert len(kept) + sum(found.left_out.values()) == len(offers)
    assert [offer.id for offer in kept] == sorted((offer.id for offer in kept), reverse=True)
    assert len(kept) <= rule.max_pairs
    assert max(Counter(n for offer in kept for n in offer.sketch).values(), default=0) <= rule.max_alike
    assert max(of(found).values(), default=0) <= rule.max_source_pairs
    stale = [offer for offer in kept if rule.max_age_days and offer.at < NOW]
    assert all(offer.seen for offer in stale)
    assert len(stale) <= rule.replay_share / (1 - rule.replay_share) * len(offers) + 1e-9
    if rule.mix is not None:
        topics = Counter(offer.topic for offer in kept)
        shares = {topic: rule.mix.shares.get(topic, rule.mix.most) for topic in topics}
        whole = min(1.0, sum(shares.values()))
        for topic, count in topics.items():
            assert shares[topic] > 0
            assert count <= max(1, shares[topic] / whole * len(kept) + 1e-6)
