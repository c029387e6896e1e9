"""The stages as commands run them, to their end."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon import drain
from daemon.cli.operate import _status_text
from daemon.cli.rollout import _adapters_text
from daemon.store.tables import EvaluationRow
from daemon.wiring import Wiring
from policies.records import Role
from tests.daemon.configuration import settings
from tests.daemon.stages.seeding import add_adapter, put, put_in_force


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
    assert {each["cut_off"] for each in found} == {None}


def test_an_adapter_shows_how_often_its_answers_were_cut_off(parts: Wiring) -> None:
    """Of the last attempt, against the stable policy's; an older attempt has its prompts for answers."""
    add_adapter(parts.store, "support-agent-000000000000")
    evidence = {"prompts": 60, "answered": 58, "truncated_candidate": 15, "truncated_stable": 28}
    columns = {"adapter": "support-agent-000000000000", "reasons": ["r"], "created_at": 0.0}
    for before in (evidence, {name: evidence[name] for name in evidence if name != "answered"}):
        put(parts.store, EvaluationRow, state="decided", decision="hold", evidence=before, **columns)
        (found,) = drain.adapters(parts)
        answered = before.get("answered", 60)
        assert found["cut_off"] == {"answered": answered, "candidate": 15, "stable": 28}
        said = f"cut off: 15 of {answered} answers, 28 of {answered} of the stable policy's"
        assert said in _adapters_text([found])
        assert said in _status_text(parts.status())


def test_a_role_without_a_judge_judges_nothing(parts: Wiring) -> None:
    """It is passed over, not an error."""
    parts.roles = frozenset({Role.SMALL})

    assert drain.judge(parts, (Role.GATE,)) == {}
