"""`check --live` tries what the configuration points to, and says of each by its key whether it works."""

from pathlib import Path

import pytest

from daemon.wiring.live import Tried, tried
from daemon.wiring.parts import Wiring
from tests.daemon.configuration import TEXT, settings
from tests.servers.judge import JudgeServer

PRICE = "price: {input_per_million: 100, output_per_million: 100}, daily_budget_usd: 5"


def found(directory: Path, text: str) -> dict[str, Tried]:
    return {each.key: each for each in tried(settings(directory, text))}


def test_everything_that_answers_is_said_to(tmp_path: Path) -> None:
    """A judge by its verdict and what it cost, which is booked on its budget."""
    with JudgeServer() as server:
        text = TEXT.replace("http://127.0.0.1:1/v1", server.url).replace("api_key: k", f"api_key: k, {PRICE}")
        all_of_it = found(tmp_path, text)
        assert len(server.seen) == 3
    assert [key for key, each in all_of_it.items() if not each.ok] == []
    assert list(all_of_it) == [
        "store.url", "sources.0", "judges.small", "judges.large", "judges.gate", "targets.0",
    ]  # fmt: skip
    assert "small-judge gave a verdict for 0." in all_of_it["judges.small"].said
    assert "serves the base model" in all_of_it["targets.0"].said
    parts = Wiring(settings(tmp_path, text))
    spent = [parts.budget.spent_today(judge) for judge in parts.named]
    parts.close()
    assert all(each.settled > 0 for each in spent)
    assert all(each.total == each.settled for each in spent)


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        ("unauthorized", "HTTP 401: unauthorized"),
        ("unknown_model", "/chat/completions: 404: "),
        ("garbage", "no verdict can be read"),
        ("error", "HTTP 500"),
    ],
)
def test_a_judge_that_cannot_judge_is_told(tmp_path: Path, behaviour: str, said: str) -> None:
    """And keeps nothing else from being tried."""
    with JudgeServer(script=lambda seen: behaviour if seen.number == 0 else "good") as server:  # type: ignore[arg-type, return-value]
        all_of_it = found(tmp_path, TEXT.replace("http://127.0.0.1:1/v1", server.url))
    assert not all_of_it["judges.small"].ok
    assert said in all_of_it["judges.small"].said
    assert all_of_it["judges.large"].ok
    assert all_of_it["judges.gate"].ok


def test_an_empty_budget_asks_nobody(tmp_path: Path) -> None:
    """What a budget refuses is refused here too."""
    with JudgeServer() as server:
        text = TEXT.replace("http://127.0.0.1:1/v1", server.url)
        text = text.replace("api_key: k", f"api_key: k, {PRICE.replace('usd: 5', 'usd: 0.0001')}")
        all_of_it = found(tmp_path, text)
        assert server.seen == []
    assert "US dollars spent or reserved today" in all_of_it["judges.gate"].said


def test_without_a_store_no_judge_is_paid(tmp_path: Path) -> None:
    """Its call could not be booked. A broker that is not there is told beside it."""
    broker = "bootstrap_servers: '127.0.0.1:1', topics: [t], bootstrap_timeout_s: 0.5"
    kafka = f"  - {{type: kafka, name: k, {broker}}}\n"
    with JudgeServer() as server:
        text = TEXT.replace("http://127.0.0.1:1/v1", server.url).replace("policy:\n", f"{kafka}policy:\n", 1)
        text = text.replace(
            "state_dir: state\n", "state_dir: state\nstore: {url: 'sqlite:////proc/none/r.db'}\n"
        )
        all_of_it = found(tmp_path, text)
        assert server.seen == []
    assert not all_of_it["store.url"].ok
    assert "not asked: without a store" in all_of_it["judges.small"].said
    assert "kafka 127.0.0.1:1: not reached" in all_of_it["sources.1"].said
    assert all_of_it["sources.0"].ok


def test_the_endpoint_of_the_served_policy_is_asked(tmp_path: Path) -> None:
    """One plain question; a server that is not there is told as such."""
    sampling = "  sampling: {type: openai, base_url: 'http://127.0.0.1:1/v1', model: agent}\n"
    all_of_it = found(tmp_path, TEXT.replace("  base_model: base\n", f"  base_model: base\n{sampling}"))
    assert not all_of_it["policy.sampling"].ok
    assert "http://127.0.0.1:1/v1: cannot be reached" in all_of_it["policy.sampling"].said
