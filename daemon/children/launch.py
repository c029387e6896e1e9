"""A training's processes, started by torchrun or by accelerate.

The launcher is the child that the daemon watches; the processes are its own children. Both hold the daemon's
pipe as their standard input, and Linux kills a process whose parent dies (`policies.training.child`): neither
a killed daemon nor a killed launcher leaves one behind. Where one of them ends badly the launcher ends all.
"""

import re
import sys
from collections.abc import Sequence

from policies.launch import Launch

REPORT = re.compile(
    r"Root Cause \(first observed failure\):.*?rank +: (\d+).*?exitcode +: (-?\d+)", re.DOTALL
)
TRACEBACK = "Traceback (most recent call last):"
LAUNCHERS_LINE = re.compile(r"[WEI]\d{4} \d\d:\d\d:\d\d\.\d+ \d+ torch/distributed/")


def launched(command: Sequence[str], launch: Launch) -> list[str]:
    """The command, in as many processes as are asked for; one is started as it is."""
    if launch.processes == 1:
        return list(command)
    if launch.config_file is not None:
        by = ["accelerate.commands.launch", "--config_file", str(launch.config_file),
              "--num_processes", str(launch.processes), "--no_python"]  # fmt: skip
    else:
        by = ["torch.distributed.run", "--standalone", "--nproc_per_node", str(launch.processes),
              "--max-restarts", "0", "--no-python"]  # fmt: skip
    return [sys.executable, "-P", "-m", *by, *command]


def blamed(log: str) -> tuple[int, int] | None:
    """The first process that ended badly and its exit code (of a signal: below 0), as the launcher's report
    at the log's end has it; None: there is no report.
    """
    found = REPORT.findall(log)
    return (int(found[-1][0]), int(found[-1][1])) if found else None


def said(log: str) -> str:
    """The log without the launcher's own lines: what the processes said."""
    own, _, report = log.rpartition(TRACEBACK)
    text = own if REPORT.search(report) else log
    return "\n".join(line for line in text.splitlines() if not LAUNCHERS_LINE.match(line))
