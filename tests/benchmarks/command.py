"""How long help takes beside a bare interpreter, and what the idle daemon keeps in memory."""

import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.daemon.configuration import write

ROUNDS = 7
SETTLE_S = 10.0


def run() -> dict[str, float]:
    """Medians in seconds, their ratio, and resident megabytes."""
    command = str(Path(sys.executable).with_name("rlaifd"))
    helps, bare = [], []
    for _ in range(ROUNDS):
        helps.append(_seconds([command, "--help"]))
        bare.append(_seconds([sys.executable, "-c", "pass"]))
    return {
        "help_seconds": statistics.median(helps),
        "help_vs_python_ratio": statistics.median(helps) / statistics.median(bare),
        "idle_daemon_resident_mb": idle_resident_mb(),
    }


def idle_resident_mb() -> float:
    """Resident memory of `rlaifd run` with one provider configured and nothing to do."""
    with tempfile.TemporaryDirectory() as directory:
        config = write(Path(directory))
        command = [str(Path(sys.executable).with_name("rlaifd")), "run", "-c", str(config)]
        daemon = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            time.sleep(SETTLE_S)
            status = Path(f"/proc/{daemon.pid}/status").read_text(encoding="utf-8")
        finally:
            daemon.send_signal(signal.SIGTERM)
            daemon.wait(60)
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


def _seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start
