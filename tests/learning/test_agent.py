"""The agent's logs are ordinary logs, and the base model's held-out answers are made once."""

import itertools
import json
import shutil
from pathlib import Path

import pytest

from connectors.decoders.detect import Decoders
from policies.records import Message, Sampled, Trace, text_of
from tests.learning.agent import Agent, logged
from tests.learning.task import requests
from tests.servers import realmodel

ASKED = list(itertools.islice(requests(2), 6))


def test_logged_answers_are_read_back() -> None:
    """The daemon's decoder finds prompt, answer, customer and whether it was cut off."""
    answers = [
        Sampled(messages=(Message(role="assistant", content=f"answer {number}"),), truncated=number == 1)
        for number in range(len(ASKED))
    ]
    for number, line in enumerate(logged(ASKED, answers)):
        (trace,) = Decoders("auto").decode(json.dumps(line).encode(), source="agent", timestamp=None)
        assert isinstance(trace, Trace)
        assert trace.messages == ASKED[number].prompt
        assert text_of(trace.output) == f"answer {number}"
        assert trace.subject == f"customer-{number:05d}"
        assert trace.tags["finish_reason"] == ("length" if number == 1 else "stop")


@pytest.mark.training
def test_the_base_models_answers_are_kept_by_seed(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked again, no child is started; another seed, or another model, asks anew."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    base = shutil.copytree(tiny_model, tmp_path / "base")
    digests = base / realmodel.DIGESTS
    digests.write_text(json.dumps(realmodel.digests(base)))
    agent = Agent(base, tmp_path / "jobs", max_new_tokens=4)
    told: list[int] = []

    def answers(name: str, seed: int) -> tuple[Sampled, ...]:
        return agent.base_answers(name, ASKED, seed=seed, tell=lambda done, _total: told.append(done))

    first = answers("first", 1)
    assert len(first) == len(ASKED)
    assert told[-1] == len(ASKED)
    assert answers("again", 1) == first
    assert not (tmp_path / "jobs" / "again").exists()
    assert answers("other", 2) != first
    digests.write_text("{}")
    answers("another model", 1)
    assert (tmp_path / "jobs" / "another model").exists()
