"""What can happen is said once: metrics show every word of it, and rules know no other."""

import re
from enum import StrEnum

import pytest
from prometheus_client import Counter, Gauge

from daemon.metrics.registry import Metrics
from policies.gate.decision import DecisionKind
from policies.records import Scope
from policies.rollout import ChangeKind, ConditionKind, RefusalKind
from policies.states import AlertResult, AnswerEnding, CallOutcome, HaltSource, PromptOutcome, RecordOutcome
from tests.deploy.test_observability import dashboard_queries, rules

SHOWN: dict[tuple[str, str], type[StrEnum]] = {
    ("records", "outcome"): RecordOutcome,
    ("judge_calls", "outcome"): CallOutcome,
    ("answers", "ending"): AnswerEnding,
    ("sampling_prompts", "outcome"): PromptOutcome,
    ("halts", "source"): HaltSource,
    ("halts", "scope"): Scope,
    ("halt_active", "scope"): Scope,
    ("alerts", "result"): AlertResult,
    ("gate_decisions", "decision"): DecisionKind,
    ("promotions", "kind"): ChangeKind,
    ("rollout_refused", "reason"): RefusalKind,
    ("rollout_condition", "condition"): ConditionKind,
}
"""By the attribute of `Metrics` and a label: what the label's values are."""


@pytest.fixture(scope="module")
def metrics() -> Metrics:
    made = Metrics()
    made.prepare(sources=("agent",), judges=())
    return made


@pytest.mark.parametrize(("name", "label"), [key for key in SHOWN if key[0] != "judge_calls"])
def test_every_word_has_its_series(metrics: Metrics, name: str, label: str) -> None:
    """From the start, so that the first time it happens is seen; and there are no others."""
    metric: Counter | Gauge = getattr(metrics, name)
    samples = [sample for family in metric.collect() for sample in family.samples]
    assert {sample.labels[label] for sample in samples} == set(SHOWN[name, label])


def test_rules_and_dashboard_name_only_words_that_there_are(metrics: Metrics) -> None:
    """A word that was renamed would silence its alert without a trace."""
    names = {f"rlaifd_{_name(metrics, name)}": name for name, _ in SHOWN}
    named = 0
    for query in [rule["expr"] for rule in rules()] + dashboard_queries():
        for sample, matchers in re.findall(r"\b(rlaifd_\w+)\{([^}]*)\}", query):
            metric = names.get(sample.removesuffix("_total"))
            for label, values in re.findall(r'(\w+)\s*[=!]~?\s*"([^"]*)"', matchers):
                if metric is not None and (metric, label) in SHOWN:
                    assert set(values.split("|")) <= set(SHOWN[metric, label]), query
                    named += 1
    assert named >= 5


def _name(metrics: Metrics, attribute: str) -> str:
    (family,) = getattr(metrics, attribute).collect()
    return str(family.name).removeprefix("rlaifd_")
