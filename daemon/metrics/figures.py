"""What a gate attempt measured, as gauges."""

from collections.abc import Mapping
from typing import Any

from daemon.metrics.registry import Metrics


def show_figures(metrics: Metrics, evidence: Mapping[str, Any]) -> None:
    """Sets the gauges of entropy and KL to an attempt's figures; what was not measured is not touched."""
    gauges = (
        (metrics.entropy.labels("challenger"), "entropy_candidate_nats"),
        (metrics.entropy.labels("stable"), "entropy_stable_nats"),
        (metrics.kl, "kl_token_nats"),
    )
    for gauge, name in gauges:
        value = figure_of(evidence, name)
        if value is not None:
            gauge.set(value)


def figure_of(evidence: Mapping[str, Any], name: str) -> float | None:
    """Returns what was measured under that name; None where nothing was. JSON has no NaN: it may be text."""
    value = evidence.get(name)
    return None if value is None else float(value)
