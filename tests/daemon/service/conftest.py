"""A service that a test starts."""

from pathlib import Path

import pytest

from tests.daemon.service.bench import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "state")
