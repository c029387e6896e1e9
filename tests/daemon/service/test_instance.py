"""A daemon's name stays over restarts, and two daemons have two."""

from pathlib import Path

import pytest

from daemon.service.instance import IDENTITY, identity


def test_a_name_stays(tmp_path: Path) -> None:
    """It is made once, with the directory where there is none; nothing else is left there."""
    state = tmp_path / "state"
    name = identity(state)
    assert identity(state) == name
    assert [path.name for path in state.iterdir()] == [IDENTITY]
    assert identity(tmp_path / "other") != name


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", b"two words", b"x" * 65])
def test_a_name_that_was_lost_is_made_anew(tmp_path: Path, content: bytes) -> None:
    """A file that was cut off, or holds what no broker takes."""
    (tmp_path / IDENTITY).write_bytes(content)
    assert len(identity(tmp_path)) == 32
