"""The rates at which traffic brings what is missing, and what the caps on one contributor let in."""

from itertools import product

import pytest

from policies.policy import ChildSampling, CurationRule, PolicySpec, Splits
from policies.records import Split
from policies.selection import Offer, selected
from policies.stock import Stock, Traffic, attainable
from policies.waits import known

SPEC = PolicySpec(name="test", family="tiny", base_model="base")


def test_without_traffic_every_event_is_taken_to_be_new() -> None:
    """The shares are then the chances, without doubt."""
    chances = Traffic().chances(Splits())
    assert chances == {Split.TRAIN: known(0.7), Split.AUDIT: known(0.05), Split.GATE: known(0.2)}


def test_a_repeated_prompt_stays_in_its_split_and_the_gate_asks_it_once() -> None:
    """Half of the events repeat a prompt, four of five of those one for training."""
    traffic = Traffic(events=100, fresh=50, repeats={Split.TRAIN: 40, Split.GATE: 10})
    chances = traffic.chances(Splits(train=0.4, calibrate=0.0, audit=0.2, gate=0.4))
    assert chances[Split.TRAIN].estimate == pytest.approx(0.5 * 0.4 + 0.5 * 0.8)
    assert chances[Split.AUDIT].estimate == pytest.approx(0.5 * 0.2)
    assert chances[Split.GATE].estimate == pytest.approx(0.5 * 0.4)
    for rate in chances.values():
        assert rate.lower < rate.estimate < rate.upper


def test_a_share_is_what_gives_its_chance() -> None:
    """The one is the inverse of the other, where repeats do not bring it all."""
    traffic = Traffic(events=100, fresh=50, repeats={Split.TRAIN: 40, Split.GATE: 10})
    splits = Splits(train=0.4, calibrate=0.0, audit=0.2, gate=0.4)
    for split, rate in traffic.chances(splits).items():
        assert traffic.share_for(split, rate.estimate) == pytest.approx(getattr(splits, split.value))
    assert traffic.share_for(Split.TRAIN, 0.3) == 0.0
    assert Traffic(events=9, fresh=0, repeats={Split.GATE: 9}).share_for(Split.GATE, 0.1) > 1


def test_pairs_of_a_prompt_are_those_that_differ_up_to_the_limit() -> None:
    """Counted anew when the limit changes; the configured answers stand for those that nobody sampled yet."""
    seen = Stock(possible=(6, 3, 0))
    assert seen.pairs_per_prompt(SPEC, 4) == pytest.approx((4 + 3 + 0) / 3)
    assert seen.pairs_per_prompt(SPEC, 6) == pytest.approx((6 + 3 + 0) / 3)
    assert Stock().pairs_per_prompt(SPEC, 4) == 4
    two = SPEC.model_copy(update={"sampling": ChildSampling(candidates=1)})
    assert Stock().pairs_per_prompt(two, 4) == 1


@pytest.mark.parametrize(
    ("contributors", "share", "most", "fair"),
    list(product((1, 5, 300), (0.0025, 0.02, 1.0), (1, 10), (0.5, 2.0))),
)
def test_what_is_attainable_is_what_the_caps_let_in(
    contributors: int, share: float, most: int, fair: float
) -> None:
    """However much each of them gives."""
    rule = CurationRule(max_source_share=share, max_source_pairs=most, max_source_fair=fair)
    giving = [Offer(str(number)) for number in range(contributors) for _ in range(30)]
    assert attainable(contributors, rule) == len(selected(giving, rule, now=0.0).kept)


def test_further_preferences_need_further_contributors_once_the_known_ones_are_full() -> None:
    """Of a hundred events thirty come from somebody who is there once: so many more are of somebody new."""
    traffic = Traffic(events=100, fresh=100, contributors=50, once=30)
    rule = CurationRule()
    assert Stock(traffic=traffic, kept=20).room(480, rule) == known(1.0)
    assert Stock(traffic=traffic, kept=20).room(481, rule).estimate == 0.3
    assert Stock().room(64, rule) == known(1.0)
