"""When records that no decoder knows mean the wrong decoder, and not some bad records."""

from collections import deque

WINDOW = 1000
"""Records over which the share of unknown ones is taken."""
IN_A_ROW = 50
"""So many unknown records in a row mean the wrong decoder."""


class Unknowns:
    """Counts the records of one source that no decoder knows.

    A record that some decoder knows and refuses is none of them, and neither is one that is skipped: those
    say nothing against the decoder, and the world can send any number of them at any time.
    """

    def __init__(self, ratio: float) -> None:
        self._most = ratio * WINDOW
        self._window: deque[bool] = deque(maxlen=WINDOW)
        self._found = 0
        self._row = 0
        self._open = False

    @property
    def accepted(self) -> bool:
        """Whether the run of unknown records under way was accepted."""
        return self._open

    def accept(self) -> None:
        """Passes everything until a known record comes, and then begins to count anew."""
        self._open = True

    def suspect(self) -> None:
        """Takes the next unknown record for one too many: a stop that nobody has decided about stands."""
        self._row = IN_A_ROW - 1

    def passed(self, *, unknown: bool) -> bool:
        """Counts one record; True when there are too many unknown ones by now."""
        if self._open and unknown:
            return False
        if self._open:
            self._open, self._row, self._found = False, 0, 0
            self._window.clear()
        if len(self._window) == WINDOW:
            self._found -= self._window[0]
        self._window.append(unknown)
        self._found += unknown
        self._row = self._row + 1 if unknown else 0
        return self._found > self._most or self._row >= IN_A_ROW

    @property
    def in_a_row(self) -> bool:
        """Whether it is the run that is too long, and not the share too large."""
        return self._row >= IN_A_ROW

    def __str__(self) -> str:
        if self.in_a_row:
            return f"{self._row} records in a row"
        return f"{self._found} of the last {len(self._window)} records"
