"""What `rlaifd check` says to expect."""

from pathlib import Path

import pytest

from daemon.checks import check
from daemon.errors import ConfigError
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
