"""Whether a consumer works, and if not, why: told until it works again, and tried again ever more slowly."""

from time import monotonic, time

from connectors.errors import ConnectorError, FatalError, TransientError

RETRY_S = 1.0
LONGEST_RETRY_S = 15.0
FATAL_RETRY_S = 30.0
"""What only a person can mend is tried again too: rights can be granted while this runs."""
WELL_S = 10.0
"""So long must all be well, or a record come, until such a trouble is over."""
JOIN_S = 5.0
"""Longer than this to be let into the group is worth telling."""


class Health:
    """One source's troubles. Its owner holds the lock under which it is used by more than one thread."""

    def __init__(self, where: str, group: str) -> None:
        self._where, self._group = where, group
        self._attempts = 0
        self._well_since: float | None = None
        self.joined = False
        """Whether the group has let this member in, ever."""
        self.well_at: float | None = None
        """When all was well last, in seconds since the epoch; None: not yet."""
        self.trouble: ConnectorError | None = None
        """What keeps this from working, until it works."""

    @property
    def hopeless(self) -> bool:
        """Whether nothing comes before something else happens: so it can be told at once."""
        return self.trouble is not None and not self.joined

    def patience(self, timeout_s: float) -> float:
        """How long to wait for a record: a little longer until the group was joined for the first time, so
        that whoever asks learns whether this works.
        """
        return timeout_s if self.joined else max(timeout_s, JOIN_S)

    def explain(self) -> None:
        """Nothing came: raises why, where there is a reason."""
        if self.trouble is not None:
            raise self.trouble
        if not self.joined:
            raise TransientError(f"{self._where}: not in group {self._group!r} yet after {JOIN_S:g} s")

    def failed(self, trouble: ConnectorError) -> None:
        """Something went wrong. What a person must mend is not covered by what may pass."""
        if not isinstance(self.trouble, FatalError):
            self.trouble = trouble

    def polled(self, *, well: bool, received: bool) -> None:
        """A poll ended. If all is well, a trouble is over, and one that needed a person after a while."""
        now = monotonic()
        if not well:
            self._well_since = None
            return
        self._well_since = now if self._well_since is None else self._well_since
        self.joined, self._attempts, self.well_at = True, 0, time()
        surely = received or now - self._well_since >= WELL_S
        if surely or not isinstance(self.trouble, FatalError):
            self.trouble = None

    def pause(self) -> float:
        """How long to wait before connecting again: longer each time in a row."""
        if isinstance(self.trouble, FatalError):
            return FATAL_RETRY_S
        self._attempts += 1
        return min(LONGEST_RETRY_S, RETRY_S * 2.0 ** min(self._attempts - 1, 8))
