"""What is missing is one line a requirement, and the same object for programs."""

import json
from pathlib import Path
from typing import Any

import pytest

from daemon.config.settings import Settings
from daemon.status.readiness import as_object, lines, of_labels
from daemon.web.page import sections
from policies.alignment import Labelled, alignment
from policies.records import Role, Split
from policies.stock import Stock, Traffic
from tests.daemon.configuration import TEXT, settings
from tests.judges import BENCH

LITTLE = Stock(
    traffic=Traffic(events=30, fresh=30, contributors=30, once=30),
    prompts={Split.TRAIN: 21, Split.AUDIT: 2, Split.GATE: 6},
    uncurated=21,
    possible=(6, 6),
    unlabelled=8,
)


@pytest.fixture
def configured(tmp_path: Path) -> Settings:
    return settings(tmp_path)


def test_each_requirement_is_a_line_with_what_it_takes(configured: Settings) -> None:
    """The whole first, then have, need, missing and events of each, then what would be sooner."""
    text = lines(as_object(LITTLE, configured, BENCH))
    assert text[0] == (
        "to the gate  about 217 more events (130 to 367 in nine of ten cases), and people's labels; "
        "the audit prompts take longest"
    )
    assert (
        text[1].strip().startswith("30 of the newest 30 events brought a new prompt; every train prompt is")
    )
    assert [line[:23].strip() for line in text[2:]] == [
        "train prompts",
        "preferences",
        "new preferences",
        "audit prompts",
        *(f"labels: {role.value} judge" for role in Role),
        "gate prompts",
        "sooner     with polic",
    ]
    assert (
        "  gate prompts         6 of 40: 34 missing, about 169 more events (130 to 235); policy.gate"
        in text[-2]
    )
    assert "0 of 50: 50 missing, about 214 more events" in text[6]
    assert text[6].endswith("; 8 pairs wait for people")
    assert "policy.splits {train: 0." in text[-1]
    assert "and policy.judging.review_pairs 6: about " in text[-1]


def test_the_object_is_json_and_a_page(configured: Settings) -> None:
    """The page shows it as two tables, without a value that only a program reads."""
    state = as_object(LITTLE, configured, BENCH)
    assert json.loads(json.dumps(state)) == state
    whole, rows = sections(state)
    assert (whole.title, rows.title) == ("forecast", "readiness")
    assert rows.columns[:4] == ("requirement", "have", "need", "missing")
    assert len(rows.rows) == len(state["readiness"])
    assert ("events", "about: 217, least: 130, most: 367") in whole.rows


def test_without_a_schedule_nobody_waits_for_new_preferences(tmp_path: Path) -> None:
    """`training.interval_s: null`: only people begin a training."""
    text = TEXT.replace("web: {port: 0}", "web: {port: 0}\ntraining: {interval_s: null}")
    rows = as_object(LITTLE, settings(tmp_path, text), BENCH)["readiness"]
    assert "new preferences" not in {row["requirement"] for row in rows}


def enough(agreed: int, asked: int, **changes: Any) -> Stock:
    """A store with all the prompts and preferences, and labels with which so many verdicts agree."""
    pairs = [Labelled(f"c{n}", "a" if n < agreed else "b", ("a",), 1, 2) for n in range(asked)]
    measured = alignment(pairs, limit=0.8, min_labels=50, window=200)
    return Stock(
        traffic=LITTLE.traffic,
        prompts={Split.TRAIN: 300, Split.AUDIT: 60, Split.GATE: 60},
        curated=300,
        gave=300,
        stored=300,
        kept=300,
        fresh=300,
        possible=(6,) * 60,
        labelled=asked,
        settled=asked,
        alignment=dict.fromkeys(BENCH, measured),
        **changes,
    )


@pytest.mark.parametrize(
    ("stock", "said"),
    [
        (enough(60, 60), "nothing is missing: a training and the gate have what they ask for"),
        (
            enough(20, 20, unlabelled=99),
            "no more events are needed: people's labels are (labels: small judge: ",
        ),
        (
            enough(20, 20, unsampled=99),
            "no more events are needed: the stages' work is (labels: small judge: ",
        ),
        (enough(30, 60), "no number of events is enough: labels: small judge: people agree with 50.0% of 60"),
    ],
    ids=["nothing", "people", "stages", "change"],
)
def test_what_no_event_brings_is_said(configured: Settings, stock: Stock, said: str) -> None:
    """Whose turn it is then."""
    assert as_object(stock, configured, BENCH)["forecast"]["said"].startswith(said)


@pytest.mark.parametrize(
    ("stock", "change", "said"),
    [
        (
            Stock(),
            None,
            "no audit prompt is stored: policy.splits.audit gives 5% of the new prompts to people",
        ),
        (
            Stock(prompts={Split.AUDIT: 3}, unsampled=3),
            None,
            "3 audit event(s) wait to be sampled and compared",
        ),
        (Stock(prompts={Split.AUDIT: 3}), None, "the answers to the audit prompts are not compared yet"),
        (
            Stock(prompts={Split.AUDIT: 3}, possible=(0,) * 3),
            None,
            "3 audit events have no two answers that differ",
        ),
        (Stock(), "  sampling: {type: child, candidates: 0}\n", "policy.sampling.candidates is 0"),
    ],
    ids=["prompts", "sampling", "comparing", "alike", "alone"],
)
def test_an_empty_export_says_why(tmp_path: Path, stock: Stock, change: str | None, said: str) -> None:
    """In its first line, before what the labels lack."""
    text = TEXT.replace("  base_model: base\n", f"  base_model: base\n{change or ''}")
    first, *more = of_labels(stock, settings(tmp_path, text), BENCH, exported=0)
    assert first.startswith("no pair to label: ")
    assert said in first
    assert any(line.strip().startswith("labels: gate judge") for line in more)


def test_an_export_of_enough_pairs_says_nothing_more(configured: Settings) -> None:
    """Of few it says what the rest takes."""
    assert of_labels(enough(20, 20, unlabelled=99), configured, BENCH, exported=99) == []
    few = of_labels(LITTLE, configured, BENCH, exported=8)
    assert [line[:23].strip() for line in few] == [
        "audit prompts",
        *(f"labels: {r.value} judge" for r in Role),
    ]
