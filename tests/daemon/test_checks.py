"""What `rlaifd check` says to expect."""

from pathlib import Path

import pytest

from daemon.checks import check
from daemon.cli.context import wired
from daemon.errors import ConfigError, RlaifdError
from tests.daemon.configuration import TEXT, write


@pytest.mark.parametrize(
    ("role", "expected"), [("large", "no scores are audited"), ("gate", "nothing will be promoted")]
)
def test_a_missing_judge_is_told_with_what_it_means(tmp_path: Path, role: str, expected: str) -> None:
    """Only the gate's judge keeps every adapter from being promoted."""
    text = "\n".join(line for line in TEXT.splitlines() if not line.startswith(f"  {role}:")) + "\n"

    notes = check(write(tmp_path, text.replace("claude", "other")))["notes"]

    (note,) = [note for note in notes if "is not configured" in note]
    assert note.startswith(f"judges.{role} is not configured: {expected}")


@pytest.mark.parametrize(
    ("was", "now", "said"),
    [
        ("path: logs", "path: rlaifd.yaml", "sources.0.path: .*rlaifd.yaml is not a directory"),
        ("path: logs", "path: logs, decoder: zzz", "sources.0.decoder: unknown decoder 'zzz'"),
        ("state_dir: state", "state_dir: rlaifd.yaml", "state_dir: .*rlaifd.yaml is not a directory"),
        ("state_dir: state", 'store: {url: "mysql://u@h/db"}', "store.url is not a database URL"),
        (", api_key: k}\n  large", "}\n  large", None),
        ('base_url: "http://127.0.0.1:1/v1", api_key: k}\n  large', "}\n  large", "judges.small: no key"),
        (
            "api_key: k}\n  large",
            "api_key: k, daily_budget_usd: 1}\n  large",
            "judges.small.price: small-judge is",
        ),
    ],
    ids=["logs", "decoder", "state", "store", "keyless", "key", "price"],
)
def test_the_daemon_refuses_what_check_refuses(tmp_path: Path, was: str, now: str, said: str | None) -> None:
    """In the same words and with the exit code of a wrong configuration."""
    assert was in TEXT
    path = write(tmp_path, TEXT.replace(was, now))
    if said is None:
        assert check(path)["ok"]
        return
    with pytest.raises(ConfigError, match=f"^{path}: {said}"):
        check(path)
    with pytest.raises(RlaifdError, match=f"^{said}") as caught, wired(path, working=True):
        pass
    assert caught.value.exit_code == 2


ENDPOINT = '  sampling: {type: openai, base_url: "http://127.0.0.1:1/v1", model: m, api_key_file: absent}\n'
KAFKA = "  - {type: kafka, name: k, bootstrap_servers: b, topics: [t], ssl_certfile: absent}\n"
DOCUMENT = "  rubric: ./absent\n"


@pytest.mark.parametrize(
    "text",
    [
        TEXT.replace("policy:\n", KAFKA + "policy:\n"),
        TEXT.replace("  base_model: base\n", "  base_model: base\n" + DOCUMENT),
        TEXT.replace("  base_model: base\n", "  base_model: base\n" + ENDPOINT),
    ],
    ids=["certificate", "rubric", "key"],
)
def test_a_file_that_is_missing_is_named(tmp_path: Path, text: str) -> None:
    """With the path it was looked for under: beside the configuration."""
    with pytest.raises(ConfigError, match=f"{tmp_path}/absent: No such file"):
        check(write(tmp_path, text))
