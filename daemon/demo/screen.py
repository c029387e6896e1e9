"""What the demo shows while it runs: progress bars on a terminal, plain lines elsewhere."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


class Screen:
    """A context: bars live inside it. Plain output says when a phase begins and when it ends."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()
        self._started = time.monotonic()
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._open: dict[str, int] = {}
        self._done: set[str] = set()

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._bars = Progress(
                TextColumn("{task.description:<44}"),
                BarColumn(bar_width=28),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                console=self.console,
            )
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del kind, error, trace
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    @property
    def seconds(self) -> float:
        """Since the screen was made."""
        return time.monotonic() - self._started

    def say(self, text: str) -> None:
        """One line with the time."""
        self.console.print(f"[dim]{self.seconds:6.1f} s[/]  ", end="")
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def progress(self, name: str, done: int, total: int) -> None:
        """How far a phase is. It is finished when `done` reaches `total`."""
        finished = done >= total
        if self._bars is not None:
            if name not in self._tasks:
                self._tasks[name] = self._bars.add_task(name, total=total)
            self._bars.update(self._tasks[name], completed=min(done, total), total=total)
            return
        if name not in self._open and not finished:
            self.say(f"{name} …")
        self._open[name] = total
        if finished and name not in self._done:
            self._done.add(name)
            self.say(f"{name}: {total}")
