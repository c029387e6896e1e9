"""One round of asking: its questions, and what they share while it lasts."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from connectors.errors import FatalError
from daemon.stages.judge.call_rows import Answer
from daemon.stages.judge.group_commit import GroupCommit
from daemon.stages.judge.reservations import Purse


@dataclass(frozen=True, slots=True)
class Question:
    """One thing to ask. `order` is '' for a score, AB or BA for a comparison."""

    judgement_id: int
    kind: str
    order: str
    text: str
    nonce: str
    digest: str
    sample: int = 0
    temperature: float | None = 0.0
    logprobs: bool = False


@dataclass
class Sitting:
    """One round of work: what it may still use, and what it shares. Lives on one event loop."""

    commits: GroupCommit
    purse: Purse
    expires_at: float
    check: Callable[[], Awaitable[None]]
    """Raises when no further call may be made."""
    stored: dict[str, dict[str, Any]] = field(default_factory=dict)
    under_way: dict[str, asyncio.Task[Answer]] = field(default_factory=dict)
    stopped: FatalError | None = None
    """Set when a call showed that no further one can succeed."""
    failure: str = ""
    """The last passing error that put a judgement back."""
    settling: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while it is found out whether a refusal is the item's."""
