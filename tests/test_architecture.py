"""The rooms keep their distance."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEAVY = {"torch", "transformers", "trl", "peft", "datasets", "accelerate", "safetensors", "tokenizers"}


def loaded_by(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter has loaded after a statement."""
    code = f"{statement}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_command_loads_no_torch() -> None:
    """`import daemon.cli` and all commands load nothing of the training stack."""
    assert not loaded_by("import daemon.cli, daemon.cli.app") & HEAVY


def test_the_wired_daemon_loads_no_torch() -> None:
    """Nor does everything the daemon itself is built from."""
    assert (
        not loaded_by("import daemon.wiring.parts, daemon.service.service, daemon.stages.train.trainer")
        & HEAVY
    )


def test_help_loads_no_database_and_no_sdk() -> None:
    """Help stays instant because nothing heavy is imported for it."""
    loaded = loaded_by("import daemon.cli.app")
    assert not loaded & (
        HEAVY | {"sqlalchemy", "openai", "anthropic", "kafka", "fastapi", "pydantic_settings"}
    )


def test_imports_point_one_way() -> None:
    """Daemon → connectors → policies, and torch only in policies.training."""
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
