"""Logging: constant event names with fields, JSON for machines and plain text for a terminal.

Prompt and answer bodies are never logged above debug. structlog is loaded with the first line that is logged:
it brings a terminal's colours along, and most commands that only look say nothing.
"""

import logging
import sys
import threading
from collections.abc import Callable
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import structlog

Style = Literal["auto", "json", "console"]


class _Setup:
    """What this process was told of its log, until the first line takes it up."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: Callable[[], None] | None = None

    def ask(self, work: Callable[[], None]) -> None:
        self._asked = work

    def done(self) -> None:
        """Does what was asked, once. Whoever comes meanwhile waits: no line is written in another style."""
        if self._asked is None:
            return
        with self._lock:
            if self._asked is not None:
                self._asked()
                self._asked = None


SETUP = _Setup()


class Logger:
    """A logger that says which room speaks. It takes up what `configure` sets, also after it was made."""

    def __init__(self, **fields: Any) -> None:
        self._fields = fields

    def bind(self, **fields: Any) -> "Logger":
        """Returns one that says these fields with each event, too."""
        return Logger(**self._fields, **fields)

    def debug(self, event: str, **fields: Any) -> None:
        self._lines.debug(event, **fields)

    def info(self, event: str, **fields: Any) -> None:
        self._lines.info(event, **fields)

    def warning(self, event: str, **fields: Any) -> None:
        self._lines.warning(event, **fields)

    def error(self, event: str, **fields: Any) -> None:
        self._lines.error(event, **fields)

    def critical(self, event: str, **fields: Any) -> None:
        self._lines.critical(event, **fields)

    @property
    def _lines(self) -> "structlog.typing.FilteringBoundLogger":
        SETUP.done()
        return self._structured

    @cached_property
    def _structured(self) -> "structlog.typing.FilteringBoundLogger":
        import structlog

        found: structlog.typing.FilteringBoundLogger = structlog.get_logger(**self._fields)
        return found


def get(room: str) -> Logger:
    """A logger for the room."""
    return Logger(room=room)


def configure(level: str, style: Style) -> None:
    """Sets up the log of this process, on stderr. Called once, by the command."""
    SETUP.ask(partial(_structured, level, style))
    quiet_kafka()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(name)s %(levelname)s %(message)s")


def _structured(level: str, style: Style) -> None:
    import structlog

    console = style == "console" or (style == "auto" and sys.stderr.isatty())
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer(sort_keys=True)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )


def quiet_kafka() -> None:
    """Keeps kafka-python's log out of ours: an outage is many lines there, and one of ours.

    Only the Kafka source listens to `kafka.net.manager`: it alone says why no broker was reached.
    """
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    manager = logging.getLogger("kafka.net.manager")
    manager.setLevel(logging.WARNING)
    manager.propagate = False
    if not manager.handlers:
        manager.addHandler(logging.NullHandler())  # else logging's last resort would print the lines
