"""A Python environment of its own with a client and its instrumentations, as an agent has them.

What an agent is instrumented with changes by its own versions, and cannot share ours. The environment is made
once by pip, of exact versions, and kept in the user's cache.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.requirements import missing
from tests.servers import cache, pip

PACKAGES = (
    "openai==3.57.0",
    "opentelemetry-sdk==1.45.2",
    "opentelemetry-exporter-otlp-proto-http==1.45.2",
    "opentelemetry-instrumentation-genai-openai==1.3b0",
    "openinference-instrumentation-openai==0.1.66",
)
MADE = 1
"""To be raised where the packages change: an older environment is not used any more."""
INSTALL_S = 280.0


class UnavailableError(Exception):
    """The environment cannot be had here. The message is one line and says why."""


def python() -> Path:
    """The environment's interpreter, made where it is missing. Raises UnavailableError."""
    version = ".".join(map(str, sys.version_info[:2]))
    name = f"otel-agent-{MADE}-python{version}"
    with cache.alone(name) as base:
        target = base / name
        done = target / "installed"
        if not done.exists():
            shutil.rmtree(target, ignore_errors=True)
            _install(target)
            done.touch()
    return target / "bin" / "python"


def _install(target: Path) -> None:
    command = pip.command()
    if command is None:
        raise UnavailableError("no pip to install it with")
    own = Path(sys.base_prefix) / "bin" / "python3"
    inside = target / "bin" / "python"
    _run([str(own), "-m", "venv", "--without-pip", str(target)])
    options = ["-q", "--no-compile", "--only-binary", ":all:"]
    _run([*command, "--python", str(inside), "install", *options, *PACKAGES])


def _run(command: list[str]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_S)
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or ["no word"])[-1]
        raise UnavailableError(f"pip could not install {PACKAGES[3]}: {last}") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(f"the environment could not be made: {type(error).__name__}") from None


@pytest.fixture(scope="session")
def instrumented_python() -> Path:
    """The interpreter of the environment; skips, or fails where `otel` is required."""
    try:
        return python()
    except UnavailableError as error:
        missing("otel", str(error))
