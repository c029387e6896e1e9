"""Commands that only look load what they use."""

import subprocess
import sys
from pathlib import Path

import pytest

from daemon.wiring.parts import Wiring
from tests.daemon.configuration import settings

LOADED = """
import sys
from daemon.cli import main
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""
UNUSED = {
    "aiokafka", "alembic", "anthropic", "apscheduler", "fastapi", "genai_prices", "httpx", "jinja2", "kafka",
    "openai", "pyarrow", "rich", "starlette", "structlog", "torch", "transformers", "uvicorn",
    "daemon.children.child", "daemon.stages.judge", "daemon.stages.train.trainer", "daemon.web",
    "policies.training.jobs", "sqlalchemy.dialects.postgresql",
}  # fmt: skip


@pytest.mark.parametrize("command", ["status", "adapters"])
def test_a_look_loads_neither_clients_nor_what_works(tmp_path: Path, command: str) -> None:
    """No SDK, no broker's client, no scheduler, no web server, no log's colours, no other database's dialect:
    such imports are nearly all of the time that a look takes.
    """
    parts = Wiring(settings(tmp_path))
    parts.prepare_store()
    parts.close()
    done = subprocess.run(
        [sys.executable, "-c", LOADED, command, "-c", str(tmp_path / "rlaifd.yaml")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    loaded = set(done.stderr.split())
    assert "sqlmodel" in loaded
    assert not loaded & UNUSED
