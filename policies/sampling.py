"""Which events are looked at: a hash of the event id, so that runs agree and samples nest."""

from policies.clusters import unit
from policies.records import Trace


def chosen(event_id: str, purpose: str, rate: float) -> bool:
    """True for a share `rate` of the event ids, always the same ones for a purpose.

    Samples nest: what is chosen at a rate is chosen at every higher rate. Purposes are independent.
    """
    return unit(purpose, event_id) < rate


def kept(trace: Trace, rate: float) -> bool:
    """Whether a trace is among the share that is kept of its source."""
    return rate >= 1 or chosen(trace.id, "keep", rate)
