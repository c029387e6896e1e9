"""How a child tells what it is doing: one JSON object a line in a file, never standard output.

Libraries print to standard output whatever they like; that goes to the log. A reader may follow the file
while it grows: every line is written with one call and ends with a newline.
"""

import math
import time
from pathlib import Path
from typing import Self

from policies.training.jobs import Event, Progress


class Reporter:
    """Appends progress to a file. Values that are not finite are left out and named in the note."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        self._start = time.monotonic()
        self.ready = False
        """Whether the job has said that its work begins."""

    def report(
        self,
        event: Event,
        *,
        step: int = 0,
        steps: int = 0,
        metrics: dict[str, float] | None = None,
        note: str = "",
    ) -> None:
        """Writes one line."""
        self.ready = self.ready or event == "ready"
        finite = {name: value for name, value in (metrics or {}).items() if math.isfinite(value)}
        dropped = sorted(set(metrics or {}) - set(finite))
        if dropped:
            note = f"{note} not finite: {', '.join(dropped)}".strip()
        line = Progress(
            event=event,
            elapsed_s=round(time.monotonic() - self._start, 3),
            step=step,
            steps=steps,
            metrics=finite,
            note=note,
        )
        self._file.write(line.model_dump_json().encode() + b"\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
