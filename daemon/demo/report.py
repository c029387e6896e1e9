"""report.html."""

from pathlib import Path

from daemon.demo.outcome import Outcome


def write(outcome: Outcome, path: Path) -> None:
    path.write_text("todo")
