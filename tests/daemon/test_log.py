"""Loggers."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_a_logger_made_before_the_configuration_obeys_it() -> None:
    """Modules make their loggers when they are imported; nothing of theirs may reach stdout or be lost."""
    code = (
        "from daemon import log\n"
        "early = log.get('early')\n"
        "log.configure('info', 'json')\n"
        "early.debug('too_low')\n"
        "early.info('it_happened', count=2)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == ""
    line = json.loads(done.stderr)
    assert (line["event"], line["room"], line["count"]) == ("it_happened", "early", 2)
