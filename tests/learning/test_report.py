"""What counts as success, and the object that scripts read."""

import itertools
import json
from pathlib import Path
from statistics import fmean

import pytest
from rich.console import Console

from daemon.demo.watcher import Attempt
from tests.learning import report
from tests.learning.checker import check
from tests.learning.report import Outcome, paired_lower
from tests.learning.strawmen import STRAWMEN
from tests.learning.task import Request, requests

ASKED = tuple(itertools.islice(requests(9), 200))
PROMOTED = Attempt("shop-agent-0", "promote", (), None, 0.7, 0.6, 0.8, 1.5, 2.0, 2.5)
KEYS = {
    "method", "score_before", "score_after", "lower_bound", "prompts", "kl_nats", "seconds", "peak_mb",
    "recipe",
}  # fmt: skip


def scored(answers: tuple[str, ...]) -> tuple[float, ...]:
    return tuple(check(*pair).score for pair in zip(ASKED, answers, strict=True))


def outcome(before: tuple[str, ...], after: tuple[str, ...]) -> Outcome:
    return Outcome(
        method="dpo", requests=ASKED, before=before, after=after, scores_before=scored(before),
        scores_after=scored(after), attempt=PROMOTED, recipe={"learning_rate": 1e-4}, peak_mb=3000.0,
        seconds=60.0,
    )  # fmt: skip


def good(request: Request) -> str:
    return f"We are sorry; the {request.topic} of order {request.order} is arranged."


BASE = tuple(good(request) if number % 20 == 0 else "hm" for number, request in enumerate(ASKED))


def test_an_adapter_that_answers_more_often_is_better() -> None:
    """From one good answer in twenty to one in four."""
    after = tuple(good(request) if number % 4 == 0 else "hm" for number, request in enumerate(ASKED))
    assert outcome(BASE, after).failure is None


@pytest.mark.parametrize("name", sorted(STRAWMEN))
def test_no_strawman_passes_for_an_improvement(name: str) -> None:
    """A policy that always says one polite sentence, or pastes the order number into one, fails."""
    after = tuple(STRAWMEN[name](request) for request in ASKED)
    assert "not above 0" in str(outcome(BASE, after).failure)


def test_an_unchanged_policy_does_not_pass() -> None:
    """Equal answers gain nothing, and the bound is not above nothing."""
    assert outcome(BASE, BASE).lower_bound == 0.0
    assert outcome(BASE, BASE).failure is not None


def test_an_adapter_below_a_strawman_fails_though_it_gains(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gain over a base that answers nothing is not enough."""
    monkeypatch.setitem(STRAWMEN, "the answer key", good)
    after = tuple(good(request) if number % 4 == 0 else "hm" for number, request in enumerate(ASKED))
    assert "the answer key scores 1.000" in str(outcome(BASE, after).failure)


def test_the_bound_is_the_one_sided_normal_one() -> None:
    """0 and 1 in turn over 100 pairs: the mean less 1.645 standard errors."""
    after = (0.0, 1.0) * 50
    assert paired_lower((0.0,) * 100, after) == pytest.approx(0.5 - 1.64485 * (25 / 99) ** 0.5 / 10, abs=1e-4)


def test_the_summary_holds_what_scripts_read(tmp_path: Path) -> None:
    """Exactly those keys, as JSON, with the figures of the run."""
    after = tuple(good(request) for request in ASKED)
    report.write(tmp_path / "summary.json", outcome(BASE, after))
    found = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert found.keys() == KEYS
    assert found["score_before"] == pytest.approx(fmean(scored(BASE)))
    assert (found["score_after"], found["prompts"], found["kl_nats"]) == (1.0, 200, 1.5)
    assert found["lower_bound"] > 0.9


def test_the_table_shows_five_answers_before_and_after(capsys: pytest.CaptureFixture[str]) -> None:
    """Both answers of each, and which sampling they are."""
    report.show(Console(width=200), outcome(BASE, tuple(good(request) for request in ASKED)))
    out = capsys.readouterr().out
    assert out.count("\ncustomer  ") == out.count("\nbase      ") == out.count("\npromoted  ") == 5
    assert "sampled at temperature 1" in out
    assert good(ASKED[0]) in out
