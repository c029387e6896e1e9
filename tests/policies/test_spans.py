"""Spans: when the trace that they are parts of is complete, and what tells one from another."""

from typing import Any

import pytest

from policies.spans import Complete, JoinRule, OpenTrace, Span

RULE = JoinRule(settle_s=5.0, quiet_s=30.0, oldest_s=600.0)


def span(name: str, parent: str | None = None, **more: Any) -> Span:
    given = {"trace_id": "t", "source": "s", "ts": 1.0, **more}
    return Span(span_id=name, parent_id=parent, **given)


@pytest.mark.parametrize(
    ("first_at", "last_at", "root_ended", "right"),
    [
        (990.0, 995.0, True, Complete.ROOT_ENDED),
        (990.0, 996.0, True, None),
        (990.0, 971.0, False, None),
        (900.0, 970.0, False, Complete.QUIET),
        (400.0, 999.0, False, Complete.TOO_OLD),
        (401.0, 999.0, False, None),
    ],
)
def test_completeness(first_at: float, last_at: float, root_ended: bool, right: Complete | None) -> None:
    """The root has ended and all is settled, or it is quiet for long enough, or it is open for too long."""
    assert RULE.complete(OpenTrace(first_at, last_at, root_ended), 1000.0) is right


def test_a_root_that_has_not_ended_ends_nothing() -> None:
    """Nor does a span that has, within another, or what was logged of one."""
    assert span("root", ended_at=2.0).ends_trace
    assert not span("root").ends_trace
    assert not span("call", "root", ended_at=2.0).ends_trace
    assert not span("root", part="details", ended_at=2.0).ends_trace


def test_the_digest_is_of_what_a_span_says() -> None:
    """Not of who delivered it."""
    assert span("a").digest == span("a", source="other").digest
    assert span("a").digest != span("a", ended_at=2.0).digest
