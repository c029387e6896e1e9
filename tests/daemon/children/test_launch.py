"""How several processes are started, and what is read from the launcher's report."""

import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from daemon.children.launch import blamed, launched, said
from policies.launch import Launch

COMMAND = ["python", "-m", "job"]
REPORTED = """ValueError: no such layer
E1127 23:18:53.603000 14584 torch/distributed/elastic/multiprocessing/api.py:1002] failed (exitcode: -9)
Traceback (most recent call last):
  File "run.py", line 1032, in <module>
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
Failures:
[1]:
  rank      : 0 (local_rank: 0)
  exitcode  : 1 (pid: 14597)
------------------------------------------------------------
Root Cause (first observed failure):
[0]:
  time      : 2026-11-27_23:18:53
  rank      : 1 (local_rank: 1)
  exitcode  : -9 (pid: 14598)
"""


def test_one_process_is_started_as_it_is() -> None:
    """No launcher stands between it and the daemon."""
    assert launched(COMMAND, Launch()) == COMMAND


def test_several_are_started_by_torchrun_or_by_accelerate() -> None:
    """The command is at the end, as it is; accelerate reads its own file."""
    by_torchrun = launched(COMMAND, Launch(processes=2))
    assert by_torchrun[:4] == [sys.executable, "-P", "-m", "torch.distributed.run"]
    assert by_torchrun[by_torchrun.index("--nproc_per_node") + 1] == "2"
    by_accelerate = launched(COMMAND, Launch(processes=2, config_file=Path("/etc/multi.yaml")))
    assert by_accelerate[:6] == [
        sys.executable, "-P", "-m", "accelerate.commands.launch", "--config_file", "/etc/multi.yaml",
    ]  # fmt: skip
    assert by_torchrun[-3:] == by_accelerate[-3:] == COMMAND


def test_a_file_that_nobody_would_read_is_refused() -> None:
    """One process has no launcher: the line says which key to set."""
    with pytest.raises(ValidationError, match="set processes, or leave it away"):
        Launch(config_file=Path("multi.yaml"))


def test_the_process_that_ended_first_is_blamed_and_quoted() -> None:
    """The launcher's own complaint is not what the processes said."""
    assert blamed(REPORTED) == (1, -9)
    assert said(REPORTED).split() == ["ValueError:", "no", "such", "layer"]
    crash = "Traceback (most recent call last):\nValueError: no such layer"
    assert blamed(crash) is None
    assert said(crash) == crash
