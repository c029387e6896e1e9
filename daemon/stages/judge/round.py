"""What the judgements in hand share: one sitting for all of them, one docket for those claimed together."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from connectors.errors import FatalError
from daemon.stages.judge.call_rows import ReadAnswer
from daemon.stages.judge.group_commit import GroupCommit
from daemon.stages.judge.reservations import Purse


@dataclass(frozen=True, slots=True)
class JudgeQuestion:
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
    """What all work of one judge shares while any of it is in hand. Lives on one event loop."""

    commits: GroupCommit
    purse: Purse
    check: Callable[[], Awaitable[None]]
    """Raises when no further call may be made."""
    stopped: FatalError | None = None
    """Set when a call showed that no further one can succeed."""
    settling: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while it is found out whether a refusal is the item's."""
    _under_way: dict[str, asyncio.Task[ReadAnswer]] = field(default_factory=dict)

    def under_way(self, key: str) -> asyncio.Task[ReadAnswer] | None:
        """The same question where it is being asked, or was answered since the last `forget`."""
        return self._under_way.get(key)

    def begin(self, key: str, task: asyncio.Task[ReadAnswer]) -> None:
        """The question is asked by this task. One that fails may be asked again at once."""
        self._under_way[key] = task
        task.add_done_callback(lambda ended: self._drop_failed(key, ended))

    def forget(self) -> None:
        """Lets go of what is answered: call it right before a look at the stored answers, which has it."""
        self._under_way = {key: task for key, task in self._under_way.items() if not task.done()}

    def _drop_failed(self, key: str, ended: asyncio.Task[ReadAnswer]) -> None:
        if (ended.cancelled() or ended.exception() is not None) and self._under_way.get(key) is ended:
            del self._under_way[key]


@dataclass(frozen=True, slots=True)
class Docket:
    """Judgements that were claimed together: until when, and what is stored of the answers to their
    questions, by reuse key.
    """

    sitting: Sitting
    expires_at: float
    stored: Mapping[str, dict[str, Any]]
