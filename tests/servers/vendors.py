"""Packages of tools that keep traces, in a folder of their own: what their models write is made with them.

pip puts them into the user's cache, once; a child process that sees nothing else makes the traces, which are
kept beside them. Nothing of it enters the project's environment.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.requirements import missing
from tests.servers import cache, realmodel
from tests.servers.realmodel import UnavailableError

PACKAGES = ("langfuse==5.0.4", "langsmith==0.15.1", "arize-phoenix-client==3.5.0")
SCRIPT = Path(__file__).with_name("vendor_traces.py")
FETCH_S, MAKE_S = 280.0, 120.0


def traces() -> dict[str, Any]:
    """A trace of the same doings by each vendor's name. Raises UnavailableError."""
    version = hashlib.sha256("\n".join(PACKAGES).encode() + SCRIPT.read_bytes()).hexdigest()[:16]
    packages = hashlib.sha256("\n".join(PACKAGES).encode()).hexdigest()[:16]
    with cache.alone("vendors") as base:
        kept = base / f"vendor-traces-{version}.json"
        if not kept.exists():
            site = base / f"vendor-packages-{packages}"
            if not site.exists():
                _fetch(base, site)
            made = _run(
                [sys.executable, "-S", str(SCRIPT)], MAKE_S, {"PYTHONPATH": str(site), "PATH": os.defpath}
            )
            kept.write_text(made, encoding="utf-8")
        found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
    return found


def _fetch(base: Path, site: Path) -> None:
    with tempfile.TemporaryDirectory(dir=base) as work:
        target = Path(work) / "site"
        options = ["install", "-q", "--only-binary", ":all:", "--no-compile", "--target", str(target)]
        _run([*realmodel._pip(), *options, *PACKAGES], FETCH_S, dict(os.environ))
        target.rename(site)


def _run(command: list[str], timeout_s: float, environment: dict[str, str]) -> str:
    what = Path(command[-1]).name
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=timeout_s
        )
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"{what} took more than {timeout_s:g} s") from None
    if done.returncode != 0:
        raise UnavailableError(f"{what}: {realmodel._last(done)}")
    return done.stdout


@pytest.fixture(scope="session")
def vendor_traces() -> dict[str, Any]:
    """The traces, or a skip with the reason."""
    try:
        return traces()
    except UnavailableError as error:
        missing("vendors", str(error))
