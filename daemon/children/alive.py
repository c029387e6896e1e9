"""Whether a process that was noted down still lives."""

import os
from pathlib import Path

SLACK_S = 2.0
"""The kernel tells its boot in whole seconds."""


def another_lives(pid: int, since: float) -> bool:
    """Whether a process other than this one, which had the number at `since` (seconds since the epoch), is
    there still. One that ended and was not reaped is not.

    Numbers are given out again, and in a container every daemon has the same one.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    fields = stat.rpartition(")")[2].split()
    return pid != os.getpid() and fields[0] not in "ZX" and _started_at(int(fields[19])) <= since + SLACK_S


def _started_at(ticks: int) -> float:
    """Seconds since the epoch of a time in clock ticks since boot; 0 where the boot's time is not told."""
    kernel = Path("/proc/stat").read_text(encoding="ascii", errors="replace")
    boot = next((line.split()[1] for line in kernel.splitlines() if line.startswith("btime ")), None)
    return 0.0 if boot is None else int(boot) + ticks / os.sysconf("SC_CLK_TCK")
