"""What the store remembers of prompts that the policy's process died on (`policies/trials.py`)."""

from collections.abc import Sequence
from typing import cast

from sqlalchemy import Connection, Table, inspect, update

from daemon.store.candidates import StoredPrompt, storable
from daemon.store.tables import TraceRow
from policies.trials import noted

TRACE = cast(Table, inspect(TraceRow).local_table)


def begin(connection: Connection, prompts: Sequence[StoredPrompt]) -> None:
    """Notes a batch before it is given to the policy: the death of this process leaves its mark as well."""
    for trial in {prompt.trial for prompt in prompts}:
        ids = [prompt.trace_id for prompt in prompts if prompt.trial == trial]
        _set(connection, ids, noted(trial, len(prompts)))


def restore(connection: Connection, prompts: Sequence[StoredPrompt]) -> None:
    """Takes the note back: what went wrong was not the prompts'."""
    for trial in {prompt.trial for prompt in prompts}:
        _set(connection, [prompt.trace_id for prompt in prompts if prompt.trial == trial], trial)


def acquit(connection: Connection, prompts: Sequence[StoredPrompt]) -> None:
    """These prompts were answered."""
    _set(connection, [prompt.trace_id for prompt in prompts], None)


def acquit_all(connection: Connection) -> None:
    """The policy's process dies on anything: no prompt is suspected any more."""
    connection.execute(update(TRACE).where(TRACE.c.trial.is_not(None)).values(trial=None))


def set_aside(connection: Connection, prompt: StoredPrompt, *, reason: str, now: float) -> bool:
    """Closes a prompt without answers, for good. False: it was answered in the meantime."""
    closing = update(TRACE).where(TRACE.c.id == prompt.trace_id, TRACE.c.sampled_at.is_(None))
    values = {"sampled_at": now, "refused": storable(reason), "trial": None}
    return connection.execute(closing.values(values)).rowcount == 1


def _set(connection: Connection, ids: Sequence[int], trial: int | None) -> None:
    connection.execute(update(TRACE).where(TRACE.c.id.in_(ids)).values(trial=trial))
