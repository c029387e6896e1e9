"""How a source's events are taken in."""

from dataclasses import dataclass, field

from policies.agentversion import Rule
from policies.policy import Splits
from policies.redaction import Redaction
from policies.spans import JoinRule


@dataclass(frozen=True, slots=True)
class IntakeRule:
    """What holds for all events of a source.

    `batch_records` and `batch_s` bound a batch: it is stored when it is full or that old. A source of which
    more than `dead_letter_ratio` are in no known format is stopped. `versions` is by what the agent's
    versions are told apart, `join` when a trace of parts is complete, and `keep` the share of the traces
    that are kept. `redaction` takes out of all that is stored what it finds.
    """

    splits: Splits
    batch_records: int = 500
    batch_s: float = 0.1
    dead_letter_ratio: float = 0.05
    versions: Rule = "auto"
    join: JoinRule = field(default_factory=JoinRule)
    keep: float = 1.0
    redaction: Redaction = field(default_factory=lambda: Redaction(()))
