"""What every test may use, and the guard against a shadowed package."""

import gc
import importlib.util
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from daemon.clock import FakeClock
from daemon.log import SETUP

pytest_plugins = (
    "tests.servers.instrumented",
    "tests.servers.kafka",
    "tests.servers.postgres",
    "tests.servers.realmodel",
    "tests.servers.vendors",
    "tests.stores",
    "tests.tiny",
)

ROOT = Path(__file__).resolve().parent.parent


def pytest_configure(config: pytest.Config) -> None:
    """Stops when another distribution's `daemon` hides ours."""
    del config
    spec = importlib.util.find_spec("daemon")
    if spec is None or spec.origin is None or Path(spec.origin).resolve().parent.parent != ROOT:
        raise pytest.UsageError(
            f"`daemon` is shadowed by {spec.origin if spec else 'nothing'}: uninstall python-daemon"
        )
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    gc.disable()  # until all is collected: what imports and parameters make stays


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Where only the tests that run alone are asked for, files without one are not imported."""
    only = config.getoption("markexpr") == "alone" and collection_path.name.startswith("test_")
    return True if only and "mark.alone" not in collection_path.read_text(encoding="utf-8") else None


def pytest_collection_finish() -> None:
    """What is there by now is looked through no more."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Undoes what a command set up: its log goes to the standard error of one test, which is closed after
    it.
    """
    before = list(logging.getLogger().handlers)
    yield
    SETUP.done()
    structlog.reset_defaults()
    for handler in set(logging.getLogger().handlers) - set(before):
        logging.getLogger().removeHandler(handler)


@pytest.fixture
def clock() -> FakeClock:
    """A clock that the test moves."""
    return FakeClock()
