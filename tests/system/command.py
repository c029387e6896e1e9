"""The installed command, as a person or a script runs it."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

RLAIFD = Path(sys.executable).with_name("rlaifd")


@dataclass(frozen=True)
class Done:
    """How a command ended. `said` is its last line on stderr."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        lines = self.err.strip().splitlines()
        return lines[-1] if lines else ""


def rlaifd(*arguments: str | Path, cwd: Path) -> Done:
    """Runs one command to its end."""
    done = subprocess.run(
        [str(RLAIFD), *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=600, check=False
    )
    return Done(done.returncode, done.stdout, done.stderr)
