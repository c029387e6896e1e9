"""The daemon's commands as the programme runs them, and what is refused before anything starts."""

from pathlib import Path

import pytest

from tests.daemon.configuration import write
from tests.learning import commands
from tests.learning.__main__ import main
from tests.learning.commands import LearnError


def test_a_command_answers_its_last_line_and_what_it_took(tmp_path: Path) -> None:
    """Exit code, output, last line, seconds and megabytes; its log is kept."""
    done = commands.must("status", config=write(tmp_path))
    assert done.said == done.out.strip().splitlines()[-1].strip()
    assert done.seconds > 0
    assert 20 < done.peak_mb < 4000
    assert (tmp_path / "log" / "status.log").exists()


def test_a_command_that_fails_ends_the_programme_with_its_words(tmp_path: Path) -> None:
    """The command, its exit code and its last line on stderr."""
    with pytest.raises(LearnError, match=r"rlaifd check ended with 2: .*rlaifd\.yaml"):
        commands.must("check", config=tmp_path / "rlaifd.yaml")


def test_an_unknown_method_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2, and the methods that there are."""
    assert main(["--method", "rlhf"]) == 2
    assert capsys.readouterr().err == "no method 'rlhf': there are dpo, sft, ppo\n"
