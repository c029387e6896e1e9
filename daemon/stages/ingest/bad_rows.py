"""One bad row must not hold up the others: a batch the database refuses is halved until it is found."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from sqlalchemy import Connection
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, StatementError

from connectors.errors import DecodeError
from connectors.events import Found
from daemon.store.store import Store, StoreError
from daemon.store.traces import Arrival, Counts, store_batch
from policies.agentversion import Rule
from policies.feedback import FeedbackEvent
from policies.policy import Splits
from policies.records import Trace, canonical
from policies.spans import Span

Refused = Callable[[Found, Arrival], str | None]
"""Why the database refuses an event when it comes alone; None: it does not."""


class _Undo(Exception):  # noqa: N818 - carries no error: it ends a trial without leaving a trace
    pass


def store_isolated(
    store: Store,
    *,
    source: str,
    arrivals: Sequence[Arrival],
    splits: Splits,
    now: float,
    versions: Rule = "auto",
    keep: float = 1.0,
) -> Counts:
    """Stores a batch; what the database refuses becomes a dead letter with the database's reason.

    Raises whatever is not the data's fault (a lost database, a full disk) with nothing of the batch lost:
    halves that are stored stay stored, and storing them again changes nothing.
    """

    def work(connection: Connection, part: Sequence[Arrival]) -> Counts:
        return store_batch(
            connection, source=source, arrivals=part, splits=splits, now=now, versions=versions, keep=keep
        )

    def attempt(part: Sequence[Arrival]) -> Counts:
        return store.write(lambda c: work(c, part))

    def isolate(part: Sequence[Arrival]) -> Counts:
        try:
            return attempt(part)
        except Exception as error:
            if not of_the_data(error):
                raise
            if len(part) == 1:
                return attempt([_without(part[0], refused, reason(error))])
        middle = len(part) // 2
        return isolate(part[:middle]) + isolate(part[middle:])

    def refused(outcome: Found, whole: Arrival) -> str | None:
        alone = replace(whole, outcomes=(outcome,))
        return _trial(store, lambda c: work(c, [alone]))

    return isolate(arrivals)


def _trial(store: Store, work: Callable[[Connection], object]) -> str | None:
    """Why the database refuses this work; None where it does not. Leaves no trace either way."""

    def undone(connection: Connection) -> None:
        work(connection)
        raise _Undo

    try:
        store.write(undone)
    except _Undo:
        return None
    except Exception as error:
        if not of_the_data(error):
            raise
        return reason(error)
    return None


def _without(arrival: Arrival, refused: Refused, otherwise: str) -> Arrival:
    """The arrival with its refused events as dead letters; all of them where none is refused alone."""
    reasons = [refused(outcome, arrival) for outcome in arrival.outcomes]
    if not any(reasons):
        reasons = [otherwise] * len(reasons)
    outcomes = (
        outcome if why is None else DecodeError(f"the store refused it: {why}", _body(outcome))
        for outcome, why in zip(arrival.outcomes, reasons, strict=True)
    )
    return replace(arrival, outcomes=tuple(outcomes))


def of_the_data(error: Exception) -> bool:
    """Whether a write failed because of the row, so that trying again cannot help."""
    error = _cause(error)
    if isinstance(error, DBAPIError):
        state = getattr(error.orig, "sqlstate", None)
        if state is not None:  # data, constraint, a limit of the program (an index entry that is too long)
            return state[:2] in {"22", "23", "54"} and state != "23505"
        return isinstance(error, DataError | IntegrityError)
    return isinstance(error, StatementError | ValueError | OverflowError | TypeError)


def _cause(error: Exception) -> Exception:
    """The driver's error behind the store's line."""
    below = error.__cause__
    return below if isinstance(error, StoreError) and isinstance(below, DBAPIError) else error


def reason(error: Exception) -> str:
    """The database's first line, without the statement and its parameters: they are a stranger's text."""
    error = _cause(error)
    cause = error.orig if isinstance(error, StatementError) and error.orig is not None else error
    return (str(cause).splitlines() or [type(cause).__name__])[0][:300]


def _body(outcome: Found) -> bytes | None:
    if isinstance(outcome, Trace | FeedbackEvent | Span):
        return canonical(outcome.model_dump(mode="json"))
    return outcome.body if isinstance(outcome, DecodeError) else None
