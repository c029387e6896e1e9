"""What judges cost: said once where it is not known and somebody may send a bill."""

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from daemon.errors import ConfigError
from daemon.wiring.parts import Wiring
from daemon.wiring.pricing import tariffs, uncounted
from tests.daemon.configuration import TEXT, settings
from tests.daemon.stages.judge.court import FREE, config


@pytest.mark.parametrize(
    ("base_url", "matters"),
    [
        ("http://127.0.0.1:8000/v1", False),
        ("http://localhost:8000/v1", False),
        ("http://[::1]:8000/v1", False),
        ("https://judge.example/v1", True),
        ("http://127.0.0.1.example/v1", True),
        ("http://[::1/v1", True),
        (None, True),
    ],
)
def test_an_unknown_price_matters_where_somebody_else_serves(base_url: str | None, *, matters: bool) -> None:
    """A server on loopback sends no bill; an address that cannot be read is no loopback."""
    judges = {"small": config(model="own", price=None, base_url=base_url)}
    assert uncounted(judges, tariffs(judges)) == (("small",) if matters else ())


def test_a_written_price_is_a_price() -> None:
    """Also 0; and under a budget an unknown one is refused, wherever the judge is."""
    free = {"small": config(model="own", price=FREE, base_url="https://judge.example/v1")}
    assert uncounted(free, tariffs(free)) == ()
    with pytest.raises(ConfigError, match=r"judges\.small\.price"):
        tariffs({"small": config(model="own", price=None, base_url="http://[::1]/v1", daily_budget_usd=1)})


def test_it_is_said_once_a_process(tmp_path: Path) -> None:
    """However often the stage is built, of those judges alone whose price matters."""
    text = TEXT.replace('base_url: "http://127.0.0.1:1/v1"', 'base_url: "https://judge.example/v1"', 1)
    parts = Wiring(settings(tmp_path, text))
    with capture_logs() as logged:
        for _ in range(3):
            assert parts.judge_stage
            asyncio.run(parts.close_judges())
    said = [each for each in logged if each["event"] == "judge_price_unknown"]
    assert [(each["judge"], each["counted_as_usd"]) for each in said] == [("small", 0)]
    parts.close()
