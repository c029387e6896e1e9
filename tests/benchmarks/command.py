"""How long commands that only look take beside what they cannot do without, and what the idle daemon keeps in
memory.
"""

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from daemon.wiring.parts import Wiring
from tests.daemon.configuration import settings, write

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
        **looking(command),
        "help_seconds": statistics.median(helps),
        "help_vs_python_ratio": statistics.median(helps) / statistics.median(bare),
        "idle_daemon_resident_mb": idle_resident_mb(),
    }


def looking(command: str) -> dict[str, float]:
    """`rlaifd status` and `rlaifd adapters` on a small store, in seconds and beside an interpreter that
    imports the database layer and the command line's: in turns, so that a busy machine slows them alike, and
    compiled before, as an installed command is.
    """
    with tempfile.TemporaryDirectory() as directory:
        parts = Wiring(settings(Path(directory)))
        parts.prepare_store()
        parts.close()
        config = str(Path(directory) / "rlaifd.yaml")
        layers = [sys.executable, "-c", "import sqlalchemy, sqlmodel, typer"]
        looks = {name: [command, name, "-c", config] for name in ("status", "adapters")}
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": f"{directory}/compiled"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for each in (layers, *looks.values()):
            _seconds(each, environment)
        bare: list[float] = []
        taken: dict[str, list[float]] = {name: [] for name in looks}
        for _ in range(ROUNDS):
            bare.append(_seconds(layers, environment))
            for name, seconds in taken.items():
                seconds.append(_seconds(looks[name], environment))
    least = statistics.median(bare)
    found = {name: statistics.median(seconds) for name, seconds in taken.items()}
    return {
        **{f"{name}_seconds": seconds for name, seconds in found.items()},
        **{f"{name}_vs_sqlalchemy_ratio": seconds / least for name, seconds in found.items()},
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


def _seconds(command: list[str], environment: Mapping[str, str] | None = None) -> float:
    start = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, env=environment, check=True)
    return time.perf_counter() - start
