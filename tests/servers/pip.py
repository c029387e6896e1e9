"""The pip that fetches what tests need beyond the lock file."""

import shutil
import subprocess
import sys
from pathlib import Path


def command() -> list[str] | None:
    """Our interpreter's pip; that of the one it was made from where a virtual environment has none."""
    for python in (sys.executable, str(Path(sys.base_prefix) / "bin" / "python3"), shutil.which("pip3")):
        if python is None:
            continue
        found = [python] if python.endswith("pip3") else [python, "-m", "pip"]
        if subprocess.run([*found, "--version"], capture_output=True, check=False).returncode == 0:
            return found
    return None
