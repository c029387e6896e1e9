"""What `rlaifd check` says to expect."""

from pathlib import Path

import pytest

from daemon.checks import check
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
