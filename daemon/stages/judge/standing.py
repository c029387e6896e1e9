"""How a judge stands: whether its calls get through and its answers can be read at all.

What every call gets is not an item's fault and must not cost the queue. So a judge that has not answered yet
is given one judgement, and all others only once it has; and a few answers in a row that hold no judgement
stop it.
"""

import math

from connectors.errors import FatalError
from policies.judging.prompts import Case, Turn

MOST_UNFIT = 5
"""Served answers in a row without a judgement in them that stop a judge."""
MOST_GARBLED = 20
"""Questions in a row to which there was text, twice, and no judgement in it, that stop a judge."""
REST_S = 60.0
LONGEST_REST_S = 3600.0
"""How long a judge whose answers cost money and are of no use is left alone: twice as long each time."""

PLAIN = (Turn("user", "Hello. What can you do for me?"),)
PLAIN_ANSWERS = ("I can answer questions about our products.", "Questions.")

Shape = tuple[str, bool]
"""What requests have in common: the kind of the question, and whether log-probabilities are asked for."""


def plain_case(kind: str) -> Case:
    """A case at which nobody takes offence. A judge that refuses it refuses every call of that kind."""
    return Case(PLAIN, PLAIN_ANSWERS[: 1 if kind == "score" else 2])


class Standing:
    """Kept as long as the judge is. Times are monotonic seconds.

    `trusted`: it has answered since it was last stopped. `doubted`: its newest answers held no judgement.
    """

    def __init__(self) -> None:
        self.trusted = False
        self._in_a_row = 0
        self._garbled = 0
        self._answered: dict[Shape, float] = {}
        self._rests = 0
        self._rest_until = -math.inf
        self._stopped: FatalError | None = None

    @property
    def doubted(self) -> bool:
        return self._in_a_row > 0

    def answered(self, shape: Shape, started: float) -> None:
        """A call that began then was answered, whole."""
        self.accepted(shape, started)
        self.trusted = True
        self._in_a_row = 0

    def accepted(self, shape: Shape, started: float) -> None:
        """A call that began then was served: it was not refused."""
        self._answered[shape] = max(started, self._answered.get(shape, -math.inf))

    def got_through(self, shape: Shape, since: float) -> bool:
        """Whether a call of that shape which began after this moment was served."""
        return self._answered.get(shape, -math.inf) > since

    def unfit(self, line: str, now: float) -> FatalError | None:
        """An answer was served and held no judgement. The error that stops the judge after a few in a row."""
        self._in_a_row += 1
        if self._in_a_row < MOST_UNFIT:
            return None
        return self._rest(f"{line}; so with the last {self._in_a_row} answers", now)

    def garbled(self, line: str, now: float) -> FatalError | None:
        """A question was answered and asked again, and no judgement could be read."""
        self._garbled += 1
        if self._garbled < MOST_GARBLED:
            return None
        return self._rest(f"{line}; so with the last {self._garbled} questions", now)

    def understood(self) -> None:
        """A judgement was read."""
        self._garbled = self._rests = 0

    def _rest(self, line: str, now: float) -> FatalError:
        stopped = FatalError(line)
        self._rest_until = now + min(LONGEST_REST_S, REST_S * 2.0 ** min(self._rests, 10))
        self._rests += 1
        self._stopped = stopped
        self.stop()
        return stopped

    def stop(self) -> None:
        """No further call can succeed as things are."""
        self.trusted = False

    def check(self, now: float) -> None:
        """Raises what stopped the judge while it rests."""
        if self._stopped is not None and now < self._rest_until:
            raise self._stopped
