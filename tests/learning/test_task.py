"""The world of the task: enough different customers, the same ones for a seed."""

import itertools

from policies.clusters import cluster_of
from tests.learning.task import REQUESTS, requests


def test_a_seed_gives_its_customers() -> None:
    """The same again and again, and others for another seed."""
    first, again, other = (list(itertools.islice(requests(seed), 50)) for seed in (1, 1, 2))
    assert first == again
    assert not set(first) & set(other)


def test_no_prompt_is_anybody_elses() -> None:
    """Each request is a cluster of its own, names its order once, and speaks of its item."""
    drawn = list(itertools.islice(requests(3), 600))
    assert len({cluster_of(request.prompt) for request in drawn}) == len(drawn)
    assert all(request.text.count(request.order) == 1 and request.item in request.text for request in drawn)


def test_every_stretch_has_every_topic() -> None:
    """Topics take turns: held-out requests are of the same kinds as those that were logged."""
    drawn = list(itertools.islice(requests(4), 10 * len(REQUESTS)))
    for start in range(0, len(drawn), len(REQUESTS)):
        assert {request.topic for request in drawn[start : start + len(REQUESTS)]} == set(REQUESTS)
