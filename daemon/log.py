"""Logging: constant event names with fields, JSON for machines and plain text for a terminal.

Prompt and answer bodies are never logged above debug.
"""

import logging
import sys
from typing import Literal

import structlog


def configure(level: str, style: Literal["auto", "json", "console"]) -> None:
    """Sets up structlog for this process, on stderr. Called once, by the command."""
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
    quiet_kafka()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(name)s %(levelname)s %(message)s")


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


Logger = structlog.typing.FilteringBoundLogger


def get(room: str) -> Logger:
    """A logger that says which room speaks. It takes up what `configure` sets, also after it was made."""
    logger: Logger = structlog.get_logger(room=room)
    return logger
