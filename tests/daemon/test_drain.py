"""The stages as commands run them, to their end."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon import drain
from daemon.wiring import Wiring
from policies.records import Role
from tests.daemon.configuration import settings
from tests.daemon.stages.seeding import add_adapter, put_in_force


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Wiring]:
    parts = Wiring(settings(tmp_path))
    parts.settings.state_dir.mkdir(parents=True, exist_ok=True)
    parts.prepare_store()
    yield parts
    parts.close()


def test_every_adapter_is_listed(parts: Wiring) -> None:
    """However many there are, with the one that is in force."""
    names = [f"support-agent-{number:012x}" for number in range(12)]
    for name in names:
        add_adapter(parts.store, name)
    put_in_force(parts.store, names[3], epoch=1)

    found = drain.adapters(parts)

    assert sorted(each["name"] for each in found) == names
    assert [each["name"] for each in found if each["in_force"]] == [names[3]]


def test_a_role_without_a_judge_judges_nothing(parts: Wiring) -> None:
    """It is passed over, not an error."""
    parts.roles = frozenset({Role.SMALL})

    assert drain.judge(parts, (Role.GATE,)) == {}
