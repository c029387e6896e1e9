"""What is summed up over the seeds of the soak of methods, and what breaks its bounds."""

import pytest

from daemon.demo.world import customers
from policies.policy import Splits
from tests.soak.bounds import BoundsBrokenError, within
from tests.soak.methods import METHODS, SEEDS, Seed, bounds, summed
from tests.soak.methods_seed import of_train

GOOD = {"dpo": 0.5, "ppo": 0.4, "sft": 0.3, "kto": 0.3}


def seed(**changes: float) -> Seed:
    """A seed in which every method does well, but for what is changed."""
    found = {"before": 0.17}
    for method in METHODS:
        found |= {method: GOOD[method], f"{method}_kl": 3.0, f"{method}_cpu_s": 20.0}
    return found | changes


def test_medians_least_gain_and_how_many_stay_near() -> None:
    """One seed far off moves no median, and is in the least gain and in the largest KL."""
    figures = summed([*[seed()] * 9, seed(ppo=0.2, ppo_kl=11.0)])
    assert figures["method_before"] == 0.17
    assert figures["method_ppo"] == 0.4
    assert figures["method_ppo_least_gain"] == pytest.approx(0.03)
    assert (figures["method_ppo_near"], figures["method_ppo_most_kl"]) == (9.0, 11.0)
    assert within(figures, bounds(SEEDS)) == figures


@pytest.mark.parametrize(
    ("bad", "broken"),
    [
        ([seed(dpo=0.44)] * 10, "method_dpo "),
        ([seed(ppo=0.34)] * 10, "method_ppo "),
        ([seed(ppo=0.16), *[seed()] * 9], "method_ppo_least_gain"),
        ([seed(dpo_kl=10.1)] * 2 + [seed()] * 8, "method_dpo_near"),
        ([seed(ppo_kl=10.1)] * 2 + [seed()] * 8, "method_ppo_near"),
    ],
    ids=["dpo", "ppo", "one below its start", "dpo far off", "ppo far off"],
)
def test_a_bound_that_is_broken_is_named(bad: list[Seed], broken: str) -> None:
    """And no other one."""
    with pytest.raises(BoundsBrokenError, match=broken) as caught:
        within(summed(bad), bounds(SEEDS))
    assert len(caught.value.broken) == 1


def test_only_prompts_of_the_train_split_teach() -> None:
    """Seven in ten of the customers, and the same ones whoever asks."""
    found = of_train(customers(0)[:400], Splits())
    assert 240 < len(found) < 320
    assert not of_train(found, Splits(train=0, calibrate=0, audit=0, gate=1))
