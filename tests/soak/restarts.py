"""A broker that is killed twenty times, and a database that is stopped at once as often, under one daemon.

Nothing is lost or counted twice, and the daemon goes on by itself: soon after the database is back, and
within a minute after the broker.
"""

from typing import Final

from tests.soak import servers
from tests.soak.bounds import Figures, within
from tests.soak.chaos import limits, shuffled, wreck
from tests.soak.scene import Fault, Plan

TIMES: Final = 20
DATABASE_TO_RECORD_S: Final = 10.0
BROKER_TO_RECORD_S: Final = 60.0
"""On a quiet machine."""
PLAN: Final = Plan(shuffled({Fault.BROKER: TIMES, Fault.DATABASE: TIMES}))


def run() -> Figures:
    """What was lost, doubled, left open, and how long it took to go on. Raises BoundsBrokenError."""
    with servers.started() as own:
        found = wreck(own, PLAN)
    bounds = limits(PLAN) | {
        "database_to_record_s": (0.0, DATABASE_TO_RECORD_S),
        "broker_to_record_s": (0.0, BROKER_TO_RECORD_S),
    }
    figures = {f"restarts_{name}": value for name, value in found.items()}
    return within(figures, {f"restarts_{name}": bound for name, bound in bounds.items()})
