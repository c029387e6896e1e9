"""What the play came to: the summary for scripts, the report and the table."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from daemon.demo import report
from daemon.demo.outcome import DemoOutcome
from daemon.demo.table import show
from daemon.demo.watcher import Attempt, Ranker

GOOD = Attempt("shop-agent-1", "promote", ("win rate 0.7",), None, 0.7, 0.6, 0.8, 1.5, 0.4, 0.5)
FLIPPED = Attempt(
    "shop-flipped-2", "reject", ("win rate: 0.2 is below 0.5",), None, 0.2, 0.1, 0.3, 0.8, 0.5, 0.5
)
UNANCHORED = Attempt(
    "shop-unanchored-3",
    "reject",
    ("KL: 60.0 nats per sequence is above the ceiling of 10",),
    None,
    0.55,
    0.4,
    0.6,
    60.0,
    1.9,
    0.5,
)
ALIGNED = {"ratio": 0.9, "lower": 0.85, "upper": 0.95, "labels": 120, "coverage": 0.8, "length_baseline": 0.7}


@pytest.fixture
def outcome() -> DemoOutcome:
    return DemoOutcome(
        seed=1,
        simulated=("the customers", "the judges", "the reviewer"),
        customers_before=[0.0, 0.2, 0.4],
        customers_after=[0.4, 0.5, 0.6],
        rewards_before=[1.0, 3.0],
        rewards_after=[6.0, 8.0],
        promoted="shop-agent-1",
        attempts=[FLIPPED, GOOD, UNANCHORED],
        rolled_back=True,
        customers_rolled_back=[0.2],
        labels_decided=160,
        alignment={"small": dict(ALIGNED), "gate": dict(ALIGNED)},
        seconds=99.5,
    )


def test_nothing_is_missing_when_all_of_it_happened(outcome: DemoOutcome, tmp_path: Path) -> None:
    """The summary has every key that scripts read."""
    outcome.write(tmp_path / "summary.json")
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert outcome.missing() == summary["missing"] == []
    assert summary["customer_before"] == pytest.approx(0.2)
    assert summary["customer_after"] == pytest.approx(0.5)
    assert summary["reward_before"] == 2.0
    assert summary["reward_after"] == 7.0
    assert summary["promoted"] == "shop-agent-1"
    assert [each["adapter"] for each in summary["refused"]] == ["shop-flipped-2", "shop-unanchored-3"]
    assert summary["refused"][1]["reasons"] == list(UNANCHORED.reasons)
    assert summary["rolled_back"] is True
    assert summary["alignment"]["gate"]["ratio"] == 0.9
    assert summary["seconds"] == 99.5


def test_whatever_did_not_happen_is_said(outcome: DemoOutcome) -> None:
    """Each thing that the demo is to show is checked by itself."""
    outcome.customers_after = [0.39]
    assert "did not double" in outcome.missing()[0]
    outcome.customers_after = [0.5]
    outcome.rolled_back = False
    assert outcome.missing() == ["the rollback was not served"]
    outcome.rolled_back = True
    outcome.labels_decided = 149
    assert "149 decided labels" in outcome.missing()[0]
    assert "no adapter was promoted" in DemoOutcome(seed=0, simulated=()).missing()


@pytest.mark.parametrize(
    "attempt",
    [
        replace(FLIPPED, decision="hold"),
        replace(FLIPPED, reasons=("KL: 12.0 nats per sequence is above the ceiling of 10",)),
        replace(FLIPPED, reasons=("win rate undecided: 0.5",)),
    ],
)
def test_a_refusal_for_another_reason_does_not_count(outcome: DemoOutcome, attempt: Attempt) -> None:
    """The flipped adapter must be rejected, and by its win rate."""
    outcome.attempts = [attempt, GOOD, UNANCHORED]
    assert outcome.missing() == ["the adapter shop-flipped was not rejected by its win rate"]


def test_by_ppo_a_reward_model_must_have_been_released(outcome: DemoOutcome, tmp_path: Path) -> None:
    """Why it was not is said; one that was is in summary, report and table."""
    held = Ranker("shop-agent-reward-1", "hold", ("labels: 12 of 50, 38 are missing",), 12)
    outcome.method, outcome.reward_models = "ppo", [held]
    assert outcome.missing() == [
        "shop-agent-reward-1: hold: labels: 12 of 50, 38 are missing",
        "no reward model was released",
    ]
    assert "by PPO against" not in report.page(outcome)
    outcome.reward_models = [Ranker("shop-agent-reward-2", "release", ("agreement 0.9",), 180), held]
    assert outcome.missing() == []
    assert outcome.summary()["reward_models"][0]["labels"] == 180
    assert "by PPO against <code>shop-agent-reward-2</code>, which 180 labels" in report.page(outcome)
    console = Console(record=True, width=120)
    show(outcome, tmp_path, console)
    assert "shop-agent-reward-2 release: agreement 0.9" in console.export_text()


class _Well(HTMLParser):
    """Collects what the page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = dict(attrs)
        outside = names.get("src") or (names.get("href") if tag in {"link", "image"} else None)
        if outside or tag == "script":
            self.fetched.append(f"{tag} {outside}")


def test_the_report_needs_nothing_but_itself(outcome: DemoOutcome) -> None:
    """No script, no request; pictures are inside, in the page's own colours; it says what is simulated."""
    page = report.page(outcome)
    parser = _Well()
    parser.feed(page)
    assert parser.fetched == []
    assert "url(http" not in page
    assert page.count("<svg") == 5
    assert "var(--after)" in page
    assert "prefers-color-scheme: dark" in page
    assert "the judges" in page
    assert not re.search(r"#0a0b0\d|#010203", page)


def test_texts_in_the_report_are_escaped(outcome: DemoOutcome) -> None:
    """A reason or a name with markup in it stays a text."""
    outcome.attempts = [replace(GOOD, adapter="<b>x</b>-1", reasons=("<script>alert(1)</script>",))]
    outcome.failure = "<img src=x>"
    page = report.page(outcome)
    assert "<script" not in page
    assert "<b>x</b>" not in page
    assert "<img" not in page
    assert "&lt;script&gt;" in page


def test_a_play_that_broke_off_still_has_a_report_and_a_table(tmp_path: Path) -> None:
    """With what is missing instead of figures."""
    outcome = DemoOutcome(seed=0, simulated=("the judges",), failure="the agent ended unexpectedly")
    assert "the agent ended unexpectedly" in report.page(outcome)
    console = Console(record=True, width=120)
    show(outcome, tmp_path, console)
    assert "not shown" in console.export_text()


def test_the_table_shows_scores_gate_and_alignment(outcome: DemoOutcome, tmp_path: Path) -> None:
    """What a person wants to see at the end."""
    console = Console(record=True, width=160)
    show(outcome, tmp_path, console)
    text = console.export_text()
    for shown in ("2.50 times", "shop-unanchored-3", "60.0", "0.850", "served the base model again"):
        assert shown in text
